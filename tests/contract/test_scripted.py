"""Whole conversations by script, as agentapi's own end-to-end tests hold them: started the same way, ended by SIGINT."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.contract.conftest import Run
from tests.fakes import fake_command

HELLO = {"responseMessage": "Hello! I am ready. Send me a message to echo back."}
BASIC = [HELLO, {"expectMessage": "This is a test message.", "responseMessage": "Echo: This is a test message."}]
THINKING = [
    HELLO,
    {"expectMessage": "What is 2 + 2?", "thinkDurationMS": 1500, "responseMessage": "The answer is 4."},
    {"expectMessage": "And 3 + 3?", "thinkDurationMS": 300, "responseMessage": "That is 6,\nwhich is two times three."},
    {"expectMessage": "Thank you", "responseMessage": "You are welcome."},
]


def wanted(script: list[dict[str, object]]) -> list[tuple[str, object]]:
    """Return the messages that a script makes, as (role, content)."""
    named = (("user", "expectMessage"), ("agent", "responseMessage"))
    return [(role, entry[name]) for entry in script for role, name in named if name in entry]


@pytest.mark.parametrize("script", [BASIC, THINKING], ids=["basic", "thinking"])
def test_a_written_conversation(run: Run, tmp_path: Path, script: list[dict[str, object]]) -> None:
    """Every message of the script is in the history, in its order and with its words; an interrupt ends both programs with 0."""
    path = tmp_path / "script.json"
    path.write_text(json.dumps(script))
    with run(fake_command("scripted", path), height=None) as server:
        server.wait_stable()
        for entry in script[1:]:
            with server.client.events() as events:
                events.until_stable()
                assert server.client.send(str(entry["expectMessage"])).status == 200
                events.until_message(str(entry["responseMessage"]).splitlines()[-1])
                events.until_stable()
        assert [(row["role"], row["content"]) for row in server.client.messages()] == wanted(script)
        server.signal(signal.SIGINT)
        assert server.wait(10) == 0
        assert [row["code"] for row in server.log.events("ended")] == [0]


def test_the_first_message_from_standard_input(run: Run, tmp_path: Path) -> None:
    """What is piped into the server is said first."""
    path = tmp_path / "script.json"
    path.write_text(json.dumps(BASIC))
    with run(fake_command("scripted", path), height=None, stdin=b"This is a test message.\n") as server:
        with server.client.events() as events:
            events.until_message("Echo: This is a test message.")
            events.until_stable()
        assert [(row["role"], row["content"]) for row in server.client.messages()] == wanted(BASIC)
        server.signal(signal.SIGINT)
        assert server.wait(10) == 0
