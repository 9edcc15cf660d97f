"""The fork server's process as the daemon sees it: texts both ways over its pipes, what it prints, and its end.

The texts are those of ``agentproxy/embedded/fork_server.py``, where their table stands.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from agentproxy.runtime.orphans import MARKER_VARIABLE

log = Logger()

MOST_BYTES = 4 * 1024 * 1024
"""The longest text that the fork server takes."""
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE",
             "PYTHONPYCACHEPREFIX", "VIRTUAL_ENV", "LD_LIBRARY_PATH")  # fmt: skip
"""What the fork server needs of our environment to find its modules; nothing else reaches it."""
_MARKER_ROOM = "-" * 64
_TITLE_ROOM = 96
_LENGTH = struct.Struct("!I")


def own_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a fork server: no secret of ours, and room for the markers of its forks."""
    kept = {name: environ[name] for name in PASSED_ON if name in environ}
    return {MARKER_VARIABLE: _MARKER_ROOM, **kept}


def own_argv(python: str = sys.executable, bare: bool = False) -> list[str]:
    """Return the argv of a fork server; its last argument is room for the titles of its forks.

    :param bare: whether it imports nothing, because it will only execute other programs.
    """
    flags = ["--bare"] if bare else []
    return [python, "-P", "-m", "agentproxy.embedded.fork_server", *flags, "agentproxy fork server".ljust(_TITLE_ROOM)]


def encode(text: Mapping[str, Any]) -> bytes:
    """Return a text as it is sent.

    :raises ValueError: it is longer than the fork server takes.
    """
    body = json.dumps(text).encode("ascii")
    if len(body) > MOST_BYTES:
        raise ValueError(f"a text of {len(body)} bytes is too long")
    return _LENGTH.pack(len(body)) + body


def split(received: bytes) -> tuple[list[dict[str, Any]], bytes]:
    """Return the whole texts in what was received, and the rest.

    :raises ValueError: something else than texts was received.
    """
    texts = []
    while len(received) >= _LENGTH.size:
        (length,) = _LENGTH.unpack_from(received)
        if length > MOST_BYTES:
            raise ValueError(f"a text of {length} bytes is too long")
        end = _LENGTH.size + length
        if len(received) < end:
            break
        text = json.loads(received[_LENGTH.size : end])
        if not isinstance(text, dict):
            raise ValueError("a text that is no object")
        texts.append(text)
        received = received[end:]
    return texts, received


@dataclass(frozen=True, slots=True)
class Hears:
    """Who hears of the process.

    :param text: each text that it says.
    :param gone: how it ended, once and last.
    """

    text: Callable[[Mapping[str, Any]], None]
    gone: Callable[[str], None]


class ForkServerProcess(ProcessProtocol):
    """One fork server process."""

    def __init__(self, hears: Hears) -> None:
        self._hears = hears
        self._received = b""
        self._line = b""
        self._said: list[str] = []

    def send(self, data: bytes) -> None:
        """Send an encoded text."""
        self._pipe().write(data)

    def end(self) -> None:
        """Close its input, at which it ends."""
        self._pipe().closeStdin()

    def kill(self) -> None:
        """Kill it. Its end is told when nothing that it was asked for can come any more."""
        if self._pipe().pid is not None:
            self._pipe().signalProcess("KILL")

    def abandon(self) -> None:
        """Hear nothing more of it: what it was asked for and has not come ends by itself."""
        self._pipe().loseConnection()

    def _pipe(self) -> Any:
        return self.transport

    def outReceived(self, data: bytes) -> None:
        """Pass on its texts; what is none ends it."""
        try:
            texts, self._received = split(self._received + data)
        except ValueError as wrong:
            log.error("The fork server says what cannot be read: {why}", why=wrong)
            self.kill()
            return
        for text in texts:
            self._hears.text(text)

    def errReceived(self, data: bytes) -> None:
        """Log what it prints."""
        *lines, self._line = (self._line + data)[-65536:].split(b"\n")
        for line in lines:
            self._said = [*self._said[-3:], line.decode("utf-8", "replace")]
            log.warn("The fork server says: {line}", line=self._said[-1])

    def processEnded(self, reason: Failure) -> None:
        """Tell its end."""
        value: Any = reason.value
        how = f"signal {value.signal}" if value.signal is not None else f"exit status {value.exitCode}"
        self._hears.gone("; ".join([how, *self._said[-1:]]))
