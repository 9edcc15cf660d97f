"""Accounts, tokens and log-ins: who is known, as named transactions over the store.

Every change here moves the counter :data:`IDENTITY_COUNTER`, so that another process on the same database sees that it should
read again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from agentproxy.errors import ACCOUNT_EXISTS, ACCOUNT_NOT_FOUND, TOKEN_NOT_FOUND, Refusal
from agentproxy.model.credentials import Account, Login, Token
from agentproxy.store.database import Database
from agentproxy.store.identity_tables import IDENTITY_COUNTER, accounts, logins, tokens
from agentproxy.store.rows import micros, moment, to_json
from agentproxy.store.schema import counters
from agentproxy.store.sealing import Sealer


def changed(connection: Connection) -> None:
    """Say that who may what has changed."""
    moved = update(counters).where(counters.c.name == IDENTITY_COUNTER)
    connection.execute(moved.values(value=counters.c.value + 1))


def _time(value: int | None) -> datetime | None:
    return None if value is None else moment(value)


def _micros(value: datetime | None) -> int | None:
    return None if value is None else micros(value)


class IdentityStore:
    """The tables of accounts, tokens and log-ins."""

    def __init__(self, store: Database) -> None:
        self._store = store

    async def version(self) -> int:
        """Return a number that every change here, in any process, makes larger."""
        wanted = select(counters.c.value).where(counters.c.name == IDENTITY_COUNTER)
        return await self._store.run(lambda connection: int(connection.execute(wanted).scalar_one()))

    # Accounts

    async def add_account(self, account: Account) -> None:
        """Keep a new account.

        :raises Refusal: ACCOUNT_EXISTS.
        """

        def work(connection: Connection) -> None:
            if connection.execute(select(accounts.c.name).where(accounts.c.name == account.name)).first():
                raise Refusal(ACCOUNT_EXISTS, account.name)
            try:
                connection.execute(insert(accounts), _account_row(account))
            except IntegrityError:
                raise Refusal(ACCOUNT_EXISTS, account.name) from None
            changed(connection)

        await self._store.run(work, writes=True)

    async def change_account(self, name: str, **changes: Any) -> Account:
        """Change fields of an account and return it as it is then.

        :raises Refusal: ACCOUNT_NOT_FOUND.
        """

        def work(connection: Connection) -> Account:
            row = connection.execute(select(accounts).where(accounts.c.name == name)).one_or_none()
            if row is None:
                raise Refusal(ACCOUNT_NOT_FOUND, name)
            after = replace(_account_of(row), **changes)
            connection.execute(update(accounts).where(accounts.c.name == name), _account_row(after))
            changed(connection)
            return after

        return await self._store.run(work, writes=True)

    async def accounts(self) -> list[Account]:
        """Return every account, by name."""
        wanted = select(accounts).order_by(accounts.c.name)
        return await self._store.run(lambda connection: [_account_of(row) for row in connection.execute(wanted)])

    # Tokens

    async def add_token(self, token: Token) -> None:
        """Keep a new token."""

        def work(connection: Connection) -> None:
            connection.execute(insert(tokens), _token_row(token))
            changed(connection)

        await self._store.run(work, writes=True)

    async def revoke_token(self, token_id: str, now: datetime, owner: str | None = None) -> Token:
        """Revoke a token; a second time changes nothing.

        :param owner: whose it must be; None for anybody's.
        :raises Refusal: TOKEN_NOT_FOUND.
        """

        def work(connection: Connection) -> Token:
            row = connection.execute(select(tokens).where(tokens.c.id == token_id)).one_or_none()
            if row is None or owner not in (None, row.owner):
                raise Refusal(TOKEN_NOT_FOUND, token_id)
            token = _token_of(row)
            if token.revoked_at is None:
                token = replace(token, revoked_at=now)
                connection.execute(update(tokens).where(tokens.c.id == token_id).values(revoked_at=micros(now)))
                changed(connection)
            return token

        return await self._store.run(work, writes=True)

    async def tokens(self, owner: str | None = None) -> list[Token]:
        """Return the tokens that are not revoked, oldest first.

        :param owner: only this user's.
        """
        wanted = select(tokens).where(tokens.c.revoked_at.is_(None)).order_by(tokens.c.created_at, tokens.c.id)
        if owner is not None:
            wanted = wanted.where(tokens.c.owner == owner)
        return await self._store.run(lambda connection: [_token_of(row) for row in connection.execute(wanted)])

    # Log-ins

    async def add_login(self, login: Login) -> None:
        """Keep a new log-in."""
        sealer = self._store.sealer

        def work(connection: Connection) -> None:
            connection.execute(insert(logins), _login_row(login, sealer))
            changed(connection)

        await self._store.run(work, writes=True)

    async def change_login(self, login_id: str, **changes: Any) -> Login | None:
        """Change fields of a log-in (``expires_at``, ``revoked_at``, ``role``...); None when there is none."""
        sealer = self._store.sealer

        def work(connection: Connection) -> Login | None:
            row = connection.execute(select(logins).where(logins.c.id == login_id)).one_or_none()
            if row is None:
                return None
            after = replace(_login_of(row, sealer), **changes)
            connection.execute(update(logins).where(logins.c.id == login_id), _login_row(after, sealer))
            changed(connection)
            return after

        return await self._store.run(work, writes=True)

    async def logins(self, now: datetime) -> list[Login]:
        """Return the log-ins that are neither revoked nor expired, oldest first."""
        sealer = self._store.sealer
        wanted = select(logins).where(logins.c.revoked_at.is_(None), logins.c.expires_at > micros(now))
        wanted = wanted.order_by(logins.c.created_at, logins.c.id)
        return await self._store.run(lambda connection: [_login_of(row, sealer) for row in connection.execute(wanted)])

    async def forget_logins(self, before: datetime) -> None:
        """Remove the log-ins that expired before a time."""
        unwanted = delete(logins).where(logins.c.expires_at < micros(before))
        await self._store.run(lambda connection: connection.execute(unwanted) and None, writes=True)


def _account_row(one: Account) -> dict[str, Any]:
    record = {
        "role": one.role,
        "permissions": list(one.permissions),
        "teams": list(one.teams),
        "created_by": one.created_by,
        "login": one.login,
    }
    return {
        "name": one.name,
        "kind": one.kind,
        "created_at": micros(one.created_at),
        "disabled_at": _micros(one.disabled_at),
        "record": to_json(record),
    }


def _account_of(row: Row[Any]) -> Account:
    record = _record(row)
    return Account(row.name, moment(row.created_at), row.kind, disabled_at=_time(row.disabled_at), **record)


def _token_row(one: Token) -> dict[str, Any]:
    record = {
        "name": one.name,
        "role": one.role,
        "permissions": list(one.permissions),
        "teams": list(one.teams),
        "scopes": None if one.scopes is None else list(one.scopes),
        "created_by": one.created_by,
    }
    return {
        "id": one.id,
        "owner": one.owner,
        "hash": one.hash,
        "created_at": micros(one.created_at),
        "expires_at": _micros(one.expires_at),
        "revoked_at": _micros(one.revoked_at),
        "record": to_json(record),
    }


def _token_of(row: Row[Any]) -> Token:
    return Token(
        id=row.id,
        owner=row.owner,
        hash=row.hash,
        created_at=moment(row.created_at),
        expires_at=_time(row.expires_at),
        revoked_at=_time(row.revoked_at),
        **_record(row),
    )


def _login_row(one: Login, sealer: Sealer) -> dict[str, Any]:
    record = {
        "provider": one.provider,
        "role": one.role,
        "permissions": list(one.permissions),
        "teams": list(one.teams),
        "facts": dict(one.facts),
    }
    return {
        "id": one.id,
        "owner": one.owner,
        "hash": one.hash,
        "created_at": micros(one.created_at),
        "expires_at": micros(one.expires_at),
        "revoked_at": _micros(one.revoked_at),
        "sealed": None if one.upstream is None else sealer.seal(one.upstream, f"logins/{one.id}/sealed"),
        "record": to_json(record),
    }


def _login_of(row: Row[Any], sealer: Sealer) -> Login:
    return Login(
        id=row.id,
        owner=row.owner,
        hash=row.hash,
        created_at=moment(row.created_at),
        expires_at=moment(row.expires_at),
        revoked_at=_time(row.revoked_at),
        upstream=None if row.sealed is None else sealer.open(row.sealed, f"logins/{row.id}/sealed"),
        **_record(row),
    )


_LISTS = ("permissions", "teams", "scopes")


def _record(row: Row[Any]) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(row.record)
    for name in _LISTS:
        if isinstance(record.get(name), list):
            record[name] = tuple(record[name])
    return record


__all__: Sequence[str] = ("IdentityStore", "changed")
