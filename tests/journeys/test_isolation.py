"""A hostile agent below each fence: what it gets of the server, of other users and of their sessions."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.journeys.people import KEYS, GuardedDaemon
from tests.waiting import wait_for

HOSTILE = Path(__file__).parent.parent / "fakes" / "hostile.py"


def bubblewrap_runs() -> bool:
    """Return whether bubblewrap is installed and may make namespaces here."""
    if shutil.which("bwrap") is None:
        return False
    words = [
        "bwrap",
        "--unshare-pid",
        "--unshare-ipc",
        "--ro-bind",
        "/",
        "/",
        "--dev",
        "/dev",
        "--proc",
        "/proc",
        "true",
    ]
    return subprocess.run(words, capture_output=True, timeout=30).returncode == 0


class FencedDaemon(GuardedDaemon):
    """A daemon whose agent ``hostile`` tries what :meth:`attack` says."""

    def __init__(self, directory: Path, isolation: str) -> None:
        self.directory = directory
        settings = {"AGENTPROXY_SESSIONS_ISOLATION": isolation, "AGENTPROXY_ALLOW_COMMANDS": "true"}
        super().__init__(directory, settings)

    def attack(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Let Bob start the hostile agent and return its report."""
        session_id = self.started("bob", command=[sys.executable, str(HOSTILE), json.dumps(wanted)])
        path = self.directory / "data" / "sessions" / session_id / "work" / "report.json"
        wait_for("the agent's report", path.exists)
        found: dict[str, Any] = json.loads(path.read_text())
        return found


@pytest.fixture
def fenced(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[FencedDaemon]:
    """A daemon with the fence of the parameter."""
    running = FencedDaemon(tmp_path, request.param)
    yield running
    running.stop()


def attacked(daemon: FencedDaemon, directory: Path, write: dict[str, str]) -> tuple[dict[str, Any], str]:
    """Let Alice have a session with a secret in her HOME, attack it, and return the report and the id of her session.

    :param write: what the agent tries to write, by name.
    """
    alices = daemon.started("alice", environment={"SECRET": "alices-secret"})
    data = directory / "data"
    [home] = [path for path in (data / "homes").iterdir() if path.name == "alice"]
    (home / "secret").write_text("alices-secret")
    port = daemon.ask("alice", "GET", f"/sessions/{alices}").json()["port"]
    victim = subprocess.Popen(["sleep", "600"])
    try:
        report = daemon.attack(
            {
                "read": {
                    "store": str(data / "secret.key"),
                    "keys": str(directory / "config.json"),
                    "home": str(home / "secret"),
                    "log": str(data / "sessions" / alices / "log" / "agent-server.log"),
                },
                "list": {"data": str(data), "tmp": str(directory), "root": "/root", "homes": str(data / "homes")},
                "write": write,
                "kill": victim.pid,
                "port": port,
            }
        )
        report["victim"] = victim.poll()
    finally:
        victim.kill()
        victim.wait()
    return report, alices


@pytest.mark.skipif(not bubblewrap_runs(), reason="bubblewrap is not installed or may not make namespaces")
@pytest.mark.parametrize("fenced", ["bwrap"], indirect=True)
def test_behind_bubblewrap_an_agent_gets_nothing_of_others(fenced: FencedDaemon, tmp_path: Path) -> None:
    """No data, key or HOME, no process or environment of others, no capability, nothing writable but its own."""
    data = str(tmp_path / "data" / "was-here")
    outside = {"etc": "/etc/agentproxy-was-here", "data": data, "cgroup": "/sys/fs/cgroup/x"}
    report, alices = attacked(fenced, tmp_path, outside)
    text = json.dumps(report)
    assert "alices-secret" not in text
    assert KEYS["root"] not in text
    assert report["environments"] == [report["own"]]
    assert alices not in report["environments"]
    assert report["read"]["keys"] in ("", "FileNotFoundError", "PermissionError")
    assert {report["read"][name] for name in ("store", "home", "log")} <= {"FileNotFoundError", "PermissionError"}
    assert set(report["list"]["data"]) <= {"homes", "sessions"}
    assert report["list"]["homes"] == ["bob"]
    assert set(report["list"]["tmp"]) <= {"data", "config.json"}
    assert all(isinstance(found, str) for found in (report["write"]["etc"], report["write"]["cgroup"]))
    assert not (tmp_path / "data" / "was-here").exists()
    assert not Path("/etc/agentproxy-was-here").exists()
    assert (report["kill"], report["victim"]) == ("ProcessLookupError", None)
    assert report["capabilities"] == ["0000000000000000"]
    assert set(report["ports"].values()) <= {401, 403, 404}
    assert isinstance(report["home"], int)
    assert (tmp_path / "data" / "homes" / "bob" / "note").read_text() == report["own"]


@pytest.mark.parametrize("fenced", ["none"], indirect=True)
def test_without_a_fence_the_start_says_what_is_open(fenced: FencedDaemon, tmp_path: Path) -> None:
    """The same agent reads what the server reads, which is what the warning says; other agent servers' doors are shut."""
    report, _alices = attacked(fenced, tmp_path, {})
    assert report["read"]["home"] == "alices-secret"
    assert "every agent can read what this server can read" in fenced.log.read_text()
    assert set(report["ports"].values()) <= {401, 403, 404}
