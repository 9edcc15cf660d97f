"""Limits, fences and cgroups as they stand in front of an agent server's command line."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from agentproxy.errors import START_UNAVAILABLE, Refusal
from agentproxy.runtime import cgroups, isolation
from agentproxy.runtime.limits import Limits
from agentproxy.runtime.unix_users import Users


def test_a_limit_holds_for_the_program() -> None:
    """A program under a limit sees it; without limits its command line is untouched."""
    assert Limits().wrap(("true",)) == ("true",)
    shown = subprocess.run(Limits(files=77).wrap(("sh", "-c", "ulimit -n")), capture_output=True, check=True)
    assert shown.stdout == b"77\n"


def test_a_missing_program_is_named() -> None:
    """What limits and fences need is told when it is not installed."""
    for ask in (
        lambda: Limits(files=1).wrap(("true",), which=lambda _name: None),
        lambda: isolation.resolve("bwrap", which=lambda _name: None),
        lambda: isolation.resolve("user", users=Users(Path("/data"), (), 1), which=lambda _name: None),
    ):
        with pytest.raises(Refusal) as refused:
            ask()
        assert refused.value.kind is START_UNAVAILABLE
        assert "install" in refused.value.details


def test_bwrap_hides_the_others_and_shows_the_own(tmp_path: Path) -> None:
    """Hidden directories come before the session's own, which may lie inside them."""
    fence = isolation.resolve("bwrap", hidden=(tmp_path,), which=lambda name: f"/bin/{name}")
    own = tmp_path / "s1"
    argv = fence.wrap(("agent",), own / "work", (own,))
    assert argv.index(str(tmp_path)) < argv.index(str(own))
    assert argv[-2:] == ("--", "agent")


def test_no_fence_passes_on() -> None:
    """Without isolation the command line is untouched, and an unknown choice is an error."""
    assert isolation.resolve("none").wrap(("agent",), Path("/"), ()) == ("agent",)
    with pytest.raises(ValueError, match="isolation jail"):
        isolation.resolve("jail")


def test_cgroup2_is_found_where_it_is_mounted(tmp_path: Path) -> None:
    """The mount comes from mountinfo; a machine without cgroup2 has none."""
    (tmp_path / "own").write_text("1:cpu:/x\n0::/svc\n")
    (tmp_path / "svc").mkdir()
    (tmp_path / "svc" / "cgroup.procs").write_text("")
    (tmp_path / "info").write_text(f"41 31 0:38 / {tmp_path} rw,relatime - cgroup2 cgroup2 rw\n")
    (tmp_path / "old").write_text("32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n")
    assert cgroups.find_root(tmp_path / "info", tmp_path / "own") == tmp_path / "svc"
    assert cgroups.find_root(tmp_path / "old", tmp_path / "own") is None
