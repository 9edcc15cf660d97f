"""A cgroup per session, where the machine lets us: the only thing that no process of a session can leave.

Which cgroup2 there is comes from ``/proc/self/mountinfo`` (on some machines it is not at ``/sys/fs/cgroup``).
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path

CANNOT_PROMISE = (
    "There is no cgroup2 that this server may write: a process that leaves its session and clears its environment"
    " can outlive its agent. Run the service with Delegate=yes or as root."
)
_PARENT = "agentproxy"
_OURS = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}-[0-9]+")
"""The name of a group: a session's id and the number of its life."""
LEFT_AFTER = 600.0
"""Seconds after which a group without a process is nobody's start: those of another server have theirs within a moment."""


def find_root(mountinfo: Path = Path("/proc/self/mountinfo"), own: Path = Path("/proc/self/cgroup")) -> Path | None:
    """Return our own directory in cgroup2 when groups may be made there, else None (see :data:`CANNOT_PROMISE`)."""
    mount = next((m for line in _lines(mountinfo) if (m := _cgroup2_mount(line)) is not None), None)
    inside = next((line[3:] for line in _lines(own) if line.startswith("0::")), None)
    if mount is None or inside is None:
        return None
    root = mount / inside.lstrip("/")
    return root if os.access(root, os.W_OK) and os.access(root / "cgroup.procs", os.W_OK) else None


def _cgroup2_mount(line: str) -> Path | None:
    left, _dash, right = line.partition(" - ")
    if right.split(" ")[0] != "cgroup2":
        return None
    return Path(left.split(" ")[4].replace("\\040", " "))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []


class Cgroups:
    """Makes one group per session under ``root``.

    :param root: from :func:`find_root`.
    """

    def __init__(self, root: Path) -> None:
        self._parent = root / _PARENT

    def make(self, name: str) -> Path | None:
        """Make the group of a session, or return None when the kernel refuses."""
        group = self._parent / name
        try:
            group.mkdir(parents=True, exist_ok=True)
        except OSError:
            return None
        return group

    def sweep(self, now: float) -> int:
        """Remove the groups that dead servers have left, and return how many; one with a process is never removed.

        :param now: the time, in seconds since the epoch.
        """
        try:
            found = [entry for entry in os.scandir(self._parent) if _OURS.fullmatch(entry.name)]
        except OSError:
            return 0
        return sum(_is_old(entry, now) and remove(Path(entry.path)) for entry in found)


def _is_old(entry: os.DirEntry[str], now: float) -> bool:
    try:
        return now - entry.stat(follow_symlinks=False).st_mtime >= LEFT_AFTER
    except OSError:
        return False


def members(group: Path) -> list[int]:
    """Return the ids of the processes in a group, none when it does not exist."""
    try:
        return [int(word) for word in (group / "cgroup.procs").read_text(encoding="ascii").split()]
    except (OSError, ValueError):
        return []


def kill(group: Path) -> None:
    """Kill every process in a group at once (``cgroup.kill``, Linux 5.14); nothing happens where that does not exist."""
    with contextlib.suppress(OSError), (group / "cgroup.kill").open("w", encoding="ascii") as file:
        file.write("1")


def remove(group: Path) -> bool:
    """Remove an empty group; return whether it is gone."""
    try:
        group.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
