"""Signs of silent work: the processor time that an agent and its children use."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def processor_time(pid: int) -> tuple[float, float]:
    """Return the seconds of processor time that the process *pid* and that its descendants have used, ended ones included."""
    own, ended = _times(pid)
    below = ended
    pending = _children(pid)
    while pending:
        child = pending.pop()
        below += sum(_times(child))
        pending += _children(child)
    return own, below


def _times(pid: int) -> tuple[float, float]:
    """Return the time of the process itself and that of its ended children."""
    with suppress(OSError, IndexError, ValueError):
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS, (int(fields[13]) + int(fields[14])) / TICKS
    return 0.0, 0.0


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError, ValueError):
        for task in os.listdir(f"/proc/{pid}/task"):
            found += [int(child) for child in Path(f"/proc/{pid}/task/{task}/children").read_bytes().split()]
    return found


def works(before: tuple[float, float], after: tuple[float, float], seconds: float) -> bool:
    """Say whether the difference of two :func:`processor_time` within *seconds* is work.

    A twenty-fifth of a core by the children, or half of one by the agent itself, which also draws and waits for keys.
    """
    if seconds <= 0:
        return False
    return after[1] - before[1] >= 0.04 * seconds or after[0] - before[0] >= 0.5 * seconds
