"""Subscriptions of browsers: their table and the statements of its transactions. Blocking; run in the store's threads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Row,
    String,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
    update,
)

from agentproxy.errors import TOO_MANY_SUBSCRIPTIONS, Refusal
from agentproxy.model.push import Recipients, Subscription
from agentproxy.store.rows import micros, moment, to_json
from agentproxy.store.schema import metadata

subscriptions = Table(
    "push_subscriptions",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("user_id", String(255), nullable=False),
    Column("user_type", String(32), nullable=False),
    Column("username", String(255), nullable=False),
    Column("endpoint", String(1024), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("last_used", BigInteger),
    Column("record", Text, nullable=False),
)
Index("push_subscriptions_of_user", subscriptions.c.user_id, subscriptions.c.endpoint, unique=True)
MOST_READ = 1000


def _row(one: Subscription) -> dict[str, Any]:
    record = {
        "p256dh": one.p256dh,
        "auth": one.auth,
        "session_ids": list(one.session_ids),
        "notification_types": list(one.notification_types),
        "device_info": dict(one.device_info),
    }
    return {
        "id": one.id,
        "user_id": one.user_id,
        "user_type": one.user_type,
        "username": one.username,
        "endpoint": one.endpoint,
        "created_at": micros(one.created_at),
        "updated_at": micros(one.updated_at),
        "last_used": None if one.last_used is None else micros(one.last_used),
        "record": to_json(record),
    }


def _of(row: Row[Any]) -> Subscription:
    record = json.loads(row.record)
    return Subscription(
        row.id,
        row.user_id,
        row.user_type,
        row.username,
        row.endpoint,
        record["p256dh"],
        record["auth"],
        moment(row.created_at),
        moment(row.updated_at),
        tuple(record["session_ids"]),
        tuple(record["notification_types"]),
        record["device_info"],
        None if row.last_used is None else moment(row.last_used),
    )


def keep(connection: Connection, one: Subscription, most: int) -> Subscription:
    """Keep a subscription, or change that of the same user and endpoint, whose id and age stay; return what is kept.

    :param most: that one user may have.
    :raises Refusal: TOO_MANY_SUBSCRIPTIONS.
    """
    own = subscriptions.c.user_id == one.user_id
    row = connection.execute(select(subscriptions).where(own, subscriptions.c.endpoint == one.endpoint)).one_or_none()
    if row is not None:
        before = _of(row)
        kept = replace(one, id=before.id, created_at=before.created_at, last_used=before.last_used)
        connection.execute(update(subscriptions).where(subscriptions.c.id == kept.id), _row(kept))
        return kept
    if connection.execute(select(func.count()).select_from(subscriptions).where(own)).scalar_one() >= most:
        raise Refusal(TOO_MANY_SUBSCRIPTIONS, f"{one.user_id} has {most}")
    connection.execute(insert(subscriptions), _row(one))
    return one


def of_user(connection: Connection, user_id: str) -> list[Subscription]:
    """Return a user's subscriptions, oldest first."""
    return find(connection, Recipients(user_id))


def find(connection: Connection, to: Recipients) -> list[Subscription]:
    """Return the subscriptions of recipients, oldest first, at most 1000."""
    wanted = select(subscriptions).order_by(subscriptions.c.created_at, subscriptions.c.id).limit(MOST_READ)
    for name in ("user_id", "user_type", "username"):
        if value := getattr(to, name):
            wanted = wanted.where(subscriptions.c[name] == value)
    found = [_of(row) for row in connection.execute(wanted)]
    return [one for one in found if not to.session_id or not one.session_ids or to.session_id in one.session_ids]


def remove(connection: Connection, user_id: str, endpoint: str) -> bool:
    """Remove a user's subscription; return whether there was one."""
    here = (subscriptions.c.user_id == user_id) & (subscriptions.c.endpoint == endpoint)
    return connection.execute(delete(subscriptions).where(here)).rowcount > 0


def settle(connection: Connection, used: Sequence[str], gone: Sequence[str], now: datetime) -> None:
    """Note which subscriptions were used, and remove those that their push service does not know any more."""
    if used:
        connection.execute(update(subscriptions).where(subscriptions.c.id.in_(used)).values(last_used=micros(now)))
    if gone:
        connection.execute(delete(subscriptions).where(subscriptions.c.id.in_(gone)))
