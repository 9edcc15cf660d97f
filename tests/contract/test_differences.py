"""Where the embedded agent server is meant to differ from agentapi: each difference is a row of ``docs/embedded.md``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.agent_servers import AgentServer, run_agent_server
from tests.contract.conftest import why_not
from tests.fakes import fake_command


@pytest.fixture(scope="module")
def embedded() -> Iterator[AgentServer]:
    """One embedded agent server around a fake that always answers the same."""
    reason = why_not("embedded")
    if reason is not None:
        pytest.skip(f"the embedded agent server cannot serve: {reason}")
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
