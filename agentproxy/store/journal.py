"""The journal: the statements of its named transactions. Blocking; run in the store's threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, func, insert, select, update
from twisted.logger import Logger

from agentproxy.model.event import KINDS, Event, NewEvent
from agentproxy.store.rows import event_of, micros, to_json
from agentproxy.store.schema import EVENT_COUNTER, counters, events, removed_events

log = Logger()
ROW_BYTES = 50
"""What the numbers of an event take beside its texts, about; a size of the journal is counted with it."""
_TAKE = (
    update(counters)
    .where(counters.c.name == EVENT_COUNTER)
    .values({"value": counters.c.value + bindparam("count"), "bytes": counters.c.bytes + bindparam("size")})
    .returning(counters.c.value)
)
"""Takes *count* numbers and returns the last of them."""
strict = False
"""Whether an event of a kind that ``model/event.py`` does not name is refused, as in the tests, or logged and kept."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An event whose row is ready but for its number: whatever could be wrong with it has been found."""

    event: NewEvent
    row: dict[str, Any]


def entry(event: NewEvent) -> Entry:
    """Return the entry of *event*.

    :raises TypeError, ValueError: its data is not JSON, its time knows no zone, or a name is not text; where the
        store is ``strict``, also that its kind is not in the table.
    """
    if event.kind not in KINDS:
        if strict:
            raise ValueError(f"{event.kind!r} is no row of agentproxy/model/event.py: add it there")
        log.error("An event has the unknown kind {kind}", kind=event.kind)
    for name in (event.session_id, event.kind):
        name.encode()
    row = {
        "session_id": event.session_id,
        "kind": event.kind,
        "time": micros(event.time),
        "data": to_json(dict(event.data)),
    }
    return Entry(event, row)


def append(connection: Connection, entries: Sequence[Entry]) -> list[Event]:
    """Number and insert *entries*.

    The counter's row stays locked until the commit, so that numbers become visible in their order.
    """
    if not entries:
        return []
    added = {"count": len(entries), "size": sum(_size(one.row) for one in entries)}
    last: int = connection.execute(_TAKE, added).scalar_one()
    first = last - len(entries) + 1
    connection.execute(insert(events), [{"number": n, **one.row} for n, one in enumerate(entries, first)])
    return [
        Event(n, one.event.session_id, one.event.kind, one.event.time, one.event.data)
        for n, one in enumerate(entries, first)
    ]


def _size(row: dict[str, Any]) -> int:
    return len(row["session_id"]) + len(row["kind"]) + len(row["data"]) + ROW_BYTES


def stored_size() -> ColumnElement[int]:
    """Return the expression for the size of an event that is in the table, as :func:`append` counts it."""
    texts = (events.c.session_id, events.c.kind, events.c.data)
    return sum((func.length(one) for one in texts), start=func.length("")) + ROW_BYTES


def read(
    connection: Connection, session_id: str | None, after: int, limit: int, kinds: Sequence[str] = ()
) -> list[Event]:
    """Return the events with numbers above *after*, oldest first."""
    wanted = select(events).where(events.c.number > after).order_by(events.c.number).limit(limit)
    if session_id is not None:
        wanted = wanted.where(events.c.session_id == session_id)
    if kinds:
        wanted = wanted.where(events.c.kind.in_(kinds))
    return [event_of(row) for row in connection.execute(wanted)]


@dataclass(frozen=True, slots=True)
class Read:
    """A page of the journal, and where it stands.

    :param upto: everything up to this number that was wanted is in ``events``.
    :param removed: the highest number that retention removed from what was read.
    """

    events: list[Event]
    upto: int
    removed: int


def read_on(connection: Connection, session_id: str | None, after: int, limit: int, kinds: Sequence[str] = ()) -> Read:
    """Return the next page for a reader with the cursor *after*.

    The order of the three looks counts: what is committed between them makes the answer careful, never wrong.
    """
    last = last_number(connection, None)
    found = read(connection, session_id, after, limit, kinds)
    upto = found[-1].number if len(found) == limit else max(last, after, found[-1].number if found else 0)
    return Read(found, upto, last_removed(connection, session_id))


def last_number(connection: Connection, session_id: str | None) -> int:
    """Return the number of the last event of a session, or of the whole server; 0 when there is none."""
    if session_id is None:
        return int(connection.execute(select(counters.c.value).filter_by(name=EVENT_COUNTER)).scalar_one())
    newest = select(func.max(events.c.number)).where(events.c.session_id == session_id)
    return connection.execute(newest).scalar_one() or 0


def last_removed(connection: Connection, session_id: str | None) -> int:
    """Return the highest number that retention removed from a session's journal, or from any; 0 when there is none."""
    wanted = select(removed_events.c.number).where(removed_events.c.session_id == (session_id or ""))
    return connection.execute(wanted).scalar_one_or_none() or 0
