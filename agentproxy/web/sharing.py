"""Sharing a session with people and by a link, who may do what to it, and the audit.

| Route | Answer |
|---|---|
| `POST /sessions/:id/share` | 201 or 200 `{"token", "session_id", "share_url", "access", "created_at", "expires_at"}` |
| `GET /sessions/:id/share` | the same with `created_by` and `is_expired` |
| `DELETE /sessions/:id/share` | `{"message", "session_id"}` |
| `GET /s/:token/:rest` | 404 or 410: a link that works is forwarded before it comes here |
| `GET /sessions/:id/access` | `{"grants": [...], "access": [...]}`; `user` |
| `PUT /sessions/:id/access/:grantee` | the grant |
| `DELETE /sessions/:id/access/:grantee` | `{"message", "session_id"}` |
| `GET /audit` | `{"entries": [...]}`; `after`, `limit`, `session_id`, `actor` |
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NoReturn

import msgspec
from twisted.web.http import Request

from agentproxy.errors import SHARE_UNKNOWN, Refusal
from agentproxy.features.auditing import Audit
from agentproxy.features.sharing import Access, Sharing
from agentproxy.model.audit import AuditEntry
from agentproxy.model.credentials import Share
from agentproxy.model.permission import Grant
from agentproxy.model.principal import Principal
from agentproxy.web import wire
from agentproxy.web.answers import answer
from agentproxy.web.bounds import TEN_YEARS, Level, WithinTenYears
from agentproxy.web.routing import route


class ShareBody(msgspec.Struct, forbid_unknown_fields=True):
    """What ``POST /sessions/:id/share`` takes; ``expires_in`` in seconds."""

    access: Level = "read"
    expires_in: WithinTenYears | None = None


class GrantBody(msgspec.Struct, forbid_unknown_fields=True):
    """What ``PUT /sessions/:id/access/:grantee`` takes."""

    access: Level = "read"


def shown_share(share: Share) -> dict[str, Any]:
    """Return a link as this face shows it to whoever may share."""
    return {
        "token": share.token,
        "session_id": share.session_id,
        "share_url": f"/s/{share.token}/",
        "access": share.access,
        "created_at": share.created_at,
        "expires_at": share.expires_at,
    }


def shown_grant(grant: Grant) -> dict[str, Any]:
    """Return a grant as this face shows it."""
    return {"session_id": grant.session_id, "grantee": grant.grantee, "access": grant.access}


def shown_access(access: Access) -> dict[str, Any]:
    """Return what somebody could do, and because of what."""
    who = access.principal
    verbs = {verb: {"allowed": one.allowed, "because": one.reason} for verb, one in access.decisions.items()}
    return {
        "user_id": who.user_id,
        "role": who.role,
        "source": who.source,
        "credential": who.credential,
        "verbs": verbs,
    }


def shown_entry(entry: AuditEntry) -> dict[str, Any]:
    """Return an entry of the audit as this face shows it."""
    one = entry.attempt
    return {
        "number": entry.number,
        "time": one.time,
        "actor": one.actor,
        "source": one.source,
        "credential": one.credential,
        "address": one.address,
        "verb": one.verb,
        "session_id": one.session_id,
        "allowed": one.allowed,
        "reason": one.reason,
        "facts": dict(one.facts),
        "hash": entry.hash,
    }


class Shares:
    """The routes of sharing."""

    def __init__(self, sharing: Sharing) -> None:
        self._sharing = sharing

    @route("POST", "/sessions/<session_id>/share")
    async def share(self, request: Request, caller: Principal, session_id: str) -> bytes:
        """Make the link of a session, or show the one that it has."""
        body = wire.body(request, ShareBody)
        if body.expires_in is not None and not 1 <= body.expires_in <= TEN_YEARS:
            raise wire.invalid("$.expires_in", "expected seconds, from 1 to ten years")
        share, new = await self._sharing.share(caller, session_id, body.access, body.expires_in)
        request.responseHeaders.setRawHeaders("cache-control", ["no-store"])
        return answer(request, shown_share(share), 201 if new else 200)

    @route("GET", "/sessions/<session_id>/share")
    async def link(self, request: Request, caller: Principal, session_id: str) -> bytes:
        """Show the link of a session."""
        share = await self._sharing.link(caller, session_id)
        expired = share.expires_at is not None and share.expires_at <= datetime.now(UTC)
        request.responseHeaders.setRawHeaders("cache-control", ["no-store"])
        return answer(request, {**shown_share(share), "created_by": share.created_by, "is_expired": expired})

    @route("DELETE", "/sessions/<session_id>/share")
    async def unshare(self, request: Request, caller: Principal, session_id: str) -> bytes:
        """Take the link back; what it had opened is cut."""
        await self._sharing.unshare(caller, session_id)
        return answer(request, {"message": "Share revoked successfully", "session_id": session_id})

    @route("GET", "/s/<token>/<path:rest>")
    async def no_such_link(self, request: Request, caller: Principal, token: str, rest: str) -> NoReturn:  # noqa: ARG002
        """Say why a link leads nowhere; those that work are forwarded by the gateway."""
        share = self._sharing.look(token)
        raise share if isinstance(share, Refusal) else Refusal(SHARE_UNKNOWN)

    @route("GET", "/sessions/<session_id>/access")
    async def access(self, request: Request, caller: Principal, session_id: str) -> bytes:
        """Show with whom a session is shared, and what a user could do to it because of what."""
        user = wire.query(request).get("user")
        grants, accesses = await self._sharing.access(caller, session_id, user or None)
        facts = {"grants": [shown_grant(one) for one in grants], "access": [shown_access(one) for one in accesses]}
        return answer(request, {"session_id": session_id, **facts})

    @route("PUT", "/sessions/<session_id>/access/<path:grantee>")
    async def grant(self, request: Request, caller: Principal, session_id: str, grantee: str) -> bytes:
        """Share a session with a user (`user:NAME`) or a team (`team:ORG/SLUG`)."""
        body = wire.body(request, GrantBody)
        return answer(request, shown_grant(await self._sharing.grant(caller, session_id, grantee, body.access)))

    @route("DELETE", "/sessions/<session_id>/access/<path:grantee>")
    async def ungrant(self, request: Request, caller: Principal, session_id: str, grantee: str) -> bytes:
        """Take a grant back; what it had opened is cut."""
        await self._sharing.ungrant(caller, session_id, grantee)
        return answer(request, {"message": "Access revoked successfully", "session_id": session_id})


class Audits:
    """The route of the audit."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit

    @route("GET", "/audit")
    async def entries(self, request: Request, caller: Principal) -> bytes:
        """Show who tried what on which session, from where, and whether it was allowed."""
        values = wire.query(request)
        after = wire.whole_number(values, "after", 0, 0, 999_999_999)
        limit = wire.whole_number(values, "limit", 100, 1, 1000)
        entries = await self._audit.entries(
            caller, after, limit, values.get("session_id") or None, values.get("actor") or None
        )
        return answer(request, {"entries": [shown_entry(one) for one in entries]})
