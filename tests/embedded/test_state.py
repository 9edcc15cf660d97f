"""State files are agentapi's: what one program saves the other loads."""

from __future__ import annotations

import re
import signal
from itertools import permutations
from pathlib import Path

import pytest

from agentproxy.embedded.conversation import written
from tests.agent_servers import KINDS, run_agent_server
from tests.fakes import fake_command


@pytest.mark.parametrize(("first", "second"), list(permutations(KINDS, 2)))
def test_a_talk_goes_from_one_program_to_the_other(first: str, second: str, tmp_path: Path) -> None:
    """A conversation that one agent server saved is shown by the other, with the same times."""
    flag = f"--state-file={tmp_path / 'state.json'}"
    with run_agent_server(first, fake_command("tui"), flags=[flag]) as server:
        server.wait_stable()
        with server.client.events() as events:
            assert server.client.send("remember\nme").status == 200
            events.until_message("reply: remember")
        server.wait_stable()
        before = server.client.messages()
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
    assert [row["content"] for row in before] == ["hello from tui", "remember\nme", "reply: remember\nme"]
    with run_agent_server(second, fake_command("tui"), flags=[flag]) as server:
        with server.client.events() as events:
            events.until_message("reply: remember")
        assert server.client.messages() == before


@pytest.mark.parametrize(
    ("fraction", "shown"), [(0, ""), (500, ".0000005"), (530_476_000, ".530476"), (1, ".000000001")]
)
def test_times_have_the_digits_they_need(fraction: int, shown: str) -> None:
    """Times are written as agentapi writes them, which drops zeros at the end of a fraction."""
    zoned = re.compile(rf"2023-11-1\dT\d\d:\d\d:20{re.escape(shown)}(Z|[+-]\d\d:\d\d)")
    assert zoned.fullmatch(written(1_700_000_000_000_000_000 + fraction))


def test_a_state_that_cannot_be_read(tmp_path: Path) -> None:
    """A broken state file is told as a warning, and the agent can be used."""
    path = tmp_path / "state.json"
    path.write_text('{"version": 2}')
    with run_agent_server("embedded", fake_command("tui"), flags=[f"--state-file={path}"]) as server:
        with server.client.events() as events:
            event = events.until(lambda event: event.name == "agent_error")
        assert event.data["level"] == "warning"
        assert event.data["message"].startswith("Failed to restore previous session: unsupported state file version 2")
        server.wait_stable()
        assert server.client.send("hello").status == 200


def test_a_socket_that_was_left_behind(tmp_path: Path) -> None:
    """After a kill the same path can be used again; a server that lives there keeps it."""
    path = tmp_path / "agent"
    flags = [f"--unix-socket={path}"]
    with run_agent_server("embedded", fake_command("mute"), flags=flags, answering=False) as first:
        first.log.wait("the agent", lambda log: log.events("started"))
        with run_agent_server("embedded", fake_command("mute"), flags=flags, answering=False) as second:
            assert second.wait() == 1
            assert "failed to start server" in second.stderr()
        first.signal(signal.SIGKILL)
        first.wait()
    with run_agent_server("embedded", fake_command("mute"), flags=flags, answering=False) as third:
        third.log.wait("the agent", lambda log: log.events("started"))


def test_a_unix_socket_is_private(tmp_path: Path) -> None:
    """A server on a UNIX socket is its owner's alone."""
    path = tmp_path / "agent"
    flags = [f"--unix-socket={path}"]
    with run_agent_server("embedded", fake_command("tui"), flags=flags, answering=False) as server:
        server.log.wait("the agent", lambda log: log.events("started"))
        assert path.stat().st_mode & 0o777 == 0o600
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
