"""Talking with an agent past the queue, and what the server has kept of it."""

from __future__ import annotations

from tests.daemon import Daemon


def talk(daemon: Daemon, session_id: str, text: str) -> None:
    """Say something to the agent and wait for its answer on its own stream."""
    with daemon.client.events(f"/{session_id}/events") as events:
        events.until_stable()
        said = daemon.client.post_json(f"/{session_id}/message", {"content": text, "type": "user"})
        assert said.status == 200, said.body
        events.until_message(f"You said: {text}")


def said(daemon: Daemon, session_id: str) -> list[str]:
    """Return what the user said in a session, as the server has kept it."""
    rows = daemon.client.get(f"/sessions/{session_id}/messages?limit=1000").json()["messages"]
    return [row["content"].strip() for row in rows if row["role"] == "user"]
