"""Transcripts: the statements of their named transactions. Blocking; run in the store's threads.

A message has two numbers: its ``place``, counted from 0 by each incarnation's agent server, and its ``id`` in the
transcript of the session, which goes on over restarts. What the journal says of a message is decided in the
transaction that keeps it, so that an agent server that repeats everything after a crash doubles nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from agentproxy.model.event import MESSAGE, MESSAGE_STARTED, NewEvent
from agentproxy.model.message import Message
from agentproxy.store.rows import message_of, message_row, micros, moment
from agentproxy.store.schema import messages

CONTENT_IN_EVENT = 16_384


def put(
    connection: Connection, session_id: str, incarnation: int, revisions: Sequence[Message], now: datetime
) -> list[NewEvent]:
    """Keep *revisions*, each in place of the one before, and return what the journal has to say of them.

    Of two with one id the last one counts; one that is known already changes nothing.
    """
    latest = {message.id: message for message in revisions}
    of_life = (messages.c.session_id == session_id, messages.c.incarnation == incarnation)
    rows = connection.execute(select(messages).where(*of_life, messages.c.place.in_(latest)))
    known = {row.place: row for row in rows}
    told: list[NewEvent] = []
    for place, message in latest.items():
        row = {**message_row(session_id, message), "changed_at": micros(now), "told": message.role == "user"}
        before = known.get(place)
        if before is None:
            del row["id"]
            told.append(_add(connection, {**row, "incarnation": incarnation, "place": place}, now))
        elif (before.role, before.content, before.final) != (row["role"], row["content"], row["final"]):
            told += _change(connection, before, row, now)
    return told


def _add(connection: Connection, row: dict[str, Any], now: datetime) -> NewEvent:
    row["id"] = row["place"] + _first_id(connection, row["session_id"], row["incarnation"])
    connection.execute(insert(messages), row)
    if row["told"]:
        return _message_event(row["session_id"], row["id"], row["role"], row["content"], now)
    return NewEvent(row["session_id"], MESSAGE_STARTED, now, {"id": row["id"], "role": row["role"]})


def _first_id(connection: Connection, session_id: str, incarnation: int) -> int:
    """Return the id in the transcript of what the agent server of *incarnation* calls 0."""
    of_session = messages.c.session_id == session_id
    of_life = (of_session, messages.c.incarnation == incarnation)
    first = connection.execute(select(func.min(messages.c.id - messages.c.place)).where(*of_life)).scalar_one()
    if first is not None:
        return int(first)
    last = connection.execute(select(func.max(messages.c.id)).where(of_session)).scalar_one()
    return 0 if last is None else last + 1


def _change(connection: Connection, before: Row[Any], row: dict[str, Any], now: datetime) -> list[NewEvent]:
    only_final = before.content == row["content"] and before.role == row["role"]
    if only_final:
        row["told"] = before.told
    row["id"] = before.id
    here = (messages.c.session_id == row["session_id"], messages.c.id == before.id)
    connection.execute(update(messages).where(*here), row)
    if only_final or not row["told"]:
        return []
    return [_message_event(row["session_id"], before.id, row["role"], row["content"], now)]


def settle(connection: Connection, session_id: str, incarnation: int, now: datetime) -> list[NewEvent]:
    """Return a ``message`` event for each text that the journal does not have yet; empty ones are left out."""
    untold = (
        messages.c.session_id == session_id,
        messages.c.incarnation == incarnation,
        messages.c.told.is_(False),
        messages.c.content != "",
    )
    rows = connection.execute(select(messages).where(*untold).order_by(messages.c.id)).all()
    if rows:
        connection.execute(update(messages).where(*untold).values(told=True))
    return [_message_event(session_id, row.id, row.role, row.content, now) for row in rows]


def _message_event(session_id: str, number: int, role: str, content: str, now: datetime) -> NewEvent:
    data: dict[str, Any] = {"id": number, "role": role, "content": content[:CONTENT_IN_EVENT]}
    if len(content) > CONTENT_IN_EVENT:
        data["truncated"] = True
    return NewEvent(session_id, MESSAGE, now, data)


def read(connection: Connection, session_id: str, after: int, limit: int, words: Sequence[str] = ()) -> list[Message]:
    """Return the messages with ids above *after* that hold every one of *words*, oldest first."""
    wanted = select(messages).where(messages.c.session_id == session_id, messages.c.id > after)
    for word in words:
        wanted = wanted.where(messages.c.content.icontains(word, autoescape=True))
    return [message_of(row) for row in connection.execute(wanted.order_by(messages.c.id).limit(limit))]


def read_of_life(connection: Connection, session_id: str, incarnation: int, after: int, limit: int) -> list[Message]:
    """Return the messages of one agent server with its own ids above *after*, oldest first."""
    of_life = (messages.c.session_id == session_id, messages.c.incarnation == incarnation, messages.c.place > after)
    rows = connection.execute(select(messages).where(*of_life).order_by(messages.c.place).limit(limit))
    return [replace(message_of(row), id=row.place) for row in rows]


def read_last(connection: Connection, session_id: str, limit: int) -> list[Message]:
    """Return the last *limit* messages, oldest first."""
    wanted = select(messages).where(messages.c.session_id == session_id).order_by(messages.c.id.desc()).limit(limit)
    return [message_of(row) for row in connection.execute(wanted)][::-1]


def last_change(connection: Connection, session_id: str) -> datetime | None:
    """Return when a message of the session was last new or revised, None when there is none."""
    newest = select(func.max(messages.c.changed_at)).where(messages.c.session_id == session_id)
    value = connection.execute(newest).scalar_one()
    return None if value is None else moment(value)
