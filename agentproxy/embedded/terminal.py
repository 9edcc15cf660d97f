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
from typing import Any

from twisted.internet.process import PTYProcess

from agentproxy.embedded.agent_process import MOST_TYPED_AHEAD, AgentProcess, Ended

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


class Terminal(AgentProcess):
    """One program in a pseudo terminal.

    :param drawn: called with the bytes that the program wrote.
    :param ended: see :data:`agentproxy.embedded.agent_process.Ended`.
    """

    def __init__(self, drawn: Callable[[bytes], None], ended: Ended) -> None:
        super().__init__(ended)
        self._drawn = drawn
        self._name = ""

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
        self._is_started(reactor)

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

    def outReceived(self, data: bytes) -> None:
        """Take what the program drew: a terminal gives a page at a time, so what is there already is taken with it."""
        pages, count = [data], len(data)
        with suppress(OSError):
            while len(data) > 1000 and count < MOST_AT_ONCE and self.open:
                data = os.read(self._transport.fd, 65536)
                pages.append(data)
                count += len(data)
        self._drawn(b"".join(pages))

    def read_rest(self) -> None:
        """Draw what is still in the terminal."""
        with suppress(OSError):
            for _round in range(4096):
                data = os.read(self._transport.fd, 65536) if self._transport.connected else b""
                if not data:
                    break
                self._drawn(data)


def set_size(descriptor: int, width: int, height: int) -> None:
    """Set the window size of a terminal, in cells."""
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
