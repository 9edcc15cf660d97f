"""A command in a terminal of its own, as a person has it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Mapping
from types import TracebackType

COMMAND = (sys.executable, "-c", "import sys; from agentproxy.cli import main; sys.exit(main())")


class Terminal:
    """One command in a pseudo-terminal.

    :param arguments: of ``agentproxy``.
    :param environment: beside the tests' own.
    :ivar seen: everything that it has printed.
    """

    def __init__(self, *arguments: str, environment: Mapping[str, str]) -> None:
        self.seen = b""
        self._read_to = 0
        self._status: int | None = None
        self._pid, self._fd = pty.fork()
        if self._pid == 0:
            os.execvpe(COMMAND[0], [*COMMAND, *arguments], {**os.environ, "TERM": "xterm-256color", **environment})
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is None:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
        os.close(self._fd)

    def see(self, text: str, timeout: float = 40) -> str:
        """Read until *text* comes behind what was seen before, and return what came."""
        deadline = time.monotonic() + timeout
        while (found := self.seen.find(text.encode(), self._read_to)) < 0:
            if not self._more(deadline):
                raise AssertionError(f"{text!r} did not come; there is {self.seen[self._read_to :]!r}")
        begun, self._read_to = self._read_to, found + len(text.encode())
        return self.seen[begun : self._read_to].decode("utf-8", "replace")

    def _more(self, deadline: float) -> bool:
        if not select.select([self._fd], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return False
        try:
            data = os.read(self._fd, 65536)
        except OSError:  # the other side is closed
            return False
        self.seen += data
        return bool(data)

    def press(self, keys: str) -> None:
        """Press keys."""
        os.write(self._fd, keys.encode())

    def end(self, timeout: float = 40) -> int:
        """Read to the end and return the exit status."""
        deadline = time.monotonic() + timeout
        while self._more(deadline):
            pass
        self._status = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        return self._status
