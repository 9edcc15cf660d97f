"""Where the embedded agent server is meant to differ from agentapi: each is a row of ``docs/embedded.md``, and a test shows it."""

from __future__ import annotations

import json
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from agentproxy.embedded.session import Session
from agentproxy.embedded.telling import TOLD_A_SECOND
from tests.agent_servers import AgentServer, run_agent_server
from tests.fakes import fake_command
from tests.waiting import wait_for

TESTS = Path(__file__).parent.parent
DOCS = TESTS.parent / "docs" / "embedded.md"

SHOWN_BY = {
    "rows of messages": "embedded/test_differences.py::test_rows_are_not_padded",
    "wide characters": "embedded/test_differences.py::test_wide_characters_have_two_cells",
    "`TERM`": "embedded/test_differences.py::test_the_terminal_is_named",
    "reads and raw keys": "embedded/test_defects.py::test_reads_and_raw_keys_never_wait_for_a_send",
    "a program without echo": "embedded/test_server.py::test_an_agent_without_echo_can_be_spoken_to",
    "a `user` message": "embedded/test_defects.py::test_what_is_typed_is_the_message_and_nothing_else",
    "a program that reads lines": "embedded/test_defects.py::test_the_first_words_of_the_next_prompt_are_no_message",
    "control characters in a `user` message": "embedded/test_robust.py::test_control_characters_are_no_message",
    "Enter": "embedded/test_defects.py::test_reads_and_raw_keys_never_wait_for_a_send",
    "identical replies": "embedded/test_differences.py::test_equal_replies_are_two_messages",
    "long replies": "embedded/test_server.py::test_a_reply_longer_than_the_screen_is_whole",
    "a screen that is wiped clean": "embedded/test_differences.py::test_a_wiped_screen_takes_nothing_back",
    "numbered choices, `>` inside a reply": "embedded/test_screens.py::test_saved_screens",
    "rows that only tell the state": "embedded/test_screens.py::test_saved_screens",
    "signs of work": "embedded/test_defects.py::test_silent_work_of_children_is_not_stable",
    "`GET /status`, `status_change`": "embedded/test_defects.py::test_stable_without_a_prompt_says_so",
    "refused messages": "embedded/test_defects.py::test_nothing_stays_half_typed",
    "keys at `/terminal`": "embedded/test_beyond.py::test_keys_at_the_terminal_are_told_and_come_between_no_message",
    "the end of an agent": "embedded/test_defects.py::test_readers_hear_the_end",
    "stop": "embedded/test_defects.py::test_grandchildren_end_with_the_server",
    "event streams": "embedded/test_stream.py::test_a_stalled_reader_is_cut_off_and_a_silent_stream_kept_alive",
    "long growing messages": "embedded/test_differences.py::test_a_long_message_is_told_less_often",
    "a body that stops coming": "embedded/test_robust.py::test_a_body_that_is_far_too_large",
    "a request with a length and in chunks": "embedded/test_robust.py::test_two_lengths_are_none",
    "header fields": "embedded/test_robust.py::test_malformed_requests",
    "file names of uploads that cannot be used": "embedded/test_differences.py::test_names_that_no_file_can_have",
    "binding": "embedded/test_differences.py::test_a_taken_port_starts_no_agent",
    "`/docs`": "embedded/test_beyond.py::test_documents",
    "ACP: turns": "embedded/test_acp_server.py::test_a_turn_is_whole_and_in_order",
    "ACP: tool calls": "embedded/test_acp.py::test_a_tool_call_that_is_announced_again_stands_once",
    "ACP: leave": "embedded/test_acp_server.py::test_leave_is_asked_for_and_given",
    "ACP: raw keys": "embedded/test_acp_server.py::test_what_needs_a_terminal_is_refused",
    "ACP: the end": "embedded/test_acp_server.py::test_a_signal_ends_the_agent_too",
}


def test_every_difference_is_written_down_and_shown() -> None:
    """The table of the docs and the tests here name the same differences, and each test is there."""
    table = DOCS.read_text().partition("## Intended differences")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+?) \|", table, re.MULTILINE)[1:]
    assert rows == list(SHOWN_BY)
    for place in SHOWN_BY.values():
        path, _colons, name = place.partition("::")
        assert f"def {name}(" in (TESTS / path).read_text(), place


def test_the_judge_is_blind() -> None:
    """No test of the contract can tell which program it drives."""
    for path in (TESTS / "contract").glob("test_*.py"):
        assert not re.search(
            r"\.kind\b|KINDS|[\"']embedded[\"']|[\"']agentapi[\"']|program_argv|skipif", path.read_text()
        ), path


@pytest.fixture(scope="module")
def embedded() -> Iterator[AgentServer]:
    """One embedded agent server around a fake that always answers the same."""
    with run_agent_server("embedded", fake_command("fixed")) as server:
        server.wait_stable()
        yield server


def test_rows_are_not_padded(embedded: AgentServer) -> None:
    """Rows end where their text ends."""
    (row, *_rest) = embedded.client.get("/messages").json()["messages"]
    assert row["content"] == "hello from the fake"


def test_equal_replies_are_two_messages(embedded: AgentServer) -> None:
    """An agent that says the same twice has said two things, and goes on taking messages."""
    for text in ("first", "second"):
        with embedded.client.events() as events:
            events.until_stable()
            assert embedded.client.send(text).status == 200
            events.until_message(text, role="user")
            events.until_stable()
    rows = [(row["role"], row["content"]) for row in embedded.client.messages()]
    assert rows[1:] == [("user", "first"), ("agent", "DONE"), ("user", "second"), ("agent", "DONE")]


def test_wide_characters_have_two_cells() -> None:
    """The cursor stands behind four cells after two wide characters, and nothing of the text is lost."""
    script = "import time; print('日本 ⚠️ after', end='', flush=True); time.sleep(600)"
    with run_agent_server("embedded", [sys.executable, "-c", script]) as server:
        server.wait_stable()
        screen = server.client.get("/screen").json()
        assert screen["text"] == "日本 ⚠️ after"
        assert screen["cursor"]["column"] >= len("日本 ⚠ after") + 2


def test_the_terminal_is_named(tmp_path: Path) -> None:
    """The agent is told what terminal it has, and no size but the real one."""
    told = tmp_path / "told"
    env = {"TERM": "dumb", "COLUMNS": "7", "LINES": "7"}
    with run_agent_server("embedded", fake_command("env", told), env=env) as server:
        server.wait_stable()
    environment = json.loads(told.read_text())["environment"]
    assert environment["TERM"] == "xterm-256color"
    assert not {"COLUMNS", "LINES"} & set(environment)


WIPES = """
import sys, time, tty
tty.setraw(0)
print("hello\\r\\n> ", end="", flush=True)
sys.stdin.read(1)
print("\\r\\nthe answer\\r\\n> ", end="", flush=True)
sys.stdin.read(1)
print("\\x1b[2J\\x1b[H", end="", flush=True)
time.sleep(600)
"""


def test_a_wiped_screen_takes_nothing_back() -> None:
    """What an agent has said stays said when it clears its screen."""
    with run_agent_server("embedded", [sys.executable, "-uc", WIPES]) as server:
        server.wait_stable()
        for wanted in ("the answer", ""):
            assert server.client.send("k", "raw").status == 200
            with server.client.events("/internal/screen") as events:
                events.until(
                    lambda event, text=wanted: text in event.data["screen"] and (text or not event.data["screen"])
                )
        assert "the answer" in server.client.messages()[-1]["content"]


def test_a_long_message_is_told_less_often() -> None:
    """A million characters a second are told of a message that grows, and its end is told whole."""
    clock = Clock()
    session = Session(clock, "custom", 80, 50)
    told: list[str] = []
    session.listeners.add(lambda name, data: told.append(data["message"]) if name == "message_update" else None)
    for number in range(400):
        session.drawn("".join(f"{number} {row} {'x' * 60}\r\n" for row in range(20)).encode())
        clock.pump([0.025] * 2)
    assert sum(map(len, told[:-1])) < TOLD_A_SECOND * clock.seconds()
    assert len(told) < 400
    clock.pump([0.5] * 10)
    assert told[-1].split("\n")[-1].startswith("399 19")
    session.stop()


@pytest.mark.parametrize("name", ["", ".", "..", "/", "a" * 256])
def test_names_that_no_file_can_have(embedded: AgentServer, name: str) -> None:
    """A name that no file can have is 422, and nothing is written."""
    part = f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\nx\r\n--b--\r\n'
    reply = embedded.client.request("POST", "/upload", part, {"Content-Type": "multipart/form-data; boundary=b"})
    assert (reply.status, reply.json()["errors"][0]["location"]) == (422, "file")
    assert not list((embedded.directory / "tmp").rglob("*/*"))


def test_a_taken_port_starts_no_agent(embedded: AgentServer) -> None:
    """The address is bound first, and it is 127.0.0.1 only."""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", embedded.port), 5)
    with run_agent_server("embedded", fake_command("mute"), port=embedded.port, answering=False) as second:
        assert second.wait() == 1
        wait_for("the end of all", lambda: not second.processes())
        assert not second.log.events("started")
