"""An agent on pipes instead of a terminal: its own session, standard input and output ours, errors passed to our own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from agentproxy.embedded.agent_process import MOST_TYPED_AHEAD, AgentProcess, Ended


class Pipes(AgentProcess):
    """One program on pipes, with the methods of :class:`agentproxy.embedded.terminal.Terminal` that need no screen.

    :param heard: called with the bytes that the program wrote.
    :param ended: see :data:`agentproxy.embedded.agent_process.Ended`.
    :param closed: called when the program will write nothing more, which is mostly its end.
    """

    def __init__(
        self,
        heard: Callable[[bytes], None],
        ended: Ended,
        closed: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(ended)
        self._heard, self._closed = heard, closed

    def start(self, reactor: Any, argv: Sequence[str], env: Mapping[str, str], width: int, height: int) -> None:  # noqa: ARG002
        """Run *argv* (its first element is a path); a size means nothing to it.

        :raises OSError: no process is to be had.
        """
        setsid = shutil.which("setsid", path=env.get("PATH") or os.defpath)
        if setsid is None:
            raise FileNotFoundError(2, "setsid is not on PATH; install util-linux")
        reactor.spawnProcess(self, setsid, [setsid, *argv], dict(env), childFDs={0: "w", 1: "r", 2: 2})
        self._is_started(reactor)

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

    def outReceived(self, data: bytes) -> None:
        """Take what the program wrote."""
        self._heard(data)

    def outConnectionLost(self) -> None:
        """Take notice that nothing more comes."""
        self._closed()

    def read_rest(self) -> None:
        """Hear what is still in the pipe."""
        pipe = self._transport.pipes.get(1)
        with suppress(OSError, AttributeError):
            while data := os.read(pipe.fileno(), 65536):
                self._heard(data)
