"""A cgroup per session, where the machine lets us: the only thing that no process of a session can leave.

Which cgroup2 there is comes from ``/proc/self/mountinfo`` (on some machines it is not at ``/sys/fs/cgroup``).
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

CANNOT_PROMISE = (
    "There is no cgroup2 that this server may write: a process that leaves its session and clears its environment"
    " can outlive its agent. Run the service with Delegate=yes or as root."
)
_PARENT = "agentproxy"


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
