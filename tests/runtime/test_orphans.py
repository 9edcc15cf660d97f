"""What a session has started is found and ended, nothing else."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from agentproxy.runtime import cgroups, orphans
from agentproxy.runtime.launching import Launch, launch
from agentproxy.runtime.watching import Watch
from tests.waiting import wait_for


async def _ended(marker: str, watch: Watch, cgroup: Path | None = None) -> None:
    assert await deferToThread(orphans.end_all, marker, watch.pid, cgroup) == []
    await watch.when_ended()
    watch.reap()
    assert orphans.find(marker, cgroup=cgroup) == []


@pytest_twisted.ensureDeferred
async def test_what_hides_in_its_own_session_is_ended(tmp_path: Path) -> None:
    """Processes with a session of their own, ignoring SIGHUP, are ended with the session; another session lives on."""
    marker, other = uuid.uuid4().hex, uuid.uuid4().hex
    watches = []
    for mark in (marker, other):
        environment = {"PATH": "/usr/bin:/bin", orphans.MARKER_VARIABLE: mark}
        argv = ("sh", "-c", "setsid nohup sleep 600 & setsid sh -c 'sleep 600; true' & wait")
        watches.append(Watch(reactor, launch(Launch(argv, environment, tmp_path, tmp_path / "log"))))
        await deferToThread(wait_for, "four processes", lambda mark=mark: len(orphans.find(mark)) >= 4)
    await _ended(marker, watches[0])
    assert len(orphans.find(other)) >= 4
    await _ended(other, watches[1])


@pytest_twisted.ensureDeferred
async def test_a_cgroup_finds_what_has_cleared_its_environment(tmp_path: Path) -> None:
    """A process without the marker, in another session and with a dead parent, is ended through its cgroup."""
    root = cgroups.find_root()
    if root is None:
        pytest.skip(cgroups.CANNOT_PROMISE)
    marker = uuid.uuid4().hex
    group = cgroups.Cgroups(root).make(f"test-{marker}")
    if group is None:
        pytest.skip("the kernel refuses to make a cgroup")
    environment = {"PATH": "/usr/bin:/bin", orphans.MARKER_VARIABLE: marker}
    argv = ("sh", "-c", "(env -i /usr/bin/setsid /bin/sleep 600 &) ; sleep 600")
    watch = Watch(reactor, launch(Launch(argv, environment, tmp_path, tmp_path / "log", group)))
    await deferToThread(wait_for, "three processes", lambda: len(cgroups.members(group)) >= 3)
    await _ended(marker, watch, group)
    await deferToThread(wait_for, "the group to be removed", lambda: cgroups.remove(group))
    assert cgroups.remove(group)
    cgroups.remove(group.parent)
