"""Groups that dead servers have left."""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from pathlib import Path

import pytest

from agentproxy.runtime import cgroups


def test_only_old_groups_with_our_names_are_swept(tmp_path: Path) -> None:
    """A new one may be the start of another server, one with something inside is in use, and other names are others'."""
    groups, now = cgroups.Cgroups(tmp_path), time.time()
    left, used, new = (groups.make(f"{uuid.uuid4()}-1") for _each in range(3))
    strange = groups.make("their-1")
    assert left
    assert used
    assert new
    assert strange
    (used / "inside").mkdir()
    for group in (left, used, strange):
        os.utime(group, (now - 700, now - 700))
    assert groups.sweep(now) == 1
    assert sorted(tmp_path.glob("agentproxy/*")) == sorted([used, new, strange])
    assert cgroups.Cgroups(tmp_path / "nowhere").sweep(now) == 0


def test_a_group_with_a_process_stays() -> None:
    """The kernel refuses to remove it, however old it is."""
    root = cgroups.find_root()
    if root is None:
        pytest.skip(cgroups.CANNOT_PROMISE)
    group = cgroups.Cgroups(root).make(f"{uuid.uuid4()}-1")
    if group is None:
        pytest.skip("the kernel refuses to make a cgroup")
    process = subprocess.Popen(["sleep", "600"])
    try:
        (group / "cgroup.procs").write_text(str(process.pid))
        assert not cgroups.remove(group)
        assert cgroups.members(group) == [process.pid]
    finally:
        process.kill()
        process.wait()
        cgroups.remove(group)
    assert not group.exists()
