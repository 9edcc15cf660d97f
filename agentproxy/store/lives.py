"""Sessions and incarnations: the statements of their named transactions. Blocking; run in the store's threads."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    delete,
    exists,
    false,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)

from agentproxy.errors import INVALID_REQUEST, SESSION_NOT_FOUND, Refusal
from agentproxy.model.search import Listed, SessionPage, SessionQuery, VisibleTo
from agentproxy.model.session import Incarnation, Phase, Session
from agentproxy.store.identity_tables import grants
from agentproxy.store.rows import incarnation_of, incarnation_row, micros, session_of, session_row
from agentproxy.store.schema import incarnations, sessions, tags
from agentproxy.store.sealing import Sealer
from agentproxy.store.trouble import StoreError

_RARE = 1000
"""Sessions with one value of a tag, below which they are all looked up."""
_READ = select(sessions).where(sessions.c.id == bindparam("wanted"))
_CHANGE = update(sessions).where(sessions.c.id == bindparam("wanted"))
_LIFE = and_(incarnations.c.session_id == bindparam("wanted"), incarnations.c.number == bindparam("wanted_number"))
_READ_LIFE = select(incarnations).where(_LIFE)
_CHANGE_LIFE = update(incarnations).where(_LIFE)
_LIVING = sessions.c.phase != Phase.ENDED.value


def add_session(connection: Connection, session: Session, sealer: Sealer) -> None:
    """Insert *session* and its tags."""
    connection.execute(insert(sessions), session_row(session, sealer))
    _put_tags(connection, session)


def change_session(
    connection: Connection, session_id: str, changes: Mapping[str, Any], now: datetime, sealer: Sealer
) -> Session:
    """Write *changes* (field names of :class:`Session`) and return the session as it is then."""
    before = read_session(connection, session_id, sealer)
    if before is None:
        raise Refusal(SESSION_NOT_FOUND, session_id=session_id)
    after = replace(before, **{"updated_at": now, **changes})
    if after.id != session_id:
        raise ValueError("the id of a session does not change")
    row = session_row(after, sealer, with_environment=after.environment is not before.environment)
    connection.execute(_CHANGE, {**row, "wanted": session_id})
    if after.tags != before.tags:
        connection.execute(delete(tags).where(tags.c.session_id == session_id))
        _put_tags(connection, after)
    return after


def _put_tags(connection: Connection, session: Session) -> None:
    rows = [{"session_id": session.id, "name": name, "value": value} for name, value in session.tags.items()]
    if rows:
        connection.execute(insert(tags), rows)


def read_session(connection: Connection, session_id: str, sealer: Sealer) -> Session | None:
    """Return the session, deleted or not, or None."""
    row = connection.execute(_READ, {"wanted": session_id}).one_or_none()
    return None if row is None else session_of(row, sealer)


def living(connection: Connection, sealer: Sealer) -> list[Session]:
    """Return the sessions that are not ended, oldest first."""
    wanted = select(sessions).where(_LIVING).order_by(sessions.c.created_at, sessions.c.id)
    return [session_of(row, sealer) for row in connection.execute(wanted)]


def search(connection: Connection, wanted: SessionQuery, sealer: Sealer) -> SessionPage:
    """Return one page of the list."""
    if wanted.limit < 1:
        raise Refusal(INVALID_REQUEST, "$.limit: expected at least 1")
    newest_first = (sessions.c.created_at.desc(), sessions.c.id.desc())
    statement = _matching(connection, wanted).order_by(*newest_first).limit(wanted.limit + 1)
    rows = connection.execute(statement).all()
    page = tuple(session_of(row, sealer) for row in rows[: wanted.limit])
    return SessionPage(page, cursor_of(page[-1]) if len(rows) > wanted.limit else None)


def _matching(connection: Connection, wanted: SessionQuery) -> Select[Any]:
    conditions: list[ColumnElement[bool]] = [sessions.c.deleted_at.is_(None)]
    for column, value in (
        (sessions.c.owner, wanted.user_id),
        (sessions.c.agent, wanted.agent),
        (sessions.c.scope, wanted.scope),
        (sessions.c.team_id, wanted.team_id),
    ):
        if value is not None:
            conditions.append(column == value)
    if wanted.status is not Listed.ALL:
        conditions.append(_LIVING if wanted.status is Listed.ACTIVE else sessions.c.phase == Phase.ENDED.value)
    for name, value in wanted.tags.items():
        conditions.append(_tagged(connection, name, value))
    if wanted.cursor is not None:
        conditions.append(tuple_(sessions.c.created_at, sessions.c.id) < tuple_(*_position(wanted.cursor)))
    conditions += [_visible(one) for one in wanted.visible_to]
    return select(sessions).where(*conditions)


def _tagged(connection: Connection, name: str, value: str) -> ColumnElement[bool]:
    """Return the condition of a tag: a rare one is looked up first, a common one is looked for while the list is walked."""
    here = (tags.c.name == name, tags.c.value == value)
    some = select(tags.c.session_id).where(*here).limit(_RARE).subquery()
    if connection.execute(select(func.count()).select_from(some)).scalar_one() < _RARE:
        return sessions.c.id.in_(select(tags.c.session_id).where(*here))
    return exists().where(tags.c.session_id == sessions.c.id, *here)


def _visible(eyes: VisibleTo) -> ColumnElement[bool]:
    seen: list[ColumnElement[bool]] = [false()]
    if eyes.user_id is not None:
        seen.append(sessions.c.owner == eyes.user_id)
    if eyes.teams:
        seen.append(and_(sessions.c.scope == "team", sessions.c.team_id.in_(sorted(eyes.teams))))
    if eyes.grantees:
        seen.append(sessions.c.id.in_(select(grants.c.session_id).where(grants.c.grantee.in_(sorted(eyes.grantees)))))
    if eyes.ids:
        seen.append(sessions.c.id.in_(sorted(eyes.ids)))
    return or_(*seen)


def cursor_of(session: Session) -> str:
    """Return the cursor of the page that begins after *session*."""
    return base64.urlsafe_b64encode(f"{micros(session.created_at)}.{session.id}".encode()).decode().rstrip("=")


def _position(cursor: str) -> tuple[int, str]:
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        created_at, _, session_id = text.partition(".")
        number = int(created_at)
    except (binascii.Error, ValueError) as error:
        raise Refusal(INVALID_REQUEST, "$.cursor: not a cursor of this list") from error
    if not -(2**63) <= number < 2**63 or "\0" in session_id:
        raise Refusal(INVALID_REQUEST, "$.cursor: not a cursor of this list")
    return number, session_id


def add_incarnation(connection: Connection, one: Incarnation, sealer: Sealer) -> None:
    """Insert an incarnation."""
    connection.execute(insert(incarnations), incarnation_row(one, sealer))


def change_incarnation(
    connection: Connection, session_id: str, number: int, changes: Mapping[str, Any], sealer: Sealer
) -> Incarnation:
    """Write *changes* (field names of :class:`Incarnation`) and return the incarnation as it is then."""
    here = {"wanted": session_id, "wanted_number": number}
    row = connection.execute(_READ_LIFE, here).one_or_none()
    if row is None:
        raise StoreError(f"session {session_id} has no incarnation {number}")
    after = replace(incarnation_of(row, sealer), **changes)
    if (after.session_id, after.number) != (session_id, number):
        raise ValueError("the session and the number of an incarnation do not change")
    connection.execute(_CHANGE_LIFE, {**incarnation_row(after, sealer), **here})
    return after


def read_incarnations(connection: Connection, session_id: str | None, sealer: Sealer) -> list[Incarnation]:
    """Return the incarnations of a session in order of number; without one, those of all that have not ended."""
    wanted = select(incarnations).order_by(incarnations.c.created_at, incarnations.c.number)
    if session_id is None:
        wanted = wanted.where(incarnations.c.ended_at.is_(None))
    else:
        wanted = wanted.where(incarnations.c.session_id == session_id).order_by(None).order_by(incarnations.c.number)
    return [incarnation_of(row, sealer) for row in connection.execute(wanted)]
