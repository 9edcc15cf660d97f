"""Signs of silent work: the processor time that an agent and its children use."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
READINGS = 3
"""How often the processes are looked at again when one of them ends meanwhile."""


@dataclass(frozen=True, slots=True)
class Use:
    """What a process and those below it have used of the processors, ended ones included.

    :param own: seconds of the process itself.
    :param below: seconds of its descendants.
    :param runnable: whether one of them runs or would run if a processor were free.
    """

    own: float
    below: float
    runnable: bool

    def is_work_since(self, before: Use, seconds: float) -> bool:
        """Say whether the agent has worked since it was looked at *seconds* ago.

        A twenty-fifth of a core by the children is work, or half of one by the agent itself, which also draws and waits for
        keys. On a machine that has no time for it, work is wanting to run at both moments.
        """
        if seconds <= 0:
            return False
        used = self.below - before.below >= 0.04 * seconds or self.own - before.own >= 0.5 * seconds
        return used or (before.runnable and self.runnable)


@dataclass(frozen=True, slots=True)
class _Process:
    own: float = 0.0
    ended: float = 0.0
    runnable: bool = False


def use_of(pid: int) -> Use:
    """Return what the process *pid* and its descendants have used until now."""
    found = Use(0.0, 0.0, False)
    for _reading in range(READINGS):
        process = _process(pid)
        found = _with_descendants(pid, process)
        if _process(pid).ended == process.ended:
            break  # else a child ended between, and neither its own time nor its parent's had what it used
    return found


def _with_descendants(pid: int, process: _Process) -> Use:
    below, runnable = process.ended, process.runnable
    pending = _children(pid)
    while pending:
        child = pending.pop()
        state = _process(child)
        below += state.own + state.ended
        runnable = runnable or state.runnable
        pending += _children(child)
    return Use(process.own, below, runnable)


def _process(pid: int) -> _Process:
    with suppress(OSError, IndexError, ValueError):
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        own, ended = int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])
        return _Process(own / TICKS, ended / TICKS, fields[0] == b"R")
    return _Process()


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError, ValueError):
        for task in os.listdir(f"/proc/{pid}/task"):
            found += [int(child) for child in Path(f"/proc/{pid}/task/{task}/children").read_bytes().split()]
    return found
