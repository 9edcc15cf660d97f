"""The agent's process in a real terminal: its own session, a controlling tty of the wanted size, default signals."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import termios
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.process import PTYProcess
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

MOST_TYPED_AHEAD = 4 * 1024 * 1024
"""Bytes that may wait for an agent that does not read its terminal."""


MOST_AT_ONCE = 4 * 1024
"""Bytes of output after which no further page is taken in one turn of the reactor, so that requests are answered in between.

A turn takes two pages so. In a flood with one reader, on two cores, p99 of ``/status`` is 17 to 18 ms, where it is 24 to 32 ms with
four pages in a turn; the flood is as fast."""


class _Spawned(PTYProcess):
    """A process in a terminal that is made without a copy of this one's memory, which a fork would be."""

    pid: Any

    def _fork(
        self,
        path: object,  # noqa: ARG002
        uid: object,  # noqa: ARG002
        gid: object,  # noqa: ARG002
        executable: str,
        args: list[str],
        environment: Mapping[str, str],
        **terminal: int,
    ) -> None:
        """Make the process: what leads a new session and opens a terminal has it as its controlling one."""
        for name in os.listdir("/proc/self/fd"):
            if int(name) > 2:
                with suppress(OSError):  # the descriptor of the listing itself
                    os.set_inheritable(int(name), False)
        opened = [(os.POSIX_SPAWN_OPEN, 0, os.ttyname(terminal["slavefd"]), os.O_RDWR, 0)]
        copied = [(os.POSIX_SPAWN_DUP2, 0, descriptor) for descriptor in (1, 2)]
        signals = [number for number in signal.valid_signals() if number not in (signal.SIGKILL, signal.SIGSTOP)]
        self.pid = os.posix_spawn(
            executable,
            args,
            environment,
            file_actions=[*opened, *copied],
            setsid=True,
            setsigdef=signals,
            setsigmask=[],
        )


class Terminal(ProcessProtocol):
    """One program in a pseudo terminal.

    :param drawn: called with the bytes that the program wrote.
    :param ended: called once with (exit code or None, signal or None), after the last bytes.
    """

    def __init__(self, drawn: Callable[[bytes], None], ended: Callable[[int | None, int | None], None]) -> None:
        self._drawn, self._ended = drawn, ended
        self._started = False
        self._end: tuple[int | None, int | None] | None = None
        self._transport: Any = None
        self._name = ""
        self.pid = 0
        self.alive = False

    def start(self, reactor: Any, argv: Sequence[str], env: Mapping[str, str], width: int, height: int) -> None:
        """Run *argv* (its first element is a path) in a terminal of *width* x *height*.

        :raises OSError: no terminal or no process is to be had.
        """
        master, slave = pty.openpty()
        set_size(slave, width, height)
        self._name = os.ttyname(slave)
        terminal = (master, slave, self._name)
        try:
            _Spawned(reactor, argv[0], list(argv), dict(env), None, self, usePTY=terminal)  # type: ignore[no-untyped-call]
        except OSError:
            os.close(master)
            os.close(slave)
            raise
        self._started = True
        if (
            self._end is not None
        ):  # it ended before anybody could watch it; who starts it is told when the start is over
            reactor.callLater(0, self._ended, *self._end)

    def connectionMade(self) -> None:
        """Take the process: it may have ended before the call that makes it returns."""
        self._transport = self.transport
        self.pid = self._transport.pid
        self.alive = True

    def write(self, data: bytes) -> bool:
        """Type *data*; False (and nothing typed) when the agent is gone or too much waits to be read by it."""
        if not self.open or self.unread + len(data) > MOST_TYPED_AHEAD:
            return False
        self._transport.write(data)
        return True

    @property
    def open(self) -> bool:
        """Whether the program lives and has its terminal; it may close it and live on."""
        return self.alive and bool(self._transport.connected)

    @property
    def reads_lines(self) -> bool:
        """Whether the program leaves editing to the kernel and gets whole lines (canonical mode)."""
        with suppress(OSError, termios.error):
            return self.open and bool(termios.tcgetattr(self._transport.fd)[3] & termios.ICANON)
        return False

    def erasing(self, count: int) -> bytes:
        """Return the keys that erase *count* characters before the cursor."""
        if self.reads_lines:
            kill = termios.tcgetattr(self._transport.fd)[6][termios.VKILL]
            return bytes(kill) if isinstance(kill, bytes) else b"\x15"
        return b"\x7f" * count

    def drop_unread(self) -> bool:
        """Forget what was typed when the program has read nothing of it; say whether that was so."""
        if not self.unread:
            return False
        transport = self._transport
        transport.dataBuffer, transport.offset = b"", 0
        transport._tempDataBuffer, transport._tempDataLen = [], 0
        with suppress(OSError, termios.error):
            slave = os.open(self._name, os.O_RDWR | os.O_NOCTTY)
            try:
                termios.tcflush(slave, termios.TCIFLUSH)
            finally:
                os.close(slave)
        return True

    @property
    def unread(self) -> int:
        """Bytes typed that the terminal has not taken yet."""
        if not self.open:
            return 0
        transport = self._transport
        buffered = len(transport.dataBuffer) - transport.offset
        return int(buffered + sum(map(len, transport._tempDataBuffer)))

    def resize(self, width: int, height: int) -> None:
        """Tell the program that its terminal has another size."""
        if self.open:
            set_size(self._transport.fd, width, height)

    def signal(self, number: int) -> None:
        """Send a signal to the agent's process group, so that wrappers such as ``sh -c`` pass it on."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def kill_all(self, others: Iterable[int] = ()) -> None:
        """Kill the agent's session and the processes *others* that descend from it."""
        self.signal(signal.SIGKILL)
        for pid in {*others, *family(self.pid)}:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def outReceived(self, data: bytes) -> None:
        """Take what the program drew: a terminal gives a page at a time, so what is there already is taken with it."""
        pages, count = [data], len(data)
        with suppress(OSError):
            while len(data) > 1000 and count < MOST_AT_ONCE and self.open:
                data = os.read(self._transport.fd, 65536)
                pages.append(data)
                count += len(data)
        self._drawn(b"".join(pages))

    def processExited(self, reason: Failure) -> None:
        """Read what is still in the terminal (a grandchild may hold it open) and tell the end."""
        self.alive = False
        with suppress(OSError):
            for _round in range(4096):
                data = os.read(self._transport.fd, 65536) if self._transport.connected else b""
                if not data:
                    break
                self._drawn(data)
        value: Any = reason.value
        self._end = value.exitCode, value.signal
        if self._started:
            self._ended(*self._end)


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
