"""Finding again what an earlier server started: one look at the process table, then a pure rule for each incarnation.

Process id, start time and boot say that it is the same process. One thing more must prove that it is ours: the marker in
its environment, the cgroup that only we make, or the door secret that it answers to. The last two are for a forked agent
server, whose environment in ``/proc`` is its parent's.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agentproxy.model.adoption import Alive, Finding, Gone, Unproven
from agentproxy.model.session import Incarnation
from agentproxy.runtime import cgroups
from agentproxy.runtime.orphans import MARKER_VARIABLE
from agentproxy.runtime.watching import read_end_record

_MARK = f"{MARKER_VARIABLE}=".encode()


@dataclass(frozen=True, slots=True)
class Resident:
    """One living process: its session (``setsid``) and the marker that it carries."""

    pid: int
    session: int
    start_ticks: int
    marker: str | None


@dataclass(frozen=True, slots=True)
class Census:
    """The living processes of the machine at one moment.

    :param boot_id: which boot of the machine.
    :param groups: the processes in each cgroup that was asked for.
    :param listeners: the processes that listen at each port that was asked for.
    """

    boot_id: str
    residents: Mapping[int, Resident]
    groups: Mapping[str, frozenset[int]] = field(default_factory=dict)
    listeners: Mapping[int, int] = field(default_factory=dict)

    def has_left(self, one: Incarnation) -> bool:
        """Return whether anything of an incarnation runs."""
        if one.boot_id != self.boot_id:
            return False
        inside = bool(self.groups.get(one.cgroup or ""))
        return inside or any(resident.marker == one.marker for resident in self.residents.values())


def take_census(boot_id: str, incarnations: Iterable[Incarnation]) -> Census:
    """Look once at all processes, and at the cgroups and ports of *incarnations*. Blocks: call it in a thread."""
    wanted = list(incarnations)
    names = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    residents = {pid: one for pid in names if (one := _resident(pid)) is not None}
    groups = {one.cgroup: frozenset(cgroups.members(Path(one.cgroup))) for one in wanted if one.cgroup}
    unknown = {one.port for one in wanted if one.pid is None and one.door is not None and one.port}
    return Census(boot_id, residents, groups, _listeners(unknown, residents) if unknown else {})


def unclaimed(census: Census, incarnations: Iterable[Incarnation], sessions: Path) -> dict[int, str]:
    """Return the processes that work below *sessions* with a marker of ours, and are of none of *incarnations*.

    A store that was put back from a backup copy does not know them. Blocks.

    :returns: the directory of each.
    """
    known, root = {one.marker for one in incarnations}, sessions.resolve()
    found = {}
    for pid, resident in census.residents.items():
        if resident.marker is not None and resident.marker not in known:
            directory = _directory(pid)
            if directory.startswith(f"{root}/"):
                found[pid] = directory
    return found


def _directory(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return ""


def _resident(pid: int) -> Resident | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        if fields[0] in (b"Z", b"X"):
            return None
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except PermissionError:
        environment = []  # somebody else's
    except OSError:
        return None
    marker = next((one[len(_MARK) :].decode("ascii", "replace") for one in environment if one.startswith(_MARK)), None)
    return Resident(pid, int(fields[3]), int(fields[19]), marker)


def _listeners(ports: set[int], residents: Mapping[int, Resident]) -> dict[int, int]:
    """Return who listens at each of *ports* on IPv4: the process that leads its session, when several hold the socket."""
    sockets: dict[str, int] = {}
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        words = line.split()
        port = int(words[1].rpartition(":")[2], 16)
        if words[3] == "0A" and port in ports:
            sockets[f"socket:[{words[9]}]"] = port
    found: dict[int, int] = {}
    for pid, one in residents.items():
        for port in {sockets[name] for name in _open_files(pid) if name in sockets}:
            if port not in found or one.session == pid:
                found[port] = pid
    return found


def _open_files(pid: int) -> list[str]:
    names = []
    try:
        for entry in os.scandir(f"/proc/{pid}/fd"):
            names.append(os.readlink(entry.path))
    except OSError:
        pass
    return names


def examine(one: Incarnation, census: Census, records: Path, door_opens: bool | None = None) -> Finding:
    """Return what is left of an incarnation. Reads its end record.

    :param records: the directory of its records.
    :param door_opens: whether the agent server at its port answers to its door secret and to no other; None: not asked.
    """
    rebooted = one.boot_id != census.boot_id
    resident = None if rebooted else _process(one, census, door_opens)
    if resident is None:
        return Gone(rebooted, read_end_record(records / "end.json"))
    proof = _proof(one, resident, census, door_opens)
    if proof is None:
        why = f"process {resident.pid} stands where its agent server was, but nothing proves that it is ours"
        return Unproven(resident.pid, why)
    return Alive(resident.pid, resident.start_ticks, proof)


def needs_door(one: Incarnation, census: Census) -> bool:
    """Return whether only the door can prove an incarnation, or find it."""
    if one.door is None or one.boot_id != census.boot_id:
        return False
    resident = _process(one, census, None)
    if resident is None:
        return one.pid is None and one.port in census.listeners
    return _proof(one, resident, census, None) is None


def _process(one: Incarnation, census: Census, door_opens: bool | None) -> Resident | None:
    if one.pid is not None:
        resident = census.residents.get(one.pid)
        return resident if resident is not None and resident.start_ticks == one.start_ticks else None
    members = census.groups.get(one.cgroup or "", frozenset())
    leaders = [
        resident
        for resident in census.residents.values()
        if resident.session == resident.pid and (resident.marker == one.marker or resident.pid in members)
    ]
    if leaders:  # the agent server leads the first session of its life
        return min(leaders, key=lambda resident: (resident.start_ticks, resident.pid))
    return census.residents.get(census.listeners.get(one.port or 0, 0)) if door_opens else None


def _proof(one: Incarnation, resident: Resident, census: Census, door_opens: bool | None) -> str | None:
    if resident.marker == one.marker:
        return "marker"
    if resident.pid in census.groups.get(one.cgroup or "", frozenset()):
        return "cgroup"
    return "door" if door_opens else None
