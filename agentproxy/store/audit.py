"""The audit as named transactions over the store: entries are only ever added, each chained to the one before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from agentproxy.model.audit import FIRST, Attempt, AuditEntry, Kept, body, chained, first_break, of_body
from agentproxy.store.database import Database
from agentproxy.store.identity_tables import IDENTITY_COUNTER, audit
from agentproxy.store.rows import micros, plain
from agentproxy.store.schema import counters

_PAGE = 1000


class AuditStore:
    """The table of the audit."""

    def __init__(self, store: Database) -> None:
        self._store = store

    async def append(self, attempts: Sequence[Attempt]) -> None:
        """Add attempts in their order."""
        texts = [body(one) for one in attempts]
        await self._store.run(lambda connection: _append(connection, attempts, texts), writes=True)

    async def entries(
        self,
        after: int = 0,
        limit: int = 100,
        session_id: str | None = None,
        actor: str | None = None,
        sessions: Sequence[str] | None = None,
    ) -> list[AuditEntry]:
        """Return at most *limit* entries with numbers over *after*, oldest first.

        :param sessions: only those of these sessions.
        """
        wanted = select(audit).where(audit.c.number > after).order_by(audit.c.number).limit(limit)
        if session_id is not None:
            wanted = wanted.where(audit.c.session_id == session_id)
        if actor is not None:
            wanted = wanted.where(audit.c.actor == actor)
        if sessions is not None:
            wanted = wanted.where(audit.c.session_id.in_(sessions))
        return await self._store.run(lambda connection: [_entry(row) for row in connection.execute(wanted)])

    async def verify(self) -> tuple[int, str, str | None]:
        """Return the number and hash of the last entry, and the sentence about the first that does not fit, if any."""
        return await self._store.run(verify)


def _append(connection: Connection, attempts: Sequence[Attempt], texts: Sequence[str]) -> None:
    counter = update(counters).where(counters.c.name == IDENTITY_COUNTER).values(value=counters.c.value)
    connection.execute(counter)  # keeps other processes out until the commit: the chain has one end
    last = connection.execute(select(audit.c.number, audit.c.hash).order_by(audit.c.number.desc()).limit(1)).first()
    number, before = (last.number, last.hash) if last is not None else (0, FIRST)
    rows: list[dict[str, Any]] = []
    for attempt, text in zip(attempts, texts, strict=True):
        number += 1
        before = chained(before, number, text)
        rows.append(
            {
                "number": number,
                "time": micros(attempt.time),
                "actor": plain(attempt.actor),
                "verb": attempt.verb,
                "session_id": attempt.session_id,
                "allowed": attempt.allowed,
                "record": text,
                "hash": before,
            }
        )
    connection.execute(insert(audit), rows)


def _entry(row: Row[Any]) -> AuditEntry:
    return AuditEntry(row.number, of_body(row.record), row.hash)


def verify(connection: Connection) -> tuple[int, str, str | None]:
    """Return what :meth:`AuditStore.verify` does."""
    number, before = 0, FIRST
    for page in _pages(connection):
        broken = first_break(page, before, number)
        if broken is not None:
            return number, before, broken
        number, before = page[-1].number, page[-1].hash
    return number, before, None


def _pages(connection: Connection) -> Iterator[list[Kept]]:
    after = -1
    while True:
        wanted = select(audit).where(audit.c.number > after).order_by(audit.c.number).limit(_PAGE)
        page = [
            Kept(row.number, row.record, row.hash, (row.actor, row.verb, row.session_id, row.allowed))
            for row in connection.execute(wanted)
        ]
        if not page:
            return
        yield page
        after = page[-1].number
