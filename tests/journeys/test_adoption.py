"""What outlives the server: agents over a crash and over a planned restart, and the truth about those that did not."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from agentproxy.model.backend import DOOR_HEADER
from tests.agent_servers import catches_sigterm, clean_environment
from tests.daemon import Daemon
from tests.fakes import fake_command
from tests.waiting import wait_for
from tests.wire import Client

Begin = Callable[..., Daemon]


@pytest.fixture(params=["agentapi", "embedded"])
def begin(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Begin]:
    """Starts a daemon on the test's data directory, again and again; ends everything afterwards."""
    daemons: list[Daemon] = []

    def start(**settings: str) -> Daemon:
        prefixed = {f"AGENTPROXY_{name.upper()}": value for name, value in settings.items()}
        daemons.append(Daemon(tmp_path, request.param, prefixed))
        return daemons[-1]

    yield start
    for daemon in daemons:
        daemon.process.kill()
        daemon.process.wait(30)
    Daemon(tmp_path, request.param, {"AGENTPROXY_SESSIONS_ADOPT": "false"}).stop()
    assert processes_of(tmp_path) == []


def crash(daemon: Daemon) -> None:
    """Kill the daemon as a crash does."""
    daemon.process.kill()
    daemon.process.wait(30)
    daemon.client.close()


def has_ended(pid: int) -> bool:
    """Return whether a process has ended; whoever took it as an orphan may not have asked how."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def processes_of(directory: Path) -> list[psutil.Process]:
    """Return the living processes that work below *directory*/data."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd().startswith(str(directory / "data")) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def shown(daemon: Daemon, session_id: str) -> Any:
    """Return a session as the API shows it."""
    return daemon.client.get(f"/sessions/{session_id}").json()


def kinds(daemon: Daemon, session_id: str) -> list[str]:
    """Return the types of a session's events."""
    return [row["type"] for row in daemon.client.get(f"/sessions/{session_id}/events?limit=1000").json()["events"]]


def rows(directory: Path, statement: str, *values: object) -> list[Any]:
    """Run one statement on the server's database, from outside."""
    with closing(sqlite3.connect(directory / "data" / "agentproxy.db")) as database, database:
        return database.execute(statement, values).fetchall()


def record_of(directory: Path, session_id: str) -> Any:
    """Return what the store has of a session's first life."""
    return json.loads(rows(directory, "SELECT record FROM incarnations WHERE session_id = ?", session_id)[0][0])


def alter(directory: Path, session_id: str, **changes: object) -> None:
    """Change what the store has of a session's first life."""
    record = json.dumps({**record_of(directory, session_id), **changes})
    rows(directory, "UPDATE incarnations SET record = ? WHERE session_id = ?", record, session_id)


def say_behind(directory: Path, session_id: str, text: str) -> None:
    """Say something to the agent past the server, and wait for the answer."""
    door = directory / "data" / "sessions" / session_id / "records" / "door"
    headers = {DOOR_HEADER: door.read_text()} if door.exists() else {}
    with closing(Client("127.0.0.1", record_of(directory, session_id)["port"])) as client:
        with client.events("/events", **headers) as events:
            events.until_stable()
            reply = client.post_json("/message", {"content": text, "type": "user"}, headers=headers)
            assert reply.status == 200, reply.body
            events.until_message(f"You said: {text}")


def test_agents_live_on_over_a_crash(begin: Begin, tmp_path: Path) -> None:
    """After `kill -9` the same agents answer at the same ids, and what was said meanwhile is there, once."""
    first = begin()
    session_id, other = first.start(), first.start()
    with first.client.events(f"/{session_id}/events") as events:
        events.until_stable()
        first.client.post_json(f"/{session_id}/message", {"content": "one", "type": "user"})
        events.until_message("You said: one")
    before = {process.pid for process in processes_of(tmp_path)}
    crash(first)
    say_behind(tmp_path, session_id, "two")
    second = begin()
    for one in (session_id, other):
        assert shown(second, one)["phase"] == "ready"
        assert second.client.get(f"/{one}/status").status == 200
        assert kinds(second, one).count("session.adopted") == 1
    assert {process.pid for process in processes_of(tmp_path)} == before
    with second.client.events(f"/{session_id}/events") as events:
        events.until_stable()
        said = second.client.post_json(f"/{session_id}/message", {"content": "three", "type": "user"})
        assert said.status == 200, said.body
        events.until_message("You said: three")

    def transcript() -> list[str]:
        return [row[0] for row in rows(tmp_path, "SELECT content FROM messages WHERE session_id = ?", session_id)]

    wait_for("the answer is kept", lambda: any("said: three" in text for text in transcript()))
    for word in ("one", "two", "three"):
        assert [text.strip() for text in transcript()].count(word) == 1
        assert sum(f"You said: {word}" in text for text in transcript()) == 1
    assert kinds(second, session_id).count("session.ready") == 1
    assert second.delete(session_id).status == 200
    stopped = second.client.request("POST", f"/sessions/{other}/stop").json()
    assert (stopped["phase"], stopped["ending"]["reason"]) == ("ended", "stopped")
    assert processes_of(tmp_path) == []
    again = second.client.request("POST", f"/sessions/{other}/restart").json()
    assert (again["phase"], again["incarnation"]) == ("ready", 2)


def test_a_planned_restart_is_not_noticed(begin: Begin, tmp_path: Path) -> None:
    """With `on_shutdown: keep` SIGTERM leaves the agents, says so, and the next server goes on with them; a third one too."""
    daemon = begin(sessions_on_shutdown="keep")
    session_id = daemon.start()
    before = {process.pid for process in processes_of(tmp_path)}
    for _restart in range(2):
        assert daemon.stop() == -signal.SIGTERM
        assert f"1 sessions run on without a server: {session_id}" in daemon.log.read_text()
        daemon = begin(sessions_on_shutdown="keep")
        assert shown(daemon, session_id)["phase"] == "ready"
    assert {process.pid for process in processes_of(tmp_path)} == before
    assert shown(daemon, session_id)["incarnation"] == 1


def test_a_first_message_that_waits_is_left_to_the_next_server(begin: Begin, tmp_path: Path) -> None:
    """A planned restart does not give up a message that a busy agent has not taken; who waited for the start is told."""
    free = tmp_path / "free"
    busy = f"until test -e {free}; do date +%N; sleep 0.1; done; exec {shlex.join(fake_command('tui'))}"
    daemon = begin(sessions_on_shutdown="keep", allow_commands="true")
    with ThreadPoolExecutor(2) as pool:
        wish = {"agent": "custom", "command": ["sh", "-c", busy]}
        with_message = pool.submit(daemon.client.post_json, "/start?wait=stable", {**wish, "message": "hello"})
        without = pool.submit(daemon.client.post_json, "/start?wait=stable", wish)
        wait_for("the agents work", lambda: working(daemon) == 2)
        assert daemon.stop() == -signal.SIGTERM
        for reply in (with_message.result(), without.result()):
            assert (reply.status, reply.json()["code"]) == (503, "shutting_down")
    session_id = with_message.result().json()["session_id"]
    daemon = begin()
    assert shown(daemon, session_id)["first_message"]["outcome"] == "uncertain"
    free.touch()

    def delivery() -> Any:
        return daemon.client.get(f"/sessions/{session_id}/deliveries").json()["deliveries"][0]

    wait_for("the message is typed", lambda: delivery()["state"] in ("delivered", "answered"))

    def said() -> int:
        found = rows(tmp_path, "SELECT content FROM messages WHERE session_id = ?", session_id)
        return [row[0].strip() for row in found].count("hello")

    wait_for("the transcript has it", said)
    assert said() == 1


def test_the_first_message_of_a_lost_session_does_not_wait(begin: Begin, tmp_path: Path) -> None:
    """Nobody follows it any more: the record and an event say so, and its delivery says that it was not typed."""
    wish = {"agent": "custom", "command": ["sh", "-c", "while date +%N; do sleep 0.1; done"], "message": "hello"}
    daemon = begin(allow_commands="true")
    session_id = daemon.start(**wish)
    wait_for("the agent works", lambda: working(daemon) == 1)
    crash(daemon)
    daemon = begin(sessions_adopt="false")
    record = shown(daemon, session_id)
    assert (record["ending"]["reason"], record["first_message"]["outcome"]) == ("lost", "uncertain")
    assert daemon.client.get(f"/sessions/{session_id}/deliveries").json()["deliveries"][0]["state"] == "accepted"
    told = daemon.client.get(f"/sessions/{session_id}/events?types=first_message&wait=0").json()["events"]
    assert [one["data"]["outcome"] for one in told] == ["uncertain"]


def working(daemon: Daemon) -> int:
    """Return how many agents are seen at work."""
    found = daemon.client.get("/search").json()["sessions"]
    return sum(one["agent_status"] == "running" for one in found)


def test_a_server_that_is_stopped_before_it_took_over_ends_what_was_left(tmp_path: Path) -> None:
    """SIGTERM while a start is under way leaves no agent of the server before it running, and says how they ended."""
    first = Daemon(tmp_path)
    left = {first.start(), first.start()}
    crash(first)
    assert processes_of(tmp_path)
    with closing(sqlite3.connect(tmp_path / "data" / "agentproxy.db", isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")  # the start has to wait here
        with (tmp_path / "second.log").open("wb") as log:
            environment = clean_environment(tmp_path, {"AGENTPROXY_DATA_DIR": str(tmp_path / "data")})
            command = [sys.executable, "-m", "agentproxy", "--port", "0"]
            second = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
        try:
            wait_for("the second server takes signals", lambda: catches_sigterm(second.pid))
            second.send_signal(signal.SIGTERM)
            wait_for("it has heard", lambda: "SIGTERM" in (tmp_path / "second.log").read_text())
            database.execute("ROLLBACK")
            assert second.wait(40) == -signal.SIGTERM
        finally:
            second.kill()
            second.wait(30)
    assert "listens at" not in (tmp_path / "second.log").read_text()
    assert processes_of(tmp_path) == []
    kept = rows(tmp_path, "SELECT session_id, data FROM events WHERE kind = 'session.ended'")
    assert {session_id: json.loads(data)["reason"] for session_id, data in kept} == dict.fromkeys(left, "stopped")


def test_an_agent_that_died_meanwhile_is_told(begin: Begin, tmp_path: Path) -> None:
    """One that was killed without a word is lost; one whose server wrote down its end has exited with that status."""
    first = begin()
    killed, left = first.start(), first.start()
    with first.client.events(f"/{left}/events") as events:
        events.until_stable()
    crash(first)
    os.kill(record_of(tmp_path, killed)["pid"], signal.SIGKILL)
    for agent in psutil.Process(record_of(tmp_path, left)["pid"]).children():
        agent.kill()
    wait_for("the second agent's server ends", lambda: has_ended(record_of(tmp_path, left)["pid"]))
    second = begin()
    assert shown(second, killed)["ending"]["reason"] == "lost"
    ending = shown(second, left)["ending"]
    if (tmp_path / "data" / "sessions" / left / "records" / "end.json").exists():
        assert (ending["reason"], ending["exit_status"]) == ("exited", 128 + signal.SIGKILL)
    else:
        assert ending["reason"] == "lost"
    assert processes_of(tmp_path) == []


def test_after_a_reboot_sessions_are_resumed_or_lost(begin: Begin, tmp_path: Path) -> None:
    """When the machine was started anew, a session of `restart: resume` begins its next life, another one is lost."""
    first = begin()
    resumed, lost = first.start(restart="resume"), first.start()
    crash(first)
    for process in processes_of(tmp_path):
        process.kill()
    for one in (resumed, lost):
        alter(tmp_path, one, boot_id="another boot")
    second = begin()
    again = wait_for("it is ready again", lambda: (now := shown(second, resumed))["phase"] == "ready" and now)
    assert again["incarnation"] == 2
    assert "session.restarted" in kinds(second, resumed)
    ending = shown(second, lost)["ending"]
    assert (ending["reason"], ending["message"]) == ("lost", "the machine was started anew")


def test_a_process_that_is_not_proven_ours_is_left_alone(begin: Begin, tmp_path: Path) -> None:
    """A process at our process id without our marker, cgroup or door lives on; the session is lost and the log says why."""
    first = begin()
    session_id = first.start()
    pid = record_of(tmp_path, session_id)["pid"]
    crash(first)
    alter(tmp_path, session_id, marker="somebody else", cgroup=None, port=1)
    stranger = psutil.Process(pid)
    try:
        second = begin()
        assert stranger.is_running()
        ending = shown(second, session_id)["ending"]
        assert ending["reason"] == "lost"
        assert f"process {pid} stands where its agent server was" in ending["message"]
        assert f"Process {pid} is left alone" in second.log.read_text()
    finally:
        for process in [*stranger.children(recursive=True), stranger]:
            process.kill()


def test_a_process_of_no_session_is_reported(begin: Begin, tmp_path: Path) -> None:
    """Agents of sessions that the store does not know (an older backup copy was put back) live on, and the log names them."""
    first = begin()
    session_id = first.start()
    pid = record_of(tmp_path, session_id)["pid"]
    crash(first)
    for table, column in (("sessions", "id"), ("incarnations", "session_id")):
        rows(tmp_path, f"DELETE FROM {table} WHERE {column} = ?", session_id)
    forgotten = psutil.Process(pid)
    try:
        second = begin()
        assert second.client.get("/search").json()["sessions"] == []
        assert forgotten.is_running()
        assert re.search(rf"Process {pid} in \S+/{session_id}\S* is of no session", second.log.read_text())
    finally:
        for process in [*forgotten.children(recursive=True), forgotten]:
            process.kill()


def test_starts_that_were_promised_are_finished(begin: Begin, tmp_path: Path) -> None:
    """Sessions that were queued or starting when the server died, and whose callers had their answer, become ready.

    Their first messages are not said to wait any more: their deliveries say what became of them.
    """
    first = begin(sessions_max_concurrent_starts="1")
    wish = {"message": "hello"}
    promised = [first.client.post_json("/start?wait=none", wish).json()["session_id"] for _number in range(4)]
    crash(first)
    second = begin()
    for one in promised:
        wait_for("it is ready", lambda one=one: shown(second, one)["phase"] in ("ready", "ended"))
        assert shown(second, one)["phase"] == "ready", shown(second, one)
        assert shown(second, one)["first_message"]["outcome"] == "uncertain"
    assert re.search(r"Sessions of the server before this one: .*(begin|rejoin)", second.log.read_text())
