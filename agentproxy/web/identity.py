"""Who am I, and who else may: log-in kinds, tokens and accounts.

| Route | Answer |
|---|---|
| `GET /auth/types` | `{"enabled", "types": [{"type", "name", "available"}]}` |
| `GET /auth/status` | `{"authenticated": false}`, or who the caller is |
| `GET /user/info` | `{"username", "teams"}` |
| `POST /auth/tokens` | 201, the token with its secret, which is never shown again |
| `GET /auth/tokens` | `{"tokens": [...]}` |
| `DELETE /auth/tokens/:token` | the token, revoked |
| `POST /auth/accounts` | 201, the account |
| `GET /auth/accounts` | `{"accounts": [...]}` |
| `PATCH /auth/accounts/:name` | the account |
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from twisted.web.http import Request

from agentproxy.auth.gatekeeper import Gatekeeper
from agentproxy.auth.registry import Registry
from agentproxy.errors import UNAUTHENTICATED, Refusal
from agentproxy.features.permitting import Permits
from agentproxy.model.credentials import Account, Token
from agentproxy.model.permission import require
from agentproxy.model.principal import Principal
from agentproxy.web import wire
from agentproxy.web.answers import answer
from agentproxy.web.asking import identify
from agentproxy.web.routing import route

_TYPES = {"static": "api_key", "token": "api_key", "session": "github_oauth"}
_LONGEST = 10 * 366 * 86400.0


class TokenBody(msgspec.Struct, forbid_unknown_fields=True):
    """What ``POST /auth/tokens`` takes; ``expires_in`` in seconds."""

    name: str = ""
    owner: str | None = None
    scopes: list[str] | None = None
    expires_in: float | None = None


class AccountBody(msgspec.Struct, forbid_unknown_fields=True):
    """What ``POST /auth/accounts`` takes."""

    name: str
    kind: Literal["user", "service"] = "user"
    role: str = "user"
    permissions: list[str] = []
    teams: list[str] = []


class AccountChange(msgspec.Struct, forbid_unknown_fields=True):
    """What ``PATCH /auth/accounts/:name`` takes."""

    role: str | msgspec.UnsetType = msgspec.UNSET
    permissions: list[str] | msgspec.UnsetType = msgspec.UNSET
    teams: list[str] | msgspec.UnsetType = msgspec.UNSET
    disabled: bool | msgspec.UnsetType = msgspec.UNSET


def lasts_of(seconds: float | None) -> float | None:
    """Return how long something made now lasts.

    :raises Refusal: INVALID_REQUEST, not between a second and ten years.
    """
    if seconds is not None and not 1 <= seconds <= _LONGEST:
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
        "disabled": account.disabled_at is not None,
    }


class Identities:
    """The routes of identity.

    :param permits: notes in the audit what changes here.
    """

    def __init__(self, gatekeeper: Gatekeeper, registry: Registry, permits: Permits) -> None:
        self._gatekeeper = gatekeeper
        self._registry = registry
        self._permits = permits

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
        return answer(
            request,
            {
                "authenticated": True,
                "auth_type": _TYPES.get(caller.source, caller.source),
                "user_id": caller.user_id,
                "role": caller.role,
                "permissions": sorted(caller.permissions),
                **({} if caller.scopes is None else {"scopes": sorted(caller.scopes)}),
                **({"teams": sorted(caller.teams)} if caller.teams else {}),
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

    # -- accounts

    @route("POST", "/auth/accounts")
    async def add_account(self, request: Request, caller: Principal) -> bytes:
        """Make an account of a user or a service."""
        require(caller, "admin.accounts")
        body = wire.body(request, AccountBody)
        account = await self._registry.add_account(
            body.name, body.kind, body.role, body.permissions, body.teams, caller.user_id
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
        """Change role, permissions or teams of an account, or disable it."""
        require(caller, "admin.accounts")
        body = wire.body(request, AccountChange)
        changes: dict[str, object] = {} if body.role is msgspec.UNSET else {"role": body.role}
        for field in ("permissions", "teams"):
            value = getattr(body, field)
            if value is not msgspec.UNSET:
                changes[field] = tuple(value)
        if body.disabled is not msgspec.UNSET:
            changes["disabled_at"] = datetime.now(UTC) if body.disabled else None
        account = await self._registry.change_account(name, **changes)
        self._permits.note(caller, "account.change", None, True, "admin.accounts", account=name, fields=sorted(changes))
        return answer(request, shown_account(account))
