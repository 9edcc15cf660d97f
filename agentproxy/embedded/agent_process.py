"""The agent's process, whatever it is talked to through: its start, signals to it and to all that it has started, and its end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

MOST_TYPED_AHEAD = 4 * 1024 * 1024
"""Bytes that may wait for an agent that does not read them."""

Ended = Callable[[int | None, int | None], None]
"""Told (exit code or None, signal or None), once and after the last bytes."""


class AgentProcess(ProcessProtocol):
    """One process and what it has started.

    A process may have ended before the call that makes it returns; who starts it is told that when the start is over.

    :ivar pid: 0 before the start.
    :ivar alive: whether it has not ended.
    """

    def __init__(self, ended: Ended) -> None:
        self._tell_ended = ended
        self._started = False
        self._end: tuple[int | None, int | None] | None = None
        self._transport: Any = None
        self.pid = 0
        self.alive = False

    def connectionMade(self) -> None:
        """Take the process."""
        self._transport = self.transport
        self.pid = self._transport.pid
        self.alive = True

    def _is_started(self, reactor: Any) -> None:
        """Take note that the call that makes the process has returned."""
        self._started = True
        if self._end is not None:
            reactor.callLater(0, self._tell_ended, *self._end)

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

    def read_rest(self) -> None:
        """Take what the process has written and nobody has read: a grandchild may hold its end open."""

    def processExited(self, reason: Failure) -> None:
        """Tell the end, behind the last bytes."""
        self.alive = False
        self.read_rest()
        value: Any = reason.value
        self._end = value.exitCode, value.signal
        if self._started:
            self._tell_ended(*self._end)


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
