"""Which ended sessions are old: the statement of one transaction. Blocking; run in the store's threads."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, select

from agentproxy.model.session import Phase, Session
from agentproxy.store.rows import micros, session_of
from agentproxy.store.schema import sessions
from agentproxy.store.sealing import Sealer


def ended_before(connection: Connection, cut: datetime, limit: int, sealer: Sealer) -> list[Session]:
    """Return listed sessions that have ended and were not changed since *cut*, oldest first."""
    wanted = select(sessions).where(
        sessions.c.deleted_at.is_(None)
        & (sessions.c.phase == Phase.ENDED.value)
        & (sessions.c.updated_at < micros(cut))
    )
    wanted = wanted.order_by(sessions.c.updated_at).limit(limit)
    return [session_of(row, sealer) for row in connection.execute(wanted)]
