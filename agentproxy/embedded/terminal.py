"""The agent's process in a real terminal: its own session, a controlling tty of the wanted size, default signals."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import termios
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

MOST_TYPED_AHEAD = 4 * 1024 * 1024
"""Bytes that may wait for an agent that does not read its terminal."""


class Terminal(ProcessProtocol):
    """One program in a pseudo terminal.

    :param drawn: called with the bytes that the program wrote.
    :param ended: called once with (exit code or None, signal or None), after the last bytes.
    """

    def __init__(self, drawn: Callable[[bytes], None], ended: Callable[[int | None, int | None], None]) -> None:
        self._drawn, self._ended = drawn, ended
        self._transport: Any = None
        self.waiting = 0
        self.pid = 0
        self.alive = False

    def start(self, reactor: Any, argv: Sequence[str], env: Mapping[str, str], width: int, height: int) -> None:
        """Run *argv* (its first element is a path) in a terminal of *width* x *height*.

        :raises OSError: no terminal or no process is to be had.
        """
        master, slave = pty.openpty()
        set_size(slave, width, height)
        self._transport = reactor.spawnProcess(
            self, argv[0], list(argv), dict(env), usePTY=(master, slave, os.ttyname(slave))
        )
        self.pid = self._transport.pid
        self.alive = True

    def write(self, data: bytes) -> bool:
        """Type *data*; False (and nothing typed) when the agent is gone or too much waits to be read by it."""
        if not self.alive or self.unread + len(data) > MOST_TYPED_AHEAD:
            return False
        self._transport.write(data)
        return True

    @property
    def unread(self) -> int:
        """Bytes typed that the terminal has not taken yet."""
        transport = self._transport
        buffered = len(transport.dataBuffer) - transport.offset
        return int(buffered + sum(map(len, transport._tempDataBuffer)))

    def resize(self, width: int, height: int) -> None:
        """Tell the program that its terminal has another size."""
        if self.alive:
            set_size(self._transport.fd, width, height)

    def signal(self, number: int) -> None:
        """Send a signal to the agent's process group, so that wrappers such as ``sh -c`` pass it on."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def kill_all(self, others: Sequence[int] = ()) -> None:
        """Kill the agent's session and the processes *others* that descend from it."""
        self.signal(signal.SIGKILL)
        for pid in {*others, *family(self.pid)}:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def outReceived(self, data: bytes) -> None:
        """Take what the program drew."""
        self._drawn(data)

    def processExited(self, reason: Failure) -> None:
        """Read what is still in the terminal (a grandchild may hold it open) and tell the end."""
        self.alive = False
        with suppress(OSError):
            for _round in range(4096):
                data = os.read(self._transport.fd, 65536)
                if not data:
                    break
                self._drawn(data)
        value: Any = reason.value
        self._ended(value.exitCode, value.signal)


def set_size(descriptor: int, width: int, height: int) -> None:
    """Set the window size of a terminal, in cells."""
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))


def family(pid: int) -> list[int]:
    """Return the living processes that are in the session *pid* or descend from the process *pid*, without itself."""
    parents: dict[int, int] = {}
    found: set[int] = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError, IndexError, ValueError):
                fields = Path(f"/proc/{name}/stat").read_text(errors="replace").rpartition(")")[2].split()
                parents[int(name)] = int(fields[1])
                if int(fields[3]) == pid and fields[0] not in "ZX":
                    found.add(int(name))
    pending = [pid]
    while pending:
        above = pending.pop()
        below = [child for child, parent in parents.items() if parent == above]
        found.update(below)
        pending += below
    return sorted(found - {pid, os.getpid()})
