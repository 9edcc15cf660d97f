"""Starts that fail tell the truth: in the answer, the session, its events and the log; and leave nothing behind.

The answers stand in docs/failures.md as the embedded agent server gives them; the tests compare.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.agent_servers import free_port
from tests.daemon import Daemon
from tests.fakes import fake_command
from tests.journeys import failing
from tests.waiting import wait_for
from tests.wire import Reply

FAKE = " ".join(fake_command("stranger"))


@pytest.fixture(scope="module", params=["agentapi", "embedded"])
def daemon(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon where one session starts at a time, one waits, and an agent has some seconds to become ready."""
    directory = tmp_path_factory.mktemp(request.param)
    (directory / "repositories").mkdir()
    strange = (f'{FAKE} "$1" http 0.0.0.0 &', "until (exec 3<>/dev/tcp/127.0.0.1/$1) 2>/dev/null; do sleep 0.02; done")
    options: dict[str, Any] = {
        "allow_commands": True,
        "start_port": 21000,
        "end_port": 29999,
        "sessions": {
            "max_concurrent_starts": 1,
            "max_queued": 1,
            "start_timeout": 60,
            "ready_timeout": 6,
            "local_repository_roots": [str(directory / "repositories")],
        },
        "agents": {"silent": {"command": fake_command("mute"), "marks": {"idle": ["^> ?$"]}}},
        "scripts": {
            "stranger": failing.script(directory / "stranger.sh", *strange),
            "held": failing.script(directory / "held.sh", f"until [ -e {directory}/go ]; do sleep 0.05; done"),
        },
    }
    running = failing.configured(directory, request.param, options)
    running.kind = request.param
    yield running
    running.stop()


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with a single port for agent servers, which must listen within two seconds."""
    directory = tmp_path_factory.mktemp("hasty")
    port = free_port()
    never = " ".join(fake_command("neverlisten"))
    scripts = {"never": failing.script(directory / "never.sh", f"exec {never}")}
    options = {"start_port": port, "end_port": port, "sessions": {"start_timeout": 2}, "scripts": scripts}
    running = failing.configured(directory, "embedded", options)
    running.kind = "embedded"
    running.agent_port = port
    yield running
    running.stop()


def fail(daemon: Daemon, target: str = "/start", **body: Any) -> Reply:
    """Start a session that fails; check that all places say the same and that nothing is left."""
    reply = daemon.client.post_json(target, body)
    assert reply.status >= 400, reply.body
    failing.assert_told_everywhere(daemon, reply.json())
    failing.assert_nothing_left(reply.json()["session_id"])
    return reply


def documented(daemon: Daemon, name: str, reply: Reply, *masks: tuple[str, str]) -> None:
    """Compare with the page, which shows the embedded agent server."""
    if daemon.kind == "embedded":
        failing.assert_documented(name, reply, daemon.log.parent, *masks)


def kinds(reply: Reply) -> tuple[int, str, str]:
    """Return status, code and step."""
    body = reply.json()
    return reply.status, body["code"], body["step"]


def test_a_program_that_is_not_there(daemon: Daemon) -> None:
    """The answer names the program and where it was looked for."""
    reply = fail(daemon, command=["no-such-program"])
    assert kinds(reply) == (500, "start_failed", "agent")
    assert reply.json()["details"].startswith("no-such-program was not found in PATH (")
    documented(daemon, "program-not-found", reply)


def test_an_agent_that_is_not_installed(daemon: Daemon) -> None:
    """The request is right and the server lacks something: 503, with the way to install it; no session is made."""
    before = sessions_of(daemon)
    reply = daemon.client.post_json("/start", {"agent": "auggie"})
    assert kinds(reply) == (503, "start_unavailable", "agent")
    assert reply.json()["details"].startswith("$.agent: auggie (")
    assert sessions_of(daemon) == before


@pytest.mark.parametrize(("name", "command"), [
    ("dies-at-once", fake_command("die", 7, "no key in the environment")),
    ("dies-after-a-second", fake_command("dielater", 1, 3)),
])  # fmt: skip
def test_an_agent_that_dies_before_it_is_ready(daemon: Daemon, name: str, command: list[str]) -> None:
    """Who waits for a ready agent is told its exit and its last words."""
    reply = fail(daemon, "/start?wait=stable", command=command)
    assert kinds(reply) == (500, "start_failed", "ready")
    status = 1 if daemon.kind == "agentapi" else int(command[-2 if name == "dies-at-once" else -1])
    assert reply.json()["exit_status"] == status
    words = "no key in the environment" if name == "dies-at-once" else "last words of dielater"
    assert any(words in line for line in reply.json()["output"])
    assert len(reply.json()["output"]) <= 50
    documented(daemon, name, reply)


def test_who_does_not_wait_hears_of_the_death_later(daemon: Daemon) -> None:
    """The agent server answered, so the start is fine; then the session has ended, with the reason."""
    reply = daemon.client.post_json("/start", {"command": fake_command("dielater", 1, 3), "message": "hello"})
    assert reply.status == 200
    shown = failing.ended(daemon, reply.json()["session_id"])
    assert shown["ending"]["reason"] == "exited"
    assert any("last words of dielater" in line for line in shown["ending"]["output"])
    told = wait_for("its message's fate", lambda: first_message_settled(daemon, shown["session_id"]))
    assert told == {"outcome": "undeliverable", "reason": "the session ended before its agent took it"}
    failing.assert_nothing_left(shown["session_id"])


@pytest.mark.parametrize("wait", ["none", "listening"])
def test_a_first_message_that_was_given_up_is_not_typed_after_a_restart(daemon: Daemon, wait: str) -> None:
    """However early its session ends, its fate is in the answer and is the record of the next life, which does not type it."""
    wish = {"command": fake_command("flood", 20, 0), "message": "hello"}
    session_id = daemon.client.post_json(f"/start?wait={wait}", wish).json()["session_id"]
    path = f"/sessions/{session_id}"
    with ThreadPoolExecutor(2) as pool:
        stopped = pool.submit(daemon.client.request, "POST", f"{path}/stop")
        restarted = pool.submit(daemon.client.request, "POST", f"{path}/restart")
        assert [stopped.result().status, restarted.result().status] == [200, 200]
    assert daemon.client.get(path).json()["incarnation"] == 2
    for reply in (stopped.result(), restarted.result(), daemon.client.get(path)):
        assert reply.json()["first_message"]["outcome"] == "undeliverable"
    [delivery] = daemon.client.get(f"{path}/deliveries").json()["deliveries"]
    assert delivery["state"] == "expired"
    assert delivery["reason"] == daemon.client.get(path).json()["first_message"]["reason"]
    assert daemon.delete(session_id).status == 200


def first_message_settled(daemon: Daemon, session_id: str) -> Any:
    """Return what became of the message of a session's start, None while that is not known."""
    told = daemon.client.get(f"/sessions/{session_id}").json()["first_message"]
    return told if told["outcome"] != "waiting" else None


def test_an_agent_that_never_prints(daemon: Daemon) -> None:
    """An agent that never shows its prompt is not ready; its session lives on and is named."""
    reply = daemon.client.post_json("/start?wait=stable", {"agent": "silent"})
    body = reply.json()
    assert (reply.status, body["code"]) == (503, "agent_not_ready")
    shown = daemon.client.get(f"/sessions/{body['session_id']}").json()
    assert (shown["phase"], shown["status"]) == ("ready", "active")
    documented(daemon, "never-prints", reply)
    assert daemon.delete(body["session_id"]).status == 200
    failing.assert_nothing_left(body["session_id"])


def test_a_port_that_a_stranger_takes_meanwhile(daemon: Daemon) -> None:
    """A stranger who begins to listen between lease and start makes the start fail; nobody is routed to the stranger."""
    reply = fail(daemon, script="stranger")
    assert reply.json()["step"] in ("listen", "answer")
    assert (reply.status, reply.json()["code"], reply.json()["exit_status"]) == (500, "start_failed", 1)
    assert any("address already in use" in line.lower() for line in reply.json()["output"])
    documented(daemon, "port-taken", reply, ('"step": "listen"', '"step": "answer"'))


def test_a_clone_that_fails(daemon: Daemon) -> None:
    """The answer has git's exit status and what it said."""
    missing = daemon.log.parent / "repositories" / "missing.git"
    reply = fail(daemon, params={"repo_full_name": f"file://{missing}"})
    assert kinds(reply) == (500, "start_failed", "clone")
    assert reply.json()["exit_status"] == 128
    assert "could not be recorded" not in daemon.log.read_text()
    documented(daemon, "clone-fails", reply)


def test_a_clone_that_is_refused(daemon: Daemon) -> None:
    """What the request may not ask for is the request's fault: 400, with its path, and no session is made."""
    before = sessions_of(daemon)
    reply = daemon.client.post_json("/start", {"tags": {"repository": "file:///etc"}})
    assert (reply.status, reply.json()["code"]) == (400, "invalid_request")
    assert reply.json()["details"].startswith("$.tags.repository: ")
    assert sessions_of(daemon) == before
    documented(daemon, "clone-refused", reply)


def test_a_link_that_leads_out_of_the_root(daemon: Daemon) -> None:
    """A link below the root is followed before anything is cloned: what it leads to is refused."""
    link = daemon.log.parent / "repositories" / "link"
    link.symlink_to("/etc")
    reply = fail(daemon, tags={"repository": f"file://{link}"})
    assert kinds(reply) == (400, "invalid_request", "clone")


def sessions_of(daemon: Daemon) -> list[str]:
    """Return the ids of all sessions that are listed."""
    return [row["session_id"] for row in daemon.client.get("/search?limit=1000").json()["sessions"]]


@contextlib.contextmanager
def mounted(place: Path, options: str) -> Iterator[None]:
    """Mount a small file system; skip the test where that is not allowed."""
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    if shutil.which("mount") is None or (done := subprocess.run(command, capture_output=True, text=True)).returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {done.stderr.strip() if shutil.which('mount') else 'no mount'}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_directory_that_cannot_be_written(daemon: Daemon) -> None:
    """A read-only file system is the server's lack: 503."""
    sessions = daemon.log.parent / "data" / "sessions"
    sessions.mkdir(exist_ok=True)
    with mounted(sessions, "ro,size=64k"):
        reply = fail(daemon)
    assert kinds(reply) == (503, "start_unavailable", "directory")
    assert "Read-only file system" in reply.json()["details"]
    documented(daemon, "not-writable", reply)


def test_a_full_disk(daemon: Daemon) -> None:
    """A full disk is told as what it is: 503."""
    sessions = daemon.log.parent / "data" / "sessions"
    sessions.mkdir(exist_ok=True)
    with mounted(sessions, "size=64k"):
        with contextlib.suppress(OSError), (sessions / "filler").open("wb", buffering=0) as filler:
            while filler.write(b"\0" * 4096):
                pass
        reply = fail(daemon)
    assert kinds(reply) == (503, "start_unavailable", "directory")
    assert "No space left on device" in reply.json()["details"]
    documented(daemon, "disk-full", reply)


def test_more_starts_than_may_wait(daemon: Daemon) -> None:
    """The second start waits with its place shown, the third is refused and leaves no session; then all goes on."""
    first = daemon.client.post_json("/start?wait=none", {"script": "held"}).json()["session_id"]
    queued = daemon.client.post_json("/start?wait=none", {}).json()["session"]
    assert (queued["phase"], queued["queue_position"]) == ("queued", 1)
    before = sessions_of(daemon)
    reply = daemon.client.post_json("/start", {})
    assert kinds(reply) == (429, "too_many_starts", "queue")
    assert int(reply.headers["Retry-After"]) >= 1
    assert sessions_of(daemon) == before
    documented(daemon, "queue-full", reply)
    (daemon.log.parent / "go").touch()
    for session_id in (first, queued["session_id"]):
        ready(daemon, session_id)
        assert daemon.delete(session_id).status == 200
        failing.assert_nothing_left(session_id)


def ready(daemon: Daemon, session_id: str) -> None:
    """Wait until a session is ready."""
    wait_for(
        "the session is ready", lambda: daemon.client.get(f"/sessions/{session_id}").json()["phase"] == "ready", 60
    )


def test_a_client_that_hangs_up_does_not_stop_the_start(daemon: Daemon) -> None:
    """The start goes on: the session becomes ready and is there to be used or deleted."""
    with socket.create_connection(("127.0.0.1", daemon.client.port)) as caller:
        body = b'{"tags": {"caller": "gone"}}'
        caller.sendall(b"POST /start HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    def found() -> list[dict[str, Any]]:
        sessions: list[dict[str, Any]] = daemon.client.get("/search?tag.caller=gone").json()["sessions"]
        return sessions

    [session] = wait_for("the session is there", found)
    ready(daemon, session["session_id"])
    assert daemon.delete(session["session_id"]).status == 200


def test_an_agent_server_that_never_listens(hasty: Daemon) -> None:
    """The deadline is named, and the last lines are there."""
    reply = fail(hasty, script="never")
    assert kinds(reply) == (500, "start_failed", "listen")
    assert reply.json()["details"] == "it did not listen within 2 s"
    assert reply.json()["output"] == ["starting, and starting"]
    documented(hasty, "never-listens", reply)


def test_no_port_is_free(hasty: Daemon) -> None:
    """When strangers hold every port the answer is 503 and names the range."""
    with socket.create_server(("127.0.0.1", hasty.agent_port)):
        reply = fail(hasty)
    assert kinds(reply) == (503, "start_unavailable", "port")
    documented(hasty, "no-port", reply)
