"""The journal of a whole daemon: what a reader with a cursor gets over a conversation, a crash and an end."""

from __future__ import annotations

import base64
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentproxy.model.event import fault
from tests.daemon import Daemon
from tests.waiting import wait_for


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon with the demo agent; ended afterwards."""
    running = Daemon(tmp_path)
    yield running
    running.stop()


def journal(daemon: Daemon, session_id: str, query: str = "") -> list[dict[str, Any]]:
    """Return the events of a session."""
    events: list[dict[str, Any]] = daemon.client.get(f"/sessions/{session_id}/events?limit=1000{query}").json()[
        "events"
    ]
    return events


def test_what_was_said_is_in_the_journal_once_over_a_crash(daemon: Daemon, tmp_path: Path) -> None:
    """A cursor goes on over `kill -9`; each message is told once, with its text; every event has the fields of its type."""
    session_id = daemon.start(agent="demo", message="hello")
    wait_for(
        "the answer", lambda: [one for one in journal(daemon, session_id) if "You said: hello" in str(one["data"])]
    )
    before = journal(daemon, session_id)
    assert [wrong for one in before if (wrong := fault(one["type"], one["data"]))] == []
    daemon.process.kill()
    daemon.process.wait(30)
    again = Daemon(tmp_path)
    try:
        wait_for("the adoption", lambda: journal(again, session_id, "&types=session.adopted"))
        again.client.request("POST", f"/sessions/{session_id}/stop")
        after = journal(again, session_id)
        assert after[: len(before)] == before
        assert journal(again, session_id, f"&after={before[-1]['id']}") == after[len(before) :]
        texts = [one["data"]["content"] for one in after if one["type"] == "message" and one["data"]["role"] == "user"]
        assert texts == ["hello"]
        assert "session.ended" in [one["type"] for one in after[len(before) :]]
        said = again.client.get(f"/sessions/{session_id}/messages").json()["messages"]
        assert [one["content"] for one in said if one["role"] == "user"] == ["hello"]
    finally:
        again.stop()


def test_a_stream_and_a_websocket_through_the_front(daemon: Daemon) -> None:
    """Our own streams pass the same front as the sessions': both tell the same journal, and the end of the server ends them."""
    session_id = daemon.start(agent="demo")
    with daemon.client.events(f"/sessions/{session_id}/events", Accept="text/event-stream") as events:
        events.until(lambda one: one.name == "session.ready")
    key = base64.b64encode(os.urandom(16)).decode()
    with socket.create_connection((daemon.client.host, daemon.client.port), 30) as connection:
        connection.sendall(
            f"GET /events?types=session.queued HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        data = b""
        while b'"session.queued"' not in data:
            more = connection.recv(65536)
            assert more, data
            data += more
        assert data.startswith(b"HTTP/1.1 101 ")
        daemon.stop()
        while b"shutting down" not in data:
            more = connection.recv(65536)
            assert more, data
            data += more


def test_a_session_goes_on_with_another_ones_conversation(daemon: Daemon) -> None:
    """The new session is told the old transcript before its message; one that is not there is refused."""
    old = daemon.start(agent="demo", message="my cat is called Otto")
    wait_for("the message", lambda: "Otto" in daemon.client.get(f"/sessions/{old}/messages").body.decode())
    daemon.client.request("POST", f"/sessions/{old}/stop")
    new = daemon.start(continue_from=old, message="what is it called?")
    said = wait_for("the first message", lambda: [
        one for one in daemon.client.get(f"/sessions/{new}/messages").json()["messages"] if one["role"] == "user"
    ])  # fmt: skip
    assert "my cat is called Otto" in said[0]["content"]
    assert said[0]["content"].rstrip().endswith("what is it called?")
    assert daemon.client.get(f"/sessions/{new}").json()["continued_from"] == old
    assert daemon.client.post_json("/start", {"continue_from": "nobody"}).status == 404
