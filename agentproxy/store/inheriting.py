"""What was told of the lives that are open: read at once for all of them when a server takes over. Blocking."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, select, tuple_

from agentproxy.model.event import Event
from agentproxy.model.message import Message
from agentproxy.store.rows import event_of, message_of
from agentproxy.store.schema import events, incarnations, messages

Life = tuple[str, int]
"""Session id and number of an incarnation."""
PAGE = 1000
_PLACE = (messages.c.session_id, messages.c.incarnation, messages.c.place)


@dataclass(frozen=True, slots=True)
class Told:
    """What the journal has of one life.

    :param messages: by the ids that its agent server gave them.
    :param errors: those that its agent server told.
    """

    messages: dict[int, Message] = field(default_factory=dict)
    errors: list[Event] = field(default_factory=list)


def read_told(connection: Connection) -> dict[Life, Told]:
    """Return what the journal has of each life that is open."""
    found: dict[Life, Told] = {}
    for row in _messages(connection):
        message = replace(message_of(row), id=row.place)
        found.setdefault((row.session_id, row.incarnation), Told()).messages[row.place] = message
    for row in _errors(connection):
        found.setdefault((row.session_id, row.life), Told()).errors.append(event_of(row))
    return found


def _messages(connection: Connection) -> Iterator[Row[Any]]:
    is_its = (messages.c.session_id == incarnations.c.session_id) & (messages.c.incarnation == incarnations.c.number)
    wanted = select(messages).join(incarnations, is_its).where(incarnations.c.ended_at.is_(None)).order_by(*_PLACE)
    return _pages(connection, wanted)


def _pages(connection: Connection, wanted: Select[Any]) -> Iterator[Row[Any]]:
    page = connection.execute(wanted.limit(PAGE)).all()
    while page:
        yield from page
        last = page[-1]
        behind: ColumnElement[bool] = tuple_(*_PLACE) > tuple_(last.session_id, last.incarnation, last.place)
        page = connection.execute(wanted.where(behind).limit(PAGE)).all()


def _errors(connection: Connection) -> Iterator[Row[Any]]:
    is_its = (events.c.session_id == incarnations.c.session_id) & (events.c.time >= incarnations.c.created_at)
    wanted = select(events, incarnations.c.number.label("life")).join(incarnations, is_its)
    wanted = wanted.where(incarnations.c.ended_at.is_(None), events.c.kind == "agent.error").order_by(events.c.number)
    return iter(connection.execute(wanted))
