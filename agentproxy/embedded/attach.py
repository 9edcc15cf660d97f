"""``attach``: the terminal of a running agent in this one. One key leaves; every other key is the agent's."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import signal
import socket
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from twisted.internet.endpoints import TCP4ClientEndpoint, UNIXClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.internet.threads import deferToThread

DOOR = "X-Agentproxy-Door"


def key_of(name: str) -> bytes:
    """Return the byte of a key such as ``ctrl-c`` or ``ctrl-]``.

    :raises ValueError: it is no such key.
    """
    head, _dash, last = name.lower().rpartition("ctrl-")
    if head or len(last) != 1 or not 0x40 <= ord(last.upper()) <= 0x5F:
        raise ValueError(f"{name}: a key is written as ctrl-c or ctrl-]")
    return bytes([ord(last.upper()) & 0x1F])


def address(url: str) -> tuple[str, int]:
    """Return host and port of an URL or ``HOST:PORT``.

    :raises ValueError: there is no port in it.
    """
    place = url.removeprefix("http://").partition("/")[0]
    host, _colon, port = place.rpartition(":")
    if not port.isdigit():
        raise ValueError(f"{url}: expected HOST:PORT")
    return host.strip("[]") or "localhost", int(port)


class _Keys(Protocol):
    """What is typed here, up to the key that leaves."""

    def __init__(self, leave: bytes, press: Any, left: Any) -> None:
        self._leave, self._press, self._left = leave, press, left

    def dataReceived(self, data: bytes) -> None:
        """Pass keys on."""
        keys, found, _rest = data.partition(self._leave)
        if keys:
            self._press(keys)
        if found:
            self._left()

    def connectionLost(self, reason: Any = None) -> None:  # noqa: ARG002 - Twisted names it
        """Leave when there is nothing more to read."""
        self._left()


class _Connection(http.client.HTTPConnection):
    """One HTTP connection to the agent server, by its port or its socket."""

    def __init__(self, host: str, port: int, path: str) -> None:
        super().__init__(host, port, timeout=10)
        self._path = path

    def connect(self) -> None:
        """Connect."""
        if self._path:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(10)
            self.sock.connect(self._path)
        else:
            super().connect()


@dataclass(frozen=True, slots=True)
class Place:
    """Where the terminal is.

    :param endpoint: what to connect to.
    :param url: of the WebSocket, ``ws:`` or ``wss:``.
    :param headers: sent with the handshake.
    :param resize: gives the agent's terminal a width and a height in cells; blocks. None leaves its size alone.
    """

    endpoint: Any
    url: str
    headers: Mapping[str, str]
    resize: Callable[[int, int], None] | None = None


class Attachment:
    """One attached terminal, from the first byte to the last.

    :param leave: the key that leaves.
    :ivar shown: whether the terminal was ever shown; ``why`` it ended, and with which ``status``.
    """

    def __init__(self, reactor: Any, place: Place, leave: bytes) -> None:
        self._reactor, self._place, self._leave = reactor, place, leave
        self.shown = False
        self.why = "detached"
        self.status = 0
        self._socket: Any = None

    def start(self) -> None:
        """Connect and begin to show."""
        from autobahn.twisted import websocket  # only who attaches pays for it

        attachment, wire = self, cast(Any, websocket)

        class Shown(wire.WebSocketClientProtocol):  # type: ignore[misc,name-defined]
            def onOpen(self) -> None:
                attachment.opened(self)

            def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: ARG002 - autobahn names its arguments
                os.write(1, payload)

            def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:  # noqa: ARG002
                attachment.end(reason or "the connection was lost", 0 if code == 1000 else 1)

        factory: Any = wire.WebSocketClientFactory(
            self._place.url, headers=dict(self._place.headers), reactor=self._reactor
        )
        factory.protocol = Shown
        self._place.endpoint.connect(factory).addErrback(self._failed)

    def _failed(self, failure: Any) -> None:
        self.end(f"nobody answers there: {failure.getErrorMessage()}", 1)

    def opened(self, shown: Any) -> None:
        """Pass keys on from now on."""
        from twisted.internet.stdio import StandardIO

        self._socket, self.shown = shown, True
        StandardIO(
            _Keys(self._leave, lambda keys: shown.sendMessage(keys, isBinary=True), self._detach), reactor=self._reactor
        )
        if self._place.resize is not None:
            self._resize(self._place.resize)
            signal.signal(
                signal.SIGWINCH, lambda *_args: self._reactor.callFromThread(self._resize, self._place.resize)
            )

    def _resize(self, resize: Callable[[int, int], None]) -> None:
        """Give the agent's terminal the size of this one."""
        columns, lines = shutil.get_terminal_size()
        done = deferToThread(resize, max(10, columns), max(10, lines))
        done.addErrback(lambda failure: self.end(f"the size cannot be changed: {failure.getErrorMessage()}", 1))

    def _detach(self) -> None:
        self.end("detached", 0)

    def end(self, why: str, status: int) -> None:
        """Leave; the first reason counts."""
        if self._reactor is None:
            return
        reactor, self._reactor = self._reactor, None
        self.why, self.status = why, status
        if self._socket is not None:
            self._socket.sendClose(1000)
        reactor.callLater(0.1, reactor.stop)


@contextmanager
def raw_terminal() -> Iterator[None]:
    """Let every key through for the length of a ``with`` block, when standard input is a terminal."""
    if not os.isatty(0):
        yield
        return
    before = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def run(place: Place, leave: bytes, reactor: Any) -> Attachment:
    """Attach until the key that leaves, or the end of the agent; runs the reactor, which can be done once in a process."""
    attachment = Attachment(reactor, place, leave)
    reactor.callWhenRunning(attachment.start)
    with raw_terminal():
        reactor.run()
    if attachment.shown:
        sys.stdout.write("\x1b[?1049l\x1b[m\r\n")
        sys.stdout.flush()
    return attachment


def _place_of(settings: argparse.Namespace, reactor: Any) -> Place:
    """Return where an agent server's own terminal is.

    :param settings: what :func:`agentproxy.embedded.flags.parse` returned for ``attach``.
    :raises ValueError, OSError: a setting cannot be used.
    """
    path = settings.unix_socket
    host, port = ("localhost", 80) if path else address(settings.url)
    headers = {DOOR: Path(settings.door_file).read_text(encoding="utf-8").strip()} if settings.door_file else {}

    def resize(width: int, height: int) -> None:
        connection = _Connection(host, port, path)
        body = json.dumps({"width": width, "height": height})
        connection.request("POST", "/resize", body, {"Content-Type": "application/json", **headers})
        connection.getresponse().read()
        connection.close()

    endpoint = UNIXClientEndpoint(reactor, path) if path else TCP4ClientEndpoint(reactor, host, port, timeout=10)
    return Place(endpoint, f"ws://{host}:{port}/terminal", headers, resize if settings.resize else None)


def attach(settings: argparse.Namespace) -> int:
    """Attach until the key that leaves, or the end of the agent; return the exit status."""
    from twisted.internet import reactor

    try:
        place, leave = _place_of(settings, reactor), key_of(settings.detach_key)
    except (ValueError, OSError) as wrong:
        sys.stderr.write(f"{wrong}\n")
        return 1
    attachment = run(place, leave, reactor)
    sys.stderr.write(f"{attachment.why}\n")
    return attachment.status
