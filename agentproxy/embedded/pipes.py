"""An agent on pipes instead of a terminal: its own session, standard input and output ours, errors passed to our own."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from agentproxy.embedded.terminal import MOST_TYPED_AHEAD, family


class Pipes(ProcessProtocol):
    """One program on pipes, with the methods of :class:`agentproxy.embedded.terminal.Terminal` that need no screen.

    :param heard: called with the bytes that the program wrote.
    :param ended: called once with (exit code or None, signal or None), after the last bytes.
    :param closed: called when the program will write nothing more, which is mostly its end.
    """

    def __init__(
        self,
        heard: Callable[[bytes], None],
        ended: Callable[[int | None, int | None], None],
        closed: Callable[[], None] = lambda: None,
    ) -> None:
        self._heard, self._ended, self._closed = heard, ended, closed
        self._started = False
        self._end: tuple[int | None, int | None] | None = None
        self._transport: Any = None
        self.pid = 0
        self.alive = False

    def start(self, reactor: Any, argv: Sequence[str], env: Mapping[str, str], width: int, height: int) -> None:  # noqa: ARG002
        """Run *argv* (its first element is a path); a size means nothing to it.

        :raises OSError: no process is to be had.
        """
        setsid = shutil.which("setsid", path=env.get("PATH") or os.defpath)
        if setsid is None:
            raise FileNotFoundError(2, "setsid is not on PATH; install util-linux")
        reactor.spawnProcess(self, setsid, [setsid, *argv], dict(env), childFDs={0: "w", 1: "r", 2: 2})
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
        """Send *data*; False (and nothing sent) when the agent is gone or too much waits to be read by it."""
        if not self.alive or self.unread + len(data) > MOST_TYPED_AHEAD:
            return False
        self._transport.write(data)
        return True

    @property
    def unread(self) -> int:
        """Bytes sent that the pipe has not taken yet."""
        pipe = self._transport.pipes.get(0)
        if pipe is None:
            return 0
        return int(len(pipe.dataBuffer) - pipe.offset + sum(map(len, pipe._tempDataBuffer)))

    def resize(self, width: int, height: int) -> None:
        """Do nothing: there is no terminal."""

    def signal(self, number: int) -> None:
        """Send a signal to the agent's process group."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def kill_all(self, others: Sequence[int] = ()) -> None:
        """Kill the agent's session and the processes *others* that descend from it."""
        self.signal(signal.SIGKILL)
        for pid in {*others, *family(self.pid)}:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)

    def outReceived(self, data: bytes) -> None:
        """Take what the program wrote."""
        self._heard(data)

    def outConnectionLost(self) -> None:
        """Take notice that nothing more comes."""
        self._closed()

    def processExited(self, reason: Failure) -> None:
        """Read what is still in the pipe (a grandchild may hold it open) and tell the end."""
        self.alive = False
        pipe = self._transport.pipes.get(1)
        with suppress(OSError, AttributeError):
            while data := os.read(pipe.fileno(), 65536):
                self._heard(data)
        value: Any = reason.value
        self._end = value.exitCode, value.signal
        if self._started:
            self._ended(*self._end)
