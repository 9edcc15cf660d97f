"""What the store's tests keep in it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from twisted.internet import reactor

from agentproxy.model.event import NewEvent
from agentproxy.model.session import Incarnation, Phase, Session
from agentproxy.store import Sealer, Store

NOW = datetime(2026, 3, 4, 5, 6, 7, 891011, tzinfo=UTC)


def a_session(session_id: str = "one", age: float = 0, **fields: Any) -> Session:
    """Return a session that was made *age* seconds before NOW."""
    made = NOW - timedelta(seconds=age)
    given = {"owner": "ann", "agent": "demo", "phase": Phase.READY, **fields}
    return Session(id=session_id, created_at=made, updated_at=made, **given)


def an_incarnation(session_id: str = "one", number: int = 1, **fields: Any) -> Incarnation:
    """Return one life of an agent server."""
    given = {"argv": ("demo", "--x"), "door": "open sesame", **fields}
    return Incarnation(
        session_id=session_id,
        number=number,
        agent_server="embedded",
        directory="/nowhere",
        port=9000,
        marker="mark",
        boot_id="boot",
        created_at=NOW,
        **given,
    )


def an_event(session_id: str = "one", kind: str = "session.ready", **data: Any) -> NewEvent:
    """Return something that happened."""
    return NewEvent(session_id, kind, NOW, data)


def a_store(directory: Path, **options: Any) -> Store:
    """Return the store of *directory*, not open."""
    return Store(reactor, None, directory, secrets=Sealer.from_directory(directory), **options)
