"""Who am I, and who else may: log-in kinds, tokens and accounts.

| Route | Answer |
|---|---|
| `GET /auth/types` | `{"enabled", "types": [{"type", "name", "available"}]}` |
| `GET /auth/status` | `{"authenticated": false}`, or who the caller is |
| `GET /user/info` | `{"username", "teams"}` |
| `POST /auth/tokens` | 201, the token with its secret, which is never shown again |
| `GET /auth/tokens` | `{"tokens": [...]}` |
| `DELETE /auth/tokens/:token` | the token, revoked |
| `GET /auth/logins` | `{"logins": [...]}` |
| `DELETE /auth/logins/:login` | the log-in, ended |
| `POST /auth/accounts` | 201, the account |
| `GET /auth/accounts` | `{"accounts": [...]}` |
| `PATCH /auth/accounts/:name` | the account |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from twisted.web.http import Request

from agentproxy.auth.gatekeeper import Gatekeeper
from agentproxy.auth.registry import Registry
from agentproxy.errors import LOGIN_NOT_FOUND, UNAUTHENTICATED, Refusal
from agentproxy.features.permitting import Permits
from agentproxy.model.credentials import Account, Login, Token
from agentproxy.model.permission import may, require
from agentproxy.model.principal import Principal
from agentproxy.web import wire
from agentproxy.web.answers import answer
from agentproxy.web.asking import identify
from agentproxy.web.bounds import TEN_YEARS, AccountName, WithinTenYears
from agentproxy.web.routing import route

About = Callable[[Principal], tuple[str, Mapping[str, Any]]]


class TokenBody(msgspec.Struct, forbid_unknown_fields=True):
    """What ``POST /auth/tokens`` takes; ``expires_in`` in seconds."""

    name: str = ""
    owner: str | None = None
    scopes: list[str] | None = None
    expires_in: WithinTenYears | None = None


class AccountBody(msgspec.Struct, forbid_unknown_fields=True):
    """What ``POST /auth/accounts`` takes."""

    name: AccountName
    kind: Literal["user", "service"] = "user"
    role: str = "user"
    permissions: list[str] = []
    teams: list[str] = []
    login: Literal["", "github", "oidc"] = ""


class AccountChange(msgspec.Struct, forbid_unknown_fields=True):
    """What ``PATCH /auth/accounts/:name`` takes."""

    role: str | msgspec.UnsetType = msgspec.UNSET
    permissions: list[str] | msgspec.UnsetType = msgspec.UNSET
    teams: list[str] | msgspec.UnsetType = msgspec.UNSET
    login: Literal["", "github", "oidc"] | msgspec.UnsetType = msgspec.UNSET
    disabled: bool | msgspec.UnsetType = msgspec.UNSET


def lasts_of(seconds: float | None) -> float | None:
    """Return how long something made now lasts.

    :raises Refusal: INVALID_REQUEST, not between a second and ten years.
    """
    if seconds is not None and not 1 <= seconds <= TEN_YEARS:
        raise wire.invalid("$.expires_in", "expected seconds, from 1 to ten years")
    return seconds


def shown_token(token: Token) -> dict[str, Any]:
    """Return a token as this face shows it; nothing in it opens anything."""
    return {
        "id": token.id,
        "name": token.name,
        "owner": token.owner,
        "scopes": None if token.scopes is None else list(token.scopes),
        "created_at": token.created_at,
        "created_by": token.created_by,
        "expires_at": token.expires_at,
    }


def shown_login(login: Login) -> dict[str, Any]:
    """Return a log-in as this face shows it; nothing in it opens anything."""
    return {
        "id": login.id,
        "owner": login.owner,
        "provider": login.provider,
        "role": login.role,
        "created_at": login.created_at,
        "expires_at": login.expires_at,
    }


def shown_account(account: Account) -> dict[str, Any]:
    """Return an account as this face shows it."""
    return {
        "name": account.name,
        "kind": account.kind,
        "role": account.role,
        "permissions": list(account.permissions),
        "teams": list(account.teams),
        "created_at": account.created_at,
        "created_by": account.created_by,
        "login": account.login,
        "disabled": account.disabled_at is not None,
    }


class Identities:
    """The routes of identity.

    :param permits: notes in the audit what changes here.
    :param about: returns the kind of a caller's credential, and what GitHub said of the caller.
    """

    def __init__(self, gatekeeper: Gatekeeper, registry: Registry, permits: Permits, about: About) -> None:
        self._gatekeeper = gatekeeper
        self._registry = registry
        self._permits = permits
        self._about = about

    @route("GET", "/auth/types", open=True)
    async def types(self, request: Request, caller: Principal) -> bytes:  # noqa: ARG002
        """Say how one can log in."""
        enabled = self._gatekeeper.rules.enabled
        kinds = dict(kind for one in self._gatekeeper.authenticators for kind in one.types()) if enabled else {}
        types = [{"type": kind, "name": name, "available": True} for kind, name in kinds.items()]
        return answer(request, {"enabled": enabled, "types": types})

    @route("GET", "/auth/status", open=True)
    async def status(self, request: Request, caller: Principal) -> bytes:
        """Say who asks, also to somebody who is nobody."""
        try:
            caller = await identify(self._gatekeeper, request)
        except Refusal as refusal:
            if refusal.kind is not UNAUTHENTICATED:
                raise
            return answer(request, {"authenticated": False})
        if not self._gatekeeper.rules.enabled:
            return answer(request, {"authenticated": False})
        kind, github_user = self._about(caller)
        return answer(
            request,
            {
                "authenticated": True,
                "auth_type": kind,
                "user_id": caller.user_id,
                "role": caller.role,
                "permissions": sorted(caller.permissions),
                **({} if caller.scopes is None else {"scopes": sorted(caller.scopes)}),
                **({"teams": sorted(caller.teams)} if caller.teams else {}),
                **({"github_user": {key: value for key, value in github_user.items() if value}} if github_user else {}),
            },
        )

    @route("GET", "/user/info")
    async def info(self, request: Request, caller: Principal) -> bytes:
        """Show the caller's name and teams."""
        return answer(request, {"username": caller.user_id, "teams": sorted(caller.teams)})

    # -- tokens

    @route("POST", "/auth/tokens")
    async def add_token(self, request: Request, caller: Principal) -> bytes:
        """Make a token and show its secret once."""
        body = wire.body(request, TokenBody)
        lasts = lasts_of(body.expires_in)
        if len(body.name) > 200:
            raise wire.invalid("$.name", "longer than 200 characters")
        secret, token = await self._registry.add_token(caller, body.name, body.owner, body.scopes, lasts)
        self._permits.note(
            caller, "token.add", None, True, "its owner or admin.tokens", token=token.id, owner=token.owner
        )
        request.responseHeaders.setRawHeaders("cache-control", ["no-store"])
        return answer(request, {**shown_token(token), "token": secret}, 201)

    @route("GET", "/auth/tokens")
    async def list_tokens(self, request: Request, caller: Principal) -> bytes:
        """List the caller's tokens, or another owner's or everybody's (`owner=*`) with `admin.tokens`."""
        owner = wire.query(request).get("owner") or caller.user_id
        if owner != caller.user_id:
            require(caller, "admin.tokens")
        tokens = self._registry.list_tokens(None if owner == "*" else owner)
        return answer(request, {"tokens": [shown_token(one) for one in tokens]})

    @route("DELETE", "/auth/tokens/<token_id>")
    async def revoke_token(self, request: Request, caller: Principal, token_id: str) -> bytes:
        """Revoke a token; what it had opened is cut."""
        token = await self._registry.revoke_token(caller, token_id)
        self._permits.note(
            caller, "token.revoke", None, True, "its owner or admin.tokens", token=token.id, owner=token.owner
        )
        return answer(request, {**shown_token(token), "revoked_at": token.revoked_at})

    # -- log-ins

    @route("GET", "/auth/logins")
    async def list_logins(self, request: Request, caller: Principal) -> bytes:
        """List the caller's log-ins, or another owner's or everybody's (`owner=*`) with `admin.tokens`."""
        owner = wire.query(request).get("owner") or caller.user_id
        if owner != caller.user_id:
            require(caller, "admin.tokens")
        logins = self._registry.list_logins(None if owner == "*" else owner)
        return answer(request, {"logins": [shown_login(one) for one in logins]})

    @route("DELETE", "/auth/logins/<login_id>")
    async def end_login(self, request: Request, caller: Principal, login_id: str) -> bytes:
        """End a log-in; what it had opened is cut."""
        login = self._registry.login(login_id)
        if login is None or (login.owner != caller.user_id and not may(caller, "admin.tokens")):
            raise Refusal(LOGIN_NOT_FOUND, login_id)
        await self._registry.log_out(login)
        self._permits.note(
            caller, "auth.logout", None, True, "its owner or admin.tokens", login=login.id, owner=login.owner
        )
        return answer(request, shown_login(login))

    # -- accounts

    @route("POST", "/auth/accounts")
    async def add_account(self, request: Request, caller: Principal) -> bytes:
        """Make an account of a user or a service."""
        require(caller, "admin.accounts")
        body = wire.body(request, AccountBody)
        account = await self._registry.add_account(
            body.name, body.kind, body.role, body.permissions, body.teams, body.login, caller
        )
        self._permits.note(caller, "account.add", None, True, "admin.accounts", account=account.name, role=account.role)
        return answer(request, shown_account(account), 201)

    @route("GET", "/auth/accounts")
    async def list_accounts(self, request: Request, caller: Principal) -> bytes:
        """List the accounts."""
        require(caller, "admin.accounts")
        return answer(request, {"accounts": [shown_account(one) for one in self._registry.accounts()]})

    @route("PATCH", "/auth/accounts/<name>")
    async def change_account(self, request: Request, caller: Principal, name: str) -> bytes:
        """Change role, permissions, teams or log-in of an account, or disable it."""
        require(caller, "admin.accounts")
        body = wire.body(request, AccountChange)
        changes: dict[str, Any] = {}
        for field in ("role", "login"):
            if (value := getattr(body, field)) is not msgspec.UNSET:
                changes[field] = value
        for field in ("permissions", "teams"):
            if (value := getattr(body, field)) is not msgspec.UNSET:
                changes[field] = tuple(value)
        if body.disabled is not msgspec.UNSET:
            changes["disabled_at"] = datetime.now(UTC) if body.disabled else None
        account = await self._registry.change_account(name, caller, **changes)
        self._permits.note(caller, "account.change", None, True, "admin.accounts", account=name, fields=sorted(changes))
        return answer(request, shown_account(account))
