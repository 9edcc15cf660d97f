"""Deliveries and repeated requests: the statements of their transactions. Blocking; run in the store's threads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select, update

from agentproxy.errors import DELIVERY_NOT_FOUND, KEY_REUSED, Refusal
from agentproxy.model.delivery import OPEN, At, Delivery, DeliveryState
from agentproxy.model.event import NewEvent
from agentproxy.store import journal
from agentproxy.store.delivery_tables import deliveries, repeats
from agentproxy.store.journal import Entry
from agentproxy.store.rows import micros, moment, plain, to_json
from agentproxy.store.writer import Work

REPEATS_KEPT = timedelta(days=7)
"""How long an Idempotency-Key is remembered."""

_TIMES = ("expires_at", "typed_at", "delivered_at", "answered_at")
_PLAIN = ("sender", "reason", "incarnation", "base", "message_id", "interrupted", "first", "last")


@dataclass(frozen=True, slots=True)
class Repeat:
    """What tells that a request is the same one again.

    :param scope: whose keys these are: no two scopes see each other's.
    :param body: SHA-256 of what the request asks for.
    """

    scope: str
    key: str
    body: str


def delivery_row(one: Delivery) -> dict[str, Any]:
    """Return the row of a delivery."""
    record: dict[str, Any] = {name: getattr(one, name) for name in _PLAIN}
    record |= {name: None if (time := getattr(one, name)) is None else micros(time) for name in _TIMES}
    record |= {"text": plain(one.text), "answer": None if one.answer is None else plain(one.answer), "at": one.at.value}
    return {
        "id": one.id,
        "session_id": one.session_id,
        "position": one.position,
        "state": one.state.value,
        "created_at": micros(one.created_at),
        "updated_at": micros(one.updated_at),
        "record": to_json(record),
    }


def delivery_of(row: Row[Any]) -> Delivery:
    """Return the delivery of a row."""
    record = json.loads(row.record)
    record |= {name: None if record[name] is None else moment(record[name]) for name in _TIMES}
    return Delivery(
        id=row.id,
        session_id=row.session_id,
        position=row.position,
        state=DeliveryState(row.state),
        created_at=moment(row.created_at),
        updated_at=moment(row.updated_at),
        **{**record, "at": At(record["at"])},
    )


def told(one: Delivery) -> NewEvent:
    """Return the event that says which state a delivery has entered."""
    facts = {"id": one.id, "state": one.state.value, "sender": one.sender, "reason": one.reason}
    return NewEvent(one.session_id, "delivery", one.updated_at, facts)


def adding(one: Delivery, repeat: Repeat | None, refused: Refusal | None) -> Work[tuple[Delivery, bool]]:
    """Return the work that keeps a new delivery at the end of its queue, or finds the one of the same request.

    It answers with the delivery and whether it is new. It raises KEY_REUSED.

    :param refused: raised for a new one.
    """

    def work(connection: Connection) -> tuple[tuple[Delivery, bool], Sequence[Entry]]:
        known = None if repeat is None else remember(connection, repeat, one.id, one.created_at)
        if known is not None:
            return (read_one(connection, known), False), ()
        if refused is not None:
            raise refused
        row = delivery_row(one)
        last = select(func.max(deliveries.c.position)).where(deliveries.c.session_id == one.session_id)
        row["position"] = (connection.execute(last).scalar() or 0) + 1
        connection.execute(insert(deliveries), row)
        return (read_one(connection, one.id), True), [journal.entry(told(one))]

    return work


def remember(connection: Connection, repeat: Repeat, result: str, now: datetime) -> str | None:
    """Keep that a request has *result*, or return the result that the same request had before.

    :raises Refusal: KEY_REUSED, the key came with another body.
    """
    connection.execute(delete(repeats).where(repeats.c.created_at < micros(now - REPEATS_KEPT)))
    here = (repeats.c.scope == repeat.scope) & (repeats.c.key == repeat.key)
    row = connection.execute(select(repeats.c.body, repeats.c.result).where(here)).first()
    if row is None:
        values = {"scope": repeat.scope, "key": repeat.key, "body": repeat.body}
        connection.execute(insert(repeats), {**values, "result": result, "created_at": micros(now)})
        return None
    if row.body != repeat.body:
        raise Refusal(KEY_REUSED)
    return str(row.result)


def forgetting(scope: str, key: str) -> Work[None]:
    """Return the work that forgets a key, so that its request can be made again."""

    def work(connection: Connection) -> tuple[None, Sequence[Entry]]:
        connection.execute(delete(repeats).where((repeats.c.scope == scope) & (repeats.c.key == key)))
        return None, ()

    return work


def changing(changed: Sequence[Delivery], events: Sequence[NewEvent]) -> Work[None]:
    """Return the work that keeps deliveries as they are now and writes *events*; raises DELIVERY_NOT_FOUND."""
    entries = [journal.entry(event) for event in events]

    def work(connection: Connection) -> tuple[None, Sequence[Entry]]:
        for one in changed:
            done = connection.execute(update(deliveries).where(deliveries.c.id == one.id), delivery_row(one))
            if done.rowcount != 1:
                raise Refusal(DELIVERY_NOT_FOUND, one.id, one.session_id)
        return None, entries

    return work


def read_one(connection: Connection, delivery_id: str) -> Delivery:
    """Return one delivery.

    :raises Refusal: DELIVERY_NOT_FOUND.
    """
    row = connection.execute(select(deliveries).where(deliveries.c.id == delivery_id)).first()
    if row is None:
        raise Refusal(DELIVERY_NOT_FOUND, delivery_id)
    return delivery_of(row)


def read_page(connection: Connection, session_id: str, states: Sequence[DeliveryState], limit: int) -> list[Delivery]:
    """Return the last *limit* deliveries of a session in order of their position; empty *states* means all."""
    wanted = select(deliveries).where(deliveries.c.session_id == session_id)
    if states:
        wanted = wanted.where(deliveries.c.state.in_([one.value for one in states]))
    wanted = wanted.order_by(deliveries.c.position.desc(), deliveries.c.id.desc()).limit(limit)
    return [delivery_of(row) for row in reversed(list(connection.execute(wanted)))]


Queue = tuple[list[Delivery], list[str]]
"""What a session's queue begins with: the open deliveries in order of their position, and who was served last."""
_AT_ONCE = 500
"""Sessions in one statement."""
_SERVED = 50
_TYPED = (DeliveryState.DELIVERED.value, DeliveryState.ANSWERED.value)
_LAST_TYPED = (
    select(deliveries)
    .where(deliveries.c.session_id == bindparam("session"), deliveries.c.state.in_(_TYPED))
    .order_by(deliveries.c.updated_at.desc())
    .limit(_SERVED)
)


def read_queues(connection: Connection, session_ids: Sequence[str]) -> dict[str, Queue]:
    """Return the queues of sessions as they begin."""
    found: dict[str, Queue] = {one: ([], _recent_senders(connection, one)) for one in session_ids}
    is_open = deliveries.c.state.in_(sorted(state.value for state in OPEN))
    for first in range(0, len(session_ids), _AT_ONCE):
        is_theirs = deliveries.c.session_id.in_(session_ids[first : first + _AT_ONCE])
        wanted = select(deliveries).where(is_theirs, is_open).order_by(deliveries.c.position, deliveries.c.id)
        for row in connection.execute(wanted):
            found[row.session_id][0].append(delivery_of(row))
    return found


def _recent_senders(connection: Connection, session_id: str) -> list[str]:
    """Return the senders of the last typed deliveries, the latest last."""
    found = connection.execute(_LAST_TYPED, {"session": session_id})
    return [delivery_of(row).sender for row in reversed(list(found))]
