"""The journal and the transcripts: the statements of their named transactions. Blocking; run in the store's threads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from agentproxy.model.event import Event, NewEvent
from agentproxy.model.message import Message
from agentproxy.store.rows import event_of, message_of, message_row, micros, to_json
from agentproxy.store.schema import EVENT_COUNTER, counters, events, messages


@dataclass(frozen=True, slots=True)
class Entry:
    """An event whose row is ready but for its number: whatever could be wrong with it has been found."""

    event: NewEvent
    row: dict[str, Any]


def entry(event: NewEvent) -> Entry:
    """Return the entry of *event*.

    :raises TypeError, ValueError: its data is not JSON, its time knows no zone, or a name is not text.
    """
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
    taken = update(counters).where(counters.c.name == EVENT_COUNTER).values(value=counters.c.value + len(entries))
    last: int = connection.execute(taken.returning(counters.c.value)).scalar_one()
    first = last - len(entries) + 1
    connection.execute(insert(events), [{"number": n, **one.row} for n, one in enumerate(entries, first)])
    return [
        Event(n, one.event.session_id, one.event.kind, one.event.time, one.event.data)
        for n, one in enumerate(entries, first)
    ]


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


def last_number(connection: Connection, session_id: str | None) -> int:
    """Return the number of the last event of a session, or of the whole server; 0 when there is none."""
    if session_id is None:
        return int(connection.execute(select(counters.c.value).filter_by(name=EVENT_COUNTER)).scalar_one())
    newest = select(func.max(events.c.number)).where(events.c.session_id == session_id)
    return connection.execute(newest).scalar_one() or 0


def put_messages(connection: Connection, session_id: str, revisions: Sequence[Message]) -> None:
    """Keep *revisions*, each in place of the one with its id; of two with one id the last one counts."""
    latest = {message.id: message_row(session_id, message) for message in revisions}
    if not latest:
        return
    of_session = messages.c.session_id == session_id
    for number in latest:
        connection.execute(delete(messages).where(of_session, messages.c.id == number))
    connection.execute(insert(messages), list(latest.values()))


def read_messages(connection: Connection, session_id: str, after: int, limit: int) -> list[Message]:
    """Return the messages with ids above *after*, oldest first."""
    wanted = select(messages).where(messages.c.session_id == session_id, messages.c.id > after)
    return [message_of(row) for row in connection.execute(wanted.order_by(messages.c.id).limit(limit))]
