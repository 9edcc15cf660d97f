"""What the embedded agent server has beyond agentapi: health, interrupt, screen, terminal, recordings, documents."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.agent_servers import AgentServer, program_argv, run_agent_server
from tests.embedded.attached import Attached
from tests.fakes import fake_command
from tests.waiting import wait_for


@pytest.fixture(scope="module")
def server() -> Iterator[AgentServer]:
    """One embedded agent server around the well-behaved fake."""
    with run_agent_server("embedded", fake_command("tui")) as running:
        running.wait_stable()
        yield running


def test_health(server: AgentServer) -> None:
    """The server is healthy while its agent lives."""
    assert (server.client.get("/health").status, server.client.get("/health").json()["ok"]) == (200, True)


def test_the_screen_and_its_changes(server: AgentServer) -> None:
    """The screen is told whole first, then only the rows that change; keys that change nothing tell nothing."""
    screen = server.client.get("/screen").json()
    assert screen["text"].startswith("hello from tui")
    assert screen["size"] == {"width": 80, "height": 50}
    with server.client.events("/screen/stream") as events:
        first = events.until(lambda event: event.name == "rows")
        assert first.data["whole"] is True
        assert first.data["rows"]["0"] == "hello from tui"
        server.client.send("raw words", "raw")
        change = events.until(lambda event: not event.data["whole"] and "raw words" in str(event.data["rows"]))
        assert len(change.data["rows"]) == 1
        assert change.data["cursor"]["row"] == int(next(iter(change.data["rows"])))
    server.client.send("\x7f" * len("raw words"), "raw")


def test_keys_at_the_terminal_are_told_and_come_between_no_message(server: AgentServer) -> None:
    """Whoever watches learns that somebody types, not what; what a terminal answers by itself is no key."""
    reader = Attached(server.port)
    text = "y" * 300
    with server.client.events() as events, ThreadPoolExecutor(1) as pool:
        events.until(lambda event: event.name == "status_change" and event.data["status"] == "stable")
        sent = pool.submit(server.client.send, text)
        server.log.wait("it is being typed", lambda log: b"yyy" in log.typed())
        reader.press(b"z")
        told = events.until(lambda event: event.name == "keys_typed")
        assert list(told.data) == ["time"]
        assert sent.result().status == 200
    server.log.wait("the key", lambda log: log.typed().endswith(b"z"))
    assert server.log.entered()[-1] == text
    assert [event.name for event in events.seen].count("keys_typed") == 1
    reader.press(b"\x7f")
    reader.close()


def test_several_attach_to_one_terminal(server: AgentServer) -> None:
    """Each attached terminal begins with a clean screen, sees what the others type, and may leave at any time."""
    first, second = Attached(server.port), Attached(server.port)
    assert first.see(b"hello from tui").startswith(b"\x1bc")
    second.see(b"hello from tui")
    first.press(b"typed here")
    second.see(b"typed here")
    first.close()
    second.press(b"\x15\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f", code=1)
    server.log.wait("the keys", lambda log: b"typed here" in log.typed())
    third = Attached(server.port)
    third.see(b"hello from tui")
    for each in (second, third):
        each.close()


def test_no_page_of_a_stranger_attaches(server: AgentServer) -> None:
    """A browser that shows a foreign page gets no terminal."""
    assert Attached(server.port, "Origin: https://evil.example").status == 403
    assert Attached(server.port, "Origin: http://localhost:3284").status == 101
    assert server.client.get("/terminal").status == 426


SHOWS_SIZE = """
import os, signal, time
signal.signal(signal.SIGWINCH, lambda *_args: print(os.get_terminal_size(), flush=True))
print("ready")
while True:
    time.sleep(600)
"""


def test_the_terminal_can_be_resized() -> None:
    """The agent is told of the new size, the screen has it; nonsense changes nothing."""
    with run_agent_server("embedded", [sys.executable, "-uc", SHOWS_SIZE]) as server:
        server.wait_stable()
        bad = server.client.post_json("/resize", {"width": 5, "height": "x", "depth": 1})
        assert [error["location"] for error in bad.json()["errors"]] == ["body.width", "body.height", "body.depth"]
        with server.client.events("/internal/screen") as events:
            assert server.client.post_json("/resize", {"width": 100, "height": 30}).status == 200
            events.until(lambda event: "columns=100, lines=30" in event.data["screen"])
        assert server.client.get("/screen").json()["size"] == {"width": 100, "height": 30}


@pytest.mark.parametrize(
    ("kind", "keys"), [("claude", b"\x1b"), ("aider", b"\x03"), ("opencode", b"\x1b\x1b"), ("custom", b"\x03")]
)
def test_the_interrupt_is_the_agents_own(kind: str, keys: bytes) -> None:
    """Each type of agent is interrupted by the keys that it knows."""
    with run_agent_server("embedded", fake_command("mute"), agent_type=kind) as server:
        server.log.wait("the agent", lambda log: log.events("started"))
        assert server.client.request("POST", "/interrupt").status == 200
        server.log.wait("the keys", lambda log: log.typed() == keys)


def test_a_recording_plays(tmp_path: Path) -> None:
    """A recording is asciicast v2; a full file is put aside, and the next begins with a clean screen."""
    path = tmp_path / "talk.cast"
    flags = [f"--record={path}", "--record-size=65536", "--record-keep=1"]
    with run_agent_server("embedded", fake_command("burst", "1500"), flags=flags) as server:
        for number in range(4):
            server.wait_stable()
            assert server.client.send(f"go {number}").status == 200
        server.wait_stable()
        assert server.client.post_json("/resize", {"width": 90, "height": 40}).status == 200
        server.signal(signal.SIGTERM)
        server.wait()
    assert sorted(file.name for file in tmp_path.glob("talk*")) == ["talk.cast", "talk.cast.1"]
    for file in (path, path.with_name("talk.cast.1")):
        head, *events = [json.loads(line) for line in file.read_text().splitlines()]
        assert (head["version"], head["width"], head["height"]) == (2, 80, 50)
        assert all(len(event) == 3 and event[1] in "or" for event in events)
        assert [event[0] for event in events] == sorted(event[0] for event in events)
    assert events_of(path, "o")[0].startswith("\x1bc")
    assert events_of(path, "r")[-1] == "90x40"


def events_of(path: Path, kind: str) -> list[str]:
    """Return the data of the events of one kind in a recording."""
    return [row[2] for row in map(json.loads, path.read_text().splitlines()[1:]) if row[1] == kind]


def test_documents(server: AgentServer) -> None:
    """The description of the API is there in the forms that agentapi has, and names every route."""
    described = server.client.get("/openapi.json").json()
    assert {"/screen", "/screen/stream", "/terminal", "/resize", "/health", "/interrupt"} <= set(described["paths"])
    assert server.client.get("/openapi-3.0.json").json()["openapi"] == "3.0.3"
    for path in ("/openapi.yaml", "/openapi-3.0.yaml"):
        reply = server.client.get(path)
        assert reply.headers["Content-Type"] == "application/vnd.oai.openapi+yaml"
        assert b"\n  /status:\n" in reply.body
    page = server.client.get("/docs")
    assert page.media_type == "text/html"
    assert b"/screen/stream" in page.body


def test_version() -> None:
    """The version names the contract."""
    done = subprocess.run([*program_argv("embedded"), "--version"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, "agentapi 0.12.1" in done.stdout) == (0, True)


def test_attach(server: AgentServer) -> None:
    """``attach`` shows the agent in a terminal of one's own; its key leaves, the agent goes on."""
    master, slave = pty.openpty()
    argv = [*program_argv("embedded"), "attach", "-u", f"127.0.0.1:{server.port}", "--detach-key", "ctrl-]"]
    process = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=subprocess.PIPE, close_fds=True)
    os.close(slave)
    seen = b""
    while b"hello from tui" not in seen:
        seen += os.read(master, 65536)
    os.write(master, b"by attach")
    while b"by attach" not in seen:
        seen += os.read(master, 65536)
    os.write(master, b"\x1d")
    assert process.wait(60) == 0
    assert process.stderr is not None
    assert process.stderr.read() == b"detached\n"
    process.stderr.close()
    os.close(master)
    wait_for("the keys", lambda: b"by attach" in server.log.typed())
    assert server.client.get("/health").status == 200


def test_attach_where_nobody_listens() -> None:
    """Attaching to nothing fails with a sentence."""
    argv = [*program_argv("embedded"), "attach", "-u", "127.0.0.1:1"]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "nobody answers there" in done.stderr
