"""What a session is made of, seen from inside: start-up scripts, environment and HOME, with the demo agent or one that tells."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agent_servers import find_agentapi
from tests.daemon import Daemon
from tests.fakes import fake_command
from tests.journeys import failing
from tests.waiting import wait_for

FOLDER = {
    "default.env": "LEVEL=default\nFROM_DEFAULT=1\n",
    "admin.env": "LEVEL=role\nFROM_ROLE=1\n",
    "mine.env": "LEVEL=file\nFROM_FILE=1\nHOME=/nowhere\n",
}


@pytest.fixture(scope="module", params=["agentapi", "embedded"])
def daemon(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with a script, environment files, a HOME for each session, and an agent that writes down its environment."""
    directory = tmp_path_factory.mktemp(request.param)
    (directory / "env").mkdir()
    for name, text in FOLDER.items():
        (directory / "env" / name).write_text(text, encoding="utf-8")
    cannot = 'if [ "${1:-}" = --continue ]; then echo "No conversation found to continue"; exit 1; fi'
    (directory / "forgetful.sh").write_text(f"{cannot}\nexec {' '.join(fake_command('tui'))}\n", encoding="utf-8")
    options: dict[str, Any] = {
        "scripts": {"own": failing.script(directory / "own.sh", 'export FROM_SCRIPT="port $1"')},
        "role_env_files": {"enabled": True, "path": str(directory / "env")},
        "sessions": {"env_files_dir": str(directory / "env"), "per_user_home": False},
        "agents": {
            "telling": {"command": fake_command("env", "told.json")},
            "forgetful": {"command": ["bash", str(directory / "forgetful.sh")], "resume": ["--continue"]},
        },
    }
    programs = f"{stand_in_for_git(directory / 'bin')}:{os.path.dirname(find_agentapi() or '')}:{os.environ['PATH']}"
    running = failing.configured(directory, request.param, options, {"PATH": programs})
    yield running
    running.stop()


def stand_in_for_git(folder: Path) -> Path:
    """Return a folder with a git that clones an empty repository from everywhere, so that no network is needed."""
    folder.mkdir()
    (folder / "git").write_text('#!/bin/bash\nmkdir -p "${@: -1}/.git"\n', encoding="utf-8")
    (folder / "git").chmod(0o755)
    return folder


def told(daemon: Daemon, **body: Any) -> tuple[str, dict[str, str]]:
    """Start the agent that tells and return its session's id and its environment."""
    session_id = daemon.start(agent="telling", **body)
    path = daemon.log.parent / "data" / "sessions" / session_id / "work" / "told.json"
    return session_id, wait_for("the agent tells its environment", lambda: _read(path))


def _read(path: Path) -> dict[str, str] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    environment: dict[str, str] = found["environment"]
    return environment


@pytest.mark.parametrize("name", ["agentapi_default.sh", "agentapi_with_github.sh"])
def test_our_scripts_start_the_demo_agent(daemon: Daemon, name: str) -> None:
    """Each script becomes the agent server of a session that answers; with DEBUG it says what it starts, and no secret."""
    environment = {"DEBUG": "true", "WORKSPACE_NAME": "my-project", "GITHUB_TOKEN": "ghp_verysecret"}
    session_id = daemon.start(agent="demo", script=name, environment=environment, message="hello")
    with daemon.client.events(f"/{session_id}/events") as events:
        events.until_message("You said: hello")
    said = daemon.client.get(f"/sessions/{session_id}/log").body
    assert b"workspace my-project" in said
    assert b"ghp_verysecret" not in said
    assert daemon.delete(session_id).status == 200
    failing.assert_nothing_left(session_id)
    assert "ghp_verysecret" not in daemon.log.read_text()


def test_a_session_with_a_repository_of_github_can_push(daemon: Daemon) -> None:
    """Its start goes through the script for GitHub, which gives git the token; one without a token needs no script."""
    session_id, environment = told(daemon, params={"repo_full_name": "owner/name", "github_token": "ghp_given"})
    assert environment["AGENTAPI_GITHUB_INTEGRATION"] == "true"
    assert environment["GIT_CONFIG_KEY_0"] == "credential.https://github.com.helper"
    assert "ghp_given" not in environment["GIT_CONFIG_VALUE_0"]
    daemon.delete(session_id)
    session_id, environment = told(daemon, params={"repo_full_name": "owner/name"})
    assert "AGENTAPI_GITHUB_INTEGRATION" not in environment
    daemon.delete(session_id)


def test_debug_says_what_is_started(daemon: Daemon) -> None:
    """`DEBUG` in a session's environment makes the default script write into the session's log."""
    session_id = daemon.start(environment={"DEBUG": "true", "WORKSPACE_NAME": "my-project"})
    assert b"workspace my-project" in daemon.client.get(f"/sessions/{session_id}/log").body
    daemon.delete(session_id)


def test_a_script_of_the_configuration(daemon: Daemon) -> None:
    """A request picks a configured script by its name; what it exports reaches the agent."""
    session_id, environment = told(daemon, script="own")
    assert environment["FROM_SCRIPT"].startswith("port ")
    assert daemon.delete(session_id).status == 200
    assert daemon.client.post_json("/start", {"script": "onw"}).json()["details"].endswith("did you mean 'own'?")


def test_what_wins_in_the_environment(daemon: Daemon) -> None:
    """Role files, then the named file, then the request; HOME and the like are nobody's to set."""
    session_id, environment = told(daemon, tags={"env_file": "mine.env"}, params={"github_token": "ghp_given"})
    found = {
        name: environment.get(name) for name in ("LEVEL", "FROM_DEFAULT", "FROM_ROLE", "FROM_FILE", "GITHUB_TOKEN")
    }
    assert found == {
        "LEVEL": "file",
        "FROM_DEFAULT": "1",
        "FROM_ROLE": "1",
        "FROM_FILE": "1",
        "GITHUB_TOKEN": "ghp_given",
    }
    assert Path(environment["HOME"]).is_relative_to(daemon.log.parent / "data" / "sessions" / session_id)
    path = daemon.log.parent / "data" / "sessions" / session_id / "work" / "told.json"
    path.unlink()
    again = daemon.client.request("POST", f"/sessions/{session_id}/restart")
    assert again.status == 200
    assert wait_for("it tells again", lambda: _read(path))["GITHUB_TOKEN"] == "ghp_given"
    daemon.delete(session_id)
    session_id, environment = told(daemon, environment={"LEVEL": "request"})
    assert (environment["LEVEL"], environment.get("FROM_FILE")) == ("request", None)
    daemon.delete(session_id)


@pytest.mark.parametrize("name", ["../daemon.log", "/etc/passwd", "none.env"])
def test_a_file_outside_the_folder_is_refused(daemon: Daemon, name: str) -> None:
    """A name that leads out is answered as one that does not exist, and nothing of the file is shown."""
    reply = daemon.client.post_json("/start", {"tags": {"env_file": name}})
    assert (reply.status, reply.json()["code"]) == (400, "invalid_request")
    assert (
        reply.json()["details"]
        == "$.tags.env_file: there is no such file in the folder of environment files (sessions.env_files_dir)"
    )


def test_an_agent_that_cannot_continue_begins_anew(daemon: Daemon) -> None:
    """A restart whose resume arguments end the agent at once is followed by one without them, and the events say so."""
    session_id = daemon.start(agent="forgetful")
    daemon.client.request("POST", f"/sessions/{session_id}/stop")
    daemon.client.request("POST", f"/sessions/{session_id}/restart")

    def settled() -> bool:
        shown = daemon.client.get(f"/sessions/{session_id}").json()
        return (shown["incarnation"], shown["agent_status"]) == (3, "stable")

    wait_for("the third incarnation is quiet", settled)
    rows = daemon.client.get(f"/sessions/{session_id}/events?limit=1000").json()["events"]
    again = [row["data"] for row in rows if row["type"] == "session.restarted"]
    assert [(row["incarnation"], row["resume"]) for row in again] == [(2, True), (3, False)]
    assert "could not continue its conversation" in again[1]["reason"]
    assert daemon.delete(session_id).status == 200
    failing.assert_nothing_left(session_id)


def test_the_answer_says_who_chose_the_agent(daemon: Daemon) -> None:
    """A configured default is no choice of the server's."""
    reply = daemon.client.post_json("/start", {}).json()
    assert reply["session"]["agent_automatic"] is False
    daemon.delete(reply["session_id"])


def test_the_first_agent_on_path(tmp_path: Path) -> None:
    """Without a default the first agent on PATH is taken, else the demo; the answer and the log say so."""
    running = Daemon(tmp_path, "embedded", {"AGENTPROXY_DEFAULT_AGENT": "auto"})
    try:
        session = running.client.post_json("/start?wait=none", {}).json()["session"]
        assert session["agent_automatic"] is True
        assert f"No agent was named; {session['agent']} " in running.log.read_text()
        running.delete(session["session_id"])
    finally:
        running.stop()
