"""Finding and ending what a session has started: by group, session, marker, descent, and cgroup where there is one.

What is proven to belong to a session is ended, nothing else. A process that left its group, its session and its
environment and whose parent is dead is found only by its cgroup.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from agentproxy.runtime.cgroups import members

MARKER_VARIABLE = "AGENTPROXY_SESSION_MARKER"
_PR_SET_CHILD_SUBREAPER = 36


def become_subreaper() -> bool:
    """Make orphans of our sessions our children, so that they can be reaped; return whether the kernel agreed."""
    return bool(ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


@dataclass(frozen=True, slots=True)
class Seen:
    """One row of the process table."""

    pid: int
    zombie: bool
    parent: int
    group: int
    session: int


def _look(pid: int) -> Seen | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return Seen(pid, fields[0] in (b"Z", b"X"), int(fields[1]), int(fields[2]), int(fields[3]))


def _table() -> list[Seen]:
    return [seen for name in os.listdir("/proc") if name.isdigit() and (seen := _look(int(name))) is not None]


def _has_marker(pid: int, wanted: bytes) -> bool:
    try:
        return wanted in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def find(marker: str, leader: int | None = None, cgroup: Path | None = None) -> list[Seen]:
    """Return the processes of a session, dead ones that wait to be reaped too. Reads ``/proc``: call it in a thread.

    :param leader: process id of the agent server, which is its group's and its session's id.
    """
    table = [seen for seen in _table() if seen.pid != os.getpid() and seen.session != os.getsid(0)]
    wanted = f"{MARKER_VARIABLE}={marker}".encode()
    inside = set(members(cgroup)) if cgroup is not None else set()
    found = {seen.pid: seen for seen in table if seen.pid in inside or _has_marker(seen.pid, wanted)}
    groups = {seen.session for seen in found.values()} | ({leader} if leader is not None else set())
    while True:
        more = [
            seen
            for seen in table
            if seen.pid not in found and (seen.parent in found or seen.session in groups or seen.group in groups)
        ]
        if not more:
            return list(found.values())
        found.update((seen.pid, seen) for seen in more)
        groups.update(seen.session for seen in more)


def end_all(marker: str, leader: int | None = None, cgroup: Path | None = None, within: float = 10) -> list[int]:
    """Kill what a session has started until nothing is left, and reap what became our child. Blocks: call it in a thread.

    The leader itself is killed but left to whoever watches it.

    :param within: seconds after which it gives up.
    :return: what could not be ended: processes that hang in the kernel.
    """
    give_up = time.monotonic() + within
    while True:
        found = find(marker, leader, cgroup)
        _reap(seen for seen in found if seen.zombie and seen.pid != leader)
        alive = [seen.pid for seen in found if not seen.zombie]
        if not alive or time.monotonic() > give_up:
            return alive
        for pid in alive:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)


def _reap(dead: Iterable[Seen]) -> None:
    for seen in dead:
        if seen.parent == os.getpid():
            with contextlib.suppress(ChildProcessError):
                os.waitpid(seen.pid, os.WNOHANG)
