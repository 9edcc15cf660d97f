"""Asking an agent server whether it answers: connect, ``GET /status``, read the first line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, UNIXClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from agentproxy.model.backend import DOOR_HEADER, Backend

_FIRST_PAUSE = 0.002
_LONGEST_PAUSE = 0.1
_GROWTH = 1.05
"""Slow, so that the first hundred milliseconds, in which most agent servers answer, are asked about in small steps."""


class _Asking(Protocol):
    """One request; :attr:`status` fires with the HTTP status, or None when the connection ends without one."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._received = b""
        self.status: Deferred[int | None] = Deferred(lambda _gone: self._close())

    def _close(self) -> None:
        if self.transport is not None:
            self.transport.abortConnection()  # type: ignore[attr-defined]

    def connectionMade(self) -> None:
        """Send the request."""
        assert self.transport is not None
        self.transport.write(self._request)

    def dataReceived(self, data: bytes) -> None:
        """Read the first line of the answer."""
        self._received += data
        words = self._received.split(b"\r\n", 1)[0].split(b" ")
        if b"\r\n" in self._received or len(self._received) > 4096:
            self._tell(int(words[1]) if len(words) > 1 and words[1].isdigit() else None)
            self._close()

    def connectionLost(self, reason: Failure = Failure(ConnectError())) -> None:  # noqa: ARG002, B008
        """Tell that there was no answer."""
        self._tell(None)

    def _tell(self, status: int | None) -> None:
        if not self.status.called:
            self.status.callback(status)


def _endpoint(reactor: Any, backend: Backend) -> IStreamClientEndpoint:
    if backend.unix_path is not None:
        return UNIXClientEndpoint(reactor, backend.unix_path, timeout=2)
    assert backend.port is not None
    if backend.host[0].isdigit() and ":" not in backend.host:
        return TCP4ClientEndpoint(reactor, backend.host, backend.port, timeout=2)
    return HostnameEndpoint(reactor, backend.host, backend.port, timeout=2)


async def until_answering(reactor: Any, backend: Backend, listening: Callable[[], None]) -> None:
    """Return when ``GET /status`` is answered with 200. Asks for ever: whoever waits has the deadline and cancels.

    :param listening: called once, when somebody accepts connections there.
    """
    door = f"{DOOR_HEADER}: {backend.door}\r\n" if backend.door is not None else ""
    request = f"GET /status HTTP/1.1\r\nHost: {backend.authority}\r\n{door}Connection: close\r\n\r\n".encode()
    factory = Factory.forProtocol(lambda: _Asking(request))
    factory.noisy = False
    pause = _FIRST_PAUSE
    heard = False
    while True:
        try:
            asking: _Asking = await _endpoint(reactor, backend).connect(factory)  # type: ignore[assignment]
        except ConnectError:
            pass
        else:
            if not heard:
                heard = True
                listening()
            if await asking.status == 200:
                return
        await deferLater(reactor, pause)
        pause = min(pause * _GROWTH, _LONGEST_PAUSE)
