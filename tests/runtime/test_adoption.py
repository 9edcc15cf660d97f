"""What an earlier server started is found again; what is not provably ours is not taken for it."""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from agentproxy.model.adoption import Alive, Gone, Unproven
from agentproxy.model.session import ExitStatus, Incarnation
from agentproxy.runtime import orphans
from agentproxy.runtime.adoption import Census, Resident, examine, needs_door, take_census
from agentproxy.runtime.launching import Launch, launch
from agentproxy.runtime.watching import Watch, read_boot_id, read_start_ticks

NOWHERE = Path("/nonexistent")
LIFE = Incarnation(
    "s", 1, "embedded", (), "/", 9000, "mark", "boot", datetime(2026, 1, 2, tzinfo=UTC), door="secret",
    cgroup="/group", pid=7, start_ticks=70,
)  # fmt: skip
SERVER = Resident(7, 7, 70, "mark")
AGENT = Resident(8, 8, 71, "mark")


def census(*residents: Resident, members: tuple[int, ...] = (), listeners: dict[int, int] | None = None) -> Census:
    """Return a machine with these processes."""
    return Census("boot", {one.pid: one for one in residents}, {"/group": frozenset(members)}, listeners or {})


def test_the_same_process_with_our_marker_is_ours() -> None:
    """Process id, start time and boot find it, the marker proves it."""
    assert examine(LIFE, census(SERVER, AGENT), NOWHERE) == Alive(7, 70, "marker")


@pytest.mark.parametrize(
    "other",
    [replace(SERVER, start_ticks=69), replace(SERVER, start_ticks=71), AGENT],
)
def test_another_process_with_its_number_is_not_it(other: Resident) -> None:
    """A start time that differs means that the process is gone and its number was given to another one."""
    assert examine(LIFE, census(other), NOWHERE) == Gone()


def test_after_a_reboot_everything_is_gone() -> None:
    """With another boot id nothing is ours, whatever it looks like."""
    assert examine(replace(LIFE, boot_id="before"), census(SERVER), NOWHERE) == Gone(rebooted=True)


def test_without_marker_the_cgroup_or_the_door_prove_it() -> None:
    """A process without our marker is ours inside our cgroup, or when it opens to its secret; else it is left alone."""
    bare = replace(SERVER, marker=None)
    assert examine(LIFE, census(bare, members=(7,)), NOWHERE) == Alive(7, 70, "cgroup")
    assert needs_door(LIFE, census(bare))
    assert examine(LIFE, census(bare), NOWHERE, door_opens=True) == Alive(7, 70, "door")
    assert isinstance(examine(LIFE, census(bare), NOWHERE, door_opens=False), Unproven)


def test_a_crash_between_exec_and_its_record() -> None:
    """Without a process id the agent server is found by marker, by cgroup, or by who listens behind its door."""
    unrecorded = replace(LIFE, pid=None, start_ticks=None)
    helper = Resident(9, 7, 72, "mark")
    assert examine(unrecorded, census(AGENT, helper, SERVER), NOWHERE) == Alive(7, 70, "marker")
    bare = replace(SERVER, marker=None)
    assert examine(unrecorded, census(bare, members=(7,)), NOWHERE) == Alive(7, 70, "cgroup")
    listening = census(bare, listeners={9000: 7})
    assert needs_door(unrecorded, listening)
    assert examine(unrecorded, listening, NOWHERE, door_opens=True) == Alive(7, 70, "door")
    assert examine(unrecorded, census(), NOWHERE) == Gone()


def test_an_end_record_says_how_it_went(tmp_path: Path) -> None:
    """What an agent server wrote of its own end is told when its process is gone."""
    told = {"exit": {"code": 3, "signal": None}, "reason": "agent_exited"}
    (tmp_path / "end.json").write_text(json.dumps(told))
    found = examine(LIFE, census(), tmp_path)
    assert isinstance(found, Gone)
    assert found.record is not None
    assert (found.record.exit, found.record.stopped) == (ExitStatus(3), False)
    (tmp_path / "end.json").write_text('{"exit": ')
    assert examine(LIFE, census(), tmp_path) == Gone()


@pytest_twisted.ensureDeferred
async def test_a_census_sees_real_processes(tmp_path: Path) -> None:
    """A launched process is found by its marker, alive; dead it is not."""
    marker = uuid.uuid4().hex
    environment = {"PATH": "/usr/bin:/bin", orphans.MARKER_VARIABLE: marker}
    pid = launch(Launch(("sleep", "600"), environment, tmp_path, tmp_path / "log"))
    life = replace(
        LIFE, marker=marker, pid=pid, start_ticks=read_start_ticks(pid), boot_id=read_boot_id(), cgroup=None, door=None
    )
    try:
        seen = await deferToThread(take_census, read_boot_id(), [life])
        assert examine(life, seen, tmp_path) == Alive(pid, life.start_ticks or 0, "marker")
        assert seen.has_left(life)
        assert os.getpid() in seen.residents
    finally:
        watch = Watch(reactor, pid)
        await deferToThread(orphans.end_all, marker, pid)
        await watch.when_ended()
        watch.reap()
    later = await deferToThread(take_census, read_boot_id(), [life])
    assert examine(life, later, tmp_path) == Gone()
    assert not later.has_left(life)
