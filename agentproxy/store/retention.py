"""Removing what is old, in small steps, so that no transaction is long. Blocking; run in the writer's thread.

Events leave from the front of the journal, oldest first; the highest number that went is kept for each session, so that
a reader whose cursor stands before it is told. A session leaves whole: its events in steps, then all its rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, insert, or_, select, update

from agentproxy.model.session import Phase
from agentproxy.store.journal import stored_size
from agentproxy.store.rows import micros
from agentproxy.store.schema import (
    EVENT_COUNTER,
    counters,
    events,
    metadata,
    removed_events,
    sessions,
)

STEP = 500
"""Events that one step removes at most."""
_AT_ONCE = 20
"""Sessions that one step removes at most."""
_KEPT = frozenset({"audit"})
"""Tables whose rows outlive the session that they name."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What may stay; None means no bound.

    :param events_before: events older than this go.
    :param journal_bytes: the oldest events go while the journal is larger.
    :param ended_before: sessions that ended before this go whole.
    :param deleted_before: the same for sessions that were deleted.
    """

    events_before: datetime | None = None
    journal_bytes: int | None = None
    ended_before: datetime | None = None
    deleted_before: datetime | None = None


@dataclass(frozen=True, slots=True)
class Removed:
    """What one step removed.

    :param sessions: the ids of those that are gone with everything.
    """

    events: int = 0
    sessions: tuple[str, ...] = ()

    @property
    def nothing(self) -> bool:
        """Return whether there was nothing left to remove."""
        return not self.events and not self.sessions


def step(connection: Connection, bounds: Bounds) -> Removed:
    """Remove a little of what is out of *bounds*; :attr:`Removed.nothing` says that nothing is."""
    removed = _sessions_step(connection, bounds)
    return removed if not removed.nothing else Removed(_events_step(connection, bounds))


def journal_size(connection: Connection) -> int:
    """Return the bytes of the journal's events, about."""
    return int(connection.execute(select(counters.c.bytes).filter_by(name=EVENT_COUNTER)).scalar_one())


def _events_step(connection: Connection, bounds: Bounds) -> int:
    if bounds.events_before is None and bounds.journal_bytes is None:
        return 0
    too_much = 0 if bounds.journal_bytes is None else journal_size(connection) - bounds.journal_bytes
    too_old = None if bounds.events_before is None else micros(bounds.events_before)
    oldest = select(events.c.number, events.c.session_id, events.c.time, stored_size().label("size"))
    rows: list[Row[Any]] = []
    for row in connection.execute(oldest.order_by(events.c.number).limit(STEP)).all():
        if too_much <= 0 and (too_old is None or row.time >= too_old):
            break
        too_much -= row.size
        rows.append(row)
    if rows:
        connection.execute(delete(events).where(events.c.number <= rows[-1].number))
        _count_off(connection, rows)
        _note(connection, [("", rows[-1].number), *((row.session_id, row.number) for row in rows)])
    return len(rows)


def _count_off(connection: Connection, rows: Iterable[Row[Any]]) -> None:
    size = sum(row.size for row in rows)
    here = counters.c.name == EVENT_COUNTER
    connection.execute(update(counters).where(here).values(bytes=counters.c.bytes - size))


def _note(connection: Connection, removed: Iterable[tuple[str, int]]) -> None:
    """Keep the highest removed number of each session."""
    highest = dict(removed)  # oldest first, so the last one of a session is its highest
    connection.execute(delete(removed_events).where(removed_events.c.session_id.in_(highest)))
    connection.execute(insert(removed_events), [{"session_id": one, "number": n} for one, n in highest.items()])


def _sessions_step(connection: Connection, bounds: Bounds) -> Removed:
    gone: list[str] = []
    removed = 0
    for session_id in _old_sessions(connection, bounds):
        removed += _events_of(connection, session_id, STEP - removed)
        if removed >= STEP:
            break
        _forget(connection, session_id)
        gone.append(session_id)
    return Removed(removed, tuple(gone))


def _events_of(connection: Connection, session_id: str, limit: int) -> int:
    """Remove at most *limit* events of a session and return how many went."""
    oldest = select(events.c.number, stored_size().label("size")).where(events.c.session_id == session_id)
    rows = connection.execute(oldest.order_by(events.c.number).limit(limit)).all()
    if rows:
        connection.execute(delete(events).where(events.c.number.in_([row.number for row in rows])))
        _count_off(connection, rows)
    return len(rows)


def _old_sessions(connection: Connection, bounds: Bounds) -> Sequence[str]:
    old = []
    if bounds.ended_before is not None:
        old.append(sessions.c.updated_at < micros(bounds.ended_before))
    if bounds.deleted_before is not None:
        old.append(and_(sessions.c.deleted_at.is_not(None), sessions.c.deleted_at < micros(bounds.deleted_before)))
    if not old:
        return ()
    wanted = select(sessions.c.id).where(sessions.c.phase == Phase.ENDED.value, or_(*old))
    return connection.execute(wanted.order_by(sessions.c.created_at).limit(_AT_ONCE)).scalars().all()


def _forget(connection: Connection, session_id: str) -> None:
    """Remove every row that belongs to a session, its own last."""
    for table in metadata.sorted_tables:
        if "session_id" in table.c and table.name not in _KEPT:
            connection.execute(delete(table).where(table.c.session_id == session_id))
    connection.execute(delete(sessions).where(sessions.c.id == session_id))
