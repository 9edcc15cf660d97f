"""Launching and watching a program."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor

from agentproxy.model.session import ExitStatus
from agentproxy.runtime.launching import Launch, LaunchFailed, launch
from agentproxy.runtime.watching import Watch

PATH = {"PATH": "/usr/bin:/bin"}


@pytest_twisted.ensureDeferred
async def test_a_program_runs_alone(tmp_path: Path) -> None:
    """It has its own session, its directory, no descriptor of ours, and its output is in the log."""
    ours = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(ours, True)
    script = 'pwd; read line || echo no input; ls /proc/$$/fd | tr "\\n" " "; cut -d" " -f1,5,6 /proc/$$/stat; exit 7'
    pid = launch(Launch(("sh", "-c", script), PATH, tmp_path, tmp_path / "log"))
    os.close(ours)
    watch = Watch(reactor, pid)
    assert await watch.when_ended() == ExitStatus(code=7)
    watch.reap()
    watch.reap()
    lines = (tmp_path / "log").read_text().splitlines()
    assert lines[:2] == [str(tmp_path), "no input"]
    descriptors, numbers = lines[2].split(" ")[:-3], lines[2].split(" ")[-3:]
    assert str(ours) not in descriptors
    assert numbers == [str(pid)] * 3


@pytest.mark.parametrize(
    ("name", "said"),
    [("nosuchprogram", "not found in PATH"), ("./missing", "does not exist"), ("./plain", "not executable")],
)
def test_what_cannot_run_says_why(tmp_path: Path, name: str, said: str) -> None:
    """The reason is the real one, not an exit status of a shell."""
    (tmp_path / "plain").write_text("x")
    with pytest.raises(LaunchFailed, match=said):
        launch(Launch((name,), PATH, tmp_path, tmp_path / "log"))
