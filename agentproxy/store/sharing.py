"""Grants and share links as named transactions over the store. A link's token is kept as its hash, and sealed to be shown again."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select

from agentproxy.model.credentials import Share, digest
from agentproxy.model.permission import Grant
from agentproxy.store.database import Database
from agentproxy.store.identity import changed
from agentproxy.store.identity_tables import grants, shares
from agentproxy.store.rows import micros, moment
from agentproxy.store.sealing import Sealer


class SharingStore:
    """The tables of grants and share links."""

    def __init__(self, store: Database) -> None:
        self._store = store

    async def put_grant(self, grant: Grant, by: str, now: datetime) -> None:
        """Keep a grant, in place of an earlier one to the same grantee."""
        here = (grants.c.session_id == grant.session_id, grants.c.grantee == grant.grantee)
        row = {
            "session_id": grant.session_id,
            "grantee": grant.grantee,
            "access": grant.access,
            "created_at": micros(now),
            "created_by": by,
        }

        def work(connection: Connection) -> None:
            connection.execute(delete(grants).where(*here))
            connection.execute(insert(grants), row)
            changed(connection)

        await self._store.run(work, writes=True)

    async def remove_grant(self, session_id: str, grantee: str) -> bool:
        """Remove a grant; return whether there was one."""
        unwanted = delete(grants).where(grants.c.session_id == session_id, grants.c.grantee == grantee)

        def work(connection: Connection) -> bool:
            changed(connection)
            return connection.execute(unwanted).rowcount > 0

        return await self._store.run(work, writes=True)

    async def grants(self) -> list[Grant]:
        """Return every grant."""
        wanted = select(grants.c.session_id, grants.c.grantee, grants.c.access)
        return await self._store.run(lambda connection: [Grant(*row) for row in connection.execute(wanted)])

    async def add_share(self, share: Share) -> Share:
        """Keep a new link; when the session has one, return that instead."""
        sealer = self._store.sealer

        def work(connection: Connection) -> Share:
            row = connection.execute(select(shares).where(shares.c.session_id == share.session_id)).one_or_none()
            if row is not None:
                return _share_of(row, sealer)
            connection.execute(insert(shares), _share_row(share, sealer))
            changed(connection)
            return share

        return await self._store.run(work, writes=True)

    async def remove_share(self, session_id: str) -> bool:
        """Remove the link of a session; return whether there was one."""

        def work(connection: Connection) -> bool:
            changed(connection)
            return connection.execute(delete(shares).where(shares.c.session_id == session_id)).rowcount > 0

        return await self._store.run(work, writes=True)

    async def forget(self, session_id: str) -> None:
        """Remove the link and the grants of a session that was deleted."""

        def work(connection: Connection) -> None:
            connection.execute(delete(shares).where(shares.c.session_id == session_id))
            connection.execute(delete(grants).where(grants.c.session_id == session_id))
            changed(connection)

        await self._store.run(work, writes=True)

    async def shares(self) -> list[Share]:
        """Return every link."""
        sealer = self._store.sealer
        return await self._store.run(
            lambda connection: [_share_of(row, sealer) for row in connection.execute(select(shares))]
        )


def _share_row(one: Share, sealer: Sealer) -> dict[str, Any]:
    return {
        "session_id": one.session_id,
        "hash": digest(one.token),
        "sealed": sealer.seal(one.token, f"shares/{one.session_id}/sealed"),
        "access": one.access,
        "created_at": micros(one.created_at),
        "created_by": one.created_by,
        "expires_at": None if one.expires_at is None else micros(one.expires_at),
    }


def _share_of(row: Row[Any], sealer: Sealer) -> Share:
    return Share(
        session_id=row.session_id,
        token=sealer.open(row.sealed, f"shares/{row.session_id}/sealed"),
        access=row.access,
        created_at=moment(row.created_at),
        created_by=row.created_by,
        expires_at=None if row.expires_at is None else moment(row.expires_at),
    )
