"""A first user's minutes with the whole daemon: start, talk, watch, look, delete; and what is left afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.agent_servers import clean_environment
from tests.daemon import Daemon
from tests.described import DescribedClient
from tests.fakes import fake_command
from tests.journeys.failing import assert_nothing_left
from tests.waiting import wait_for


@pytest.fixture(params=["agentapi", "embedded"])
def daemon(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Daemon]:
    """A daemon with the demo agent below each agent server; ended afterwards."""
    running = Daemon(tmp_path, request.param)
    yield running
    running.stop()


def left_of(directory: Path) -> list[str]:
    """Return the processes that still work below *directory*."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and Path(os.readlink(entry / "cwd")).is_relative_to(directory):
                found.append((entry / "cmdline").read_text())
        except OSError:
            continue
    return found


def test_a_session_is_started_talked_to_and_deleted(daemon: Daemon, tmp_path: Path) -> None:
    """The first message arrives, the answer comes on the stream, and a deleted session is gone."""
    session_id = daemon.start(user_id="alice", message="hello", tags={"project": "demo"})
    with daemon.client.events(f"/{session_id}/events") as events:
        events.until_message("You said: hello")
    [listed] = daemon.client.get("/search?user_id=alice&tag.project=demo").json()["sessions"]
    assert (listed["session_id"], listed["status"], listed["phase"]) == (session_id, "active", "ready")
    kinds = [row["type"] for row in daemon.client.get(f"/sessions/{session_id}/events").json()["events"]]
    assert kinds[0] == "session.queued"
    assert kinds.count("session.ready") == 1
    gone = daemon.delete(session_id)
    assert gone.json() == {
        "message": "Session terminated successfully",
        "session_id": session_id,
        "status": "terminated",
    }
    assert daemon.delete(session_id).status == 404
    assert list((tmp_path / "data" / "sessions").iterdir()) == []
    assert daemon.client.get(f"/{session_id}/status").status == 404
    assert daemon.client.get("/search").json()["sessions"] == []


def test_a_session_that_is_stopped_stays_listed_with_its_reason(daemon: Daemon) -> None:
    """A stopped session forwards nothing, says why, and stays in the list as inactive."""
    session_id = daemon.start()
    stopped = daemon.client.request("POST", f"/sessions/{session_id}/stop").json()
    assert (stopped["phase"], stopped["ending"]["reason"]) == ("ended", "stopped")
    assert daemon.client.get(f"/{session_id}/status").json()["code"] == "session_ended"
    log = daemon.client.get(f"/sessions/{session_id}/log")
    assert log.media_type == "text/plain"
    assert str(stopped["port"]).encode() in log.body
    [listed] = daemon.client.get("/search?status=inactive").json()["sessions"]
    assert listed["session_id"] == session_id


def test_a_session_is_restarted_under_its_id(daemon: Daemon) -> None:
    """The next incarnation answers at the same id, also when the session had ended."""
    session_id = daemon.start()
    daemon.client.request("POST", f"/sessions/{session_id}/stop")
    for incarnation in (2, 3):
        again = daemon.client.request("POST", f"/sessions/{session_id}/restart").json()
        assert (again["session_id"], again["phase"], again["incarnation"]) == (session_id, "ready", incarnation)
        assert daemon.client.get(f"/{session_id}/status").status == 200


@pytest.mark.parametrize(
    ("changes", "details"),
    [
        ({"tags": {"": "x"}}, "$.tags.: a tag's name"),
        ({"annotations": {"pr_url": "x" * 5000}}, "$.annotations.pr_url: longer than"),
        ({"description": "x\0"}, "$.description: contains NUL"),
    ],
)
def test_a_wrong_change_changes_nothing(daemon: Daemon, changes: dict[str, Any], details: str) -> None:
    """What a start would refuse a change refuses too, at its path, and a session can still be restarted afterwards."""
    session_id = daemon.start(tags={"project": "demo"}, description="before")
    shown = daemon.client.get(f"/sessions/{session_id}").json()
    reply = daemon.client.request("PATCH", f"/sessions/{session_id}", json.dumps({"description": "after", **changes}))
    assert (reply.status, reply.json()["code"]) == (400, "invalid_request")
    assert reply.json()["details"].startswith(details)
    after = daemon.client.get(f"/sessions/{session_id}").json()
    assert [after[name] for name in ("tags", "description", "annotations")] == [
        shown[name] for name in ("tags", "description", "annotations")
    ]


@pytest.mark.parametrize("first", ["restart", "delete"])
def test_a_restart_and_a_deletion_at_the_same_time(daemon: Daemon, first: str) -> None:
    """Whichever comes first: the session is gone afterwards, with its directory and every process."""
    asked = {"restart": ("POST", "/restart"), "delete": ("DELETE", "")}
    order = [first, *(name for name in asked if name != first)]

    def ask(session_id: str, name: str) -> int:
        method, end = asked[name]
        return DescribedClient("127.0.0.1", daemon.port).request(method, f"/sessions/{session_id}{end}").status

    for _round in range(3):
        session_id = daemon.start()
        with ThreadPoolExecutor(2) as pool:
            found = dict(zip(order, pool.map(ask, [session_id] * 2, order), strict=True))
        assert (found["delete"], found["restart"] in (200, 404, 409)) == (200, True), found
        assert daemon.client.get(f"/sessions/{session_id}").status == 404
        assert_nothing_left(session_id)
        assert not (daemon.log.parent / "data" / "sessions" / session_id).exists()


def test_a_second_server_leaves_the_first_ones_data_alone(daemon: Daemon, tmp_path: Path) -> None:
    """Two servers on one data directory would end each other's sessions, so the second one does not start."""
    session_id = daemon.start()
    second = subprocess.run(
        [sys.executable, "-m", "agentproxy", "--port", "0"],
        cwd=tmp_path,
        env=clean_environment(tmp_path, {"AGENTPROXY_DATA_DIR": str(tmp_path / "data")}),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert second.returncode == 1
    assert "another agentproxy uses data_dir" in second.stderr
    assert daemon.client.get(f"/{session_id}/status").status == 200


def test_in_the_background_the_log_says_why_the_start_failed(tmp_path: Path) -> None:
    """twistd has detached from the terminal by then, so there is no other place."""
    (tmp_path / "data").write_text("in the way")
    log = tmp_path / "twistd.log"
    twistd = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]
    subprocess.run(
        [*twistd, f"--pidfile={tmp_path / 'pid'}", f"--logfile={log}", "agentproxy", "-p", "0"],
        cwd=tmp_path,
        env=clean_environment(tmp_path, {"AGENTPROXY_DATA_DIR": str(tmp_path / "data")}),
        check=True,
        timeout=60,
    )
    wait_for("the log has the reason", lambda: "The start failed: data_dir" in log.read_text(), 20)


def test_without_adoption_nothing_outlives_a_crash(daemon: Daemon, tmp_path: Path) -> None:
    """With adoption off, the server that starts after `kill -9` ends what was left and shows the session as lost."""
    session_id = daemon.start()
    kind = daemon.client.get(f"/sessions/{session_id}").json()["phase"]
    daemon.process.kill()
    daemon.process.wait(30)
    assert (kind, bool(left_of(tmp_path))) == ("ready", True)
    again = Daemon(tmp_path, "embedded", {"AGENTPROXY_SESSIONS_ADOPT": "false"})
    try:
        assert again.client.get(f"/sessions/{session_id}").json()["ending"]["reason"] == "lost"
        assert left_of(tmp_path / "data") == []
    finally:
        again.stop()


def test_the_end_of_the_server_is_the_end_of_its_sessions(daemon: Daemon, tmp_path: Path) -> None:
    """SIGTERM ends the daemon with twistd's status and no process of any session is left."""
    for _number in range(2):
        daemon.start()
    assert daemon.stop() == -signal.SIGTERM
    assert left_of(tmp_path) == []


@pytest.mark.parametrize(
    ("body", "details"),
    [
        ('{"agnt": "demo"}', "$.agnt: unknown field, did you mean agent?"),
        ('{"environment": {"1A": "x"}}', "$.environment.1A: "),
        ('{"environment": {"LD_PRELOAD": "x"}}', "$.environment.LD_PRELOAD: "),
        ('{"params": {"github_token": "a\\u0000b"}}', "$.params.github_token: value contains NUL"),
        (f'{{"params": {{"github_token": "{"t" * 40_000}"}}}}', "$.params.github_token: value longer than 32768 bytes"),
        ('{"agent": "demp"}', "$.agent: "),
        ('{"scope": "team"}', "$.team_id: needed when scope is team"),
        ('{"restart": "always"}', "$.restart: expected never or resume"),
        ('{"params": {"repo_full_name": "/etc"}}', "$.params.repo_full_name: local repositories must lie under"),
        ('{"tags": {"env_file": "/etc/passwd"}}', "$.tags.env_file: there is no such file"),
        ('{"tags": {"description": "ok", "": "x"}}', "$.tags.: "),
        ("{", "$: expected a JSON object"),
    ],
)
def test_a_wrong_start_is_refused_by_the_path_of_its_fault(daemon: Daemon, body: str, details: str) -> None:
    """A wrong request starts nothing and names the field."""
    reply = daemon.client.request("POST", "/start", body)
    assert reply.status == 400
    assert reply.json()["details"].startswith(details)
    assert daemon.client.get("/search").json()["sessions"] == []


def test_a_start_that_fails_says_why(daemon: Daemon, tmp_path: Path) -> None:
    """The step, the reason and the code are in the answer, and the session is listed with them."""
    (tmp_path / "data" / "sessions").write_text("in the way")
    reply = daemon.client.post_json("/start", {})
    assert (reply.status, reply.json()["code"], reply.json()["step"]) == (503, "start_unavailable", "directory")
    [listed] = daemon.client.get("/search?status=inactive").json()["sessions"]
    assert (listed["session_id"], listed["ending"]["reason"]) == (reply.json()["session_id"], "failed")


def test_a_restart_that_is_refused_ends_nothing(tmp_path: Path) -> None:
    """A session whose command is not allowed any more goes on when its restart is refused."""
    before = {"AGENTPROXY_ALLOW_COMMANDS": "true", "AGENTPROXY_SESSIONS_ON_SHUTDOWN": "keep"}
    first = Daemon(tmp_path, "embedded", before)
    session_id = first.start(command=fake_command("tui"))
    first.stop()
    second = Daemon(tmp_path, "embedded")
    try:
        reply = second.client.request("POST", f"/sessions/{session_id}/restart")
        assert (reply.status, reply.json()["details"].partition(":")[0]) == (400, "$.command")
        shown = second.client.get(f"/sessions/{session_id}").json()
        assert (shown["phase"], shown["incarnation"]) == ("ready", 1)
    finally:
        second.stop()
