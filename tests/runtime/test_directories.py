"""Directories of sessions."""

from __future__ import annotations

from pathlib import Path

import pytest
import pytest_twisted

from agentproxy.runtime.directories import Directories
from agentproxy.runtime.steps import StepFailed


@pytest_twisted.ensureDeferred
async def test_made_private_and_removed(tmp_path: Path) -> None:
    """A session gets its directories; removing them twice is fine."""
    directories = Directories(tmp_path / "sessions")
    made = await directories.make("s1")
    assert await directories.make("s1") == made
    assert [each.stat().st_mode & 0o777 for each in (made.work, made.tmp, made.log)] == [0o700] * 3
    assert not list(made.work.iterdir())
    await directories.remove("s1")
    await directories.remove("s1")
    assert not made.root.exists()


@pytest_twisted.ensureDeferred
async def test_removing_follows_no_link(tmp_path: Path) -> None:
    """What a session linked to stays; read-only directories are removed all the same."""
    directories = Directories(tmp_path / "sessions")
    made = await directories.make("s1")
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").write_text("x")
    (made.work / "link").symlink_to(tmp_path / "precious")
    (made.work / "cache").mkdir()
    (made.work / "cache/file").write_text("x")
    (made.work / "cache").chmod(0o500)
    (directories.root / "s2").symlink_to(tmp_path / "precious")
    await directories.remove("s1")
    await directories.remove("s2")
    assert (tmp_path / "precious/file").exists()
    assert not list(directories.root.iterdir())


@pytest.mark.parametrize("session_id", ["", ".", "..", "../x", "a/b", "/etc", "a\0"])
def test_only_ids_become_paths(tmp_path: Path, session_id: str) -> None:
    """No path is made of what is not an id."""
    with pytest.raises(ValueError, match="not the id"):
        Directories(tmp_path).of(session_id)


@pytest_twisted.ensureDeferred
async def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    """The failure names the step and the reason."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StepFailed, match="directory: the session's directory cannot be written: Not a directory"):
        await Directories(tmp_path / "file").make("s1")
