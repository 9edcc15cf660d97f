"""Notifications to browsers.

| Route | Answer |
|---|---|
| `GET /notification/key` | `{"public_key"}`, with which a page subscribes |
| `POST /notification/subscribe` | `{"success": true, "subscription_id"}`; body `endpoint`, `keys`, `session_ids`, ... |
| `GET /notification/subscribe` | a list of the caller's subscriptions |
| `DELETE /notification/subscribe` | `{"success": true}`; body `endpoint` |
| `POST /notifications/send` | how many it reached; body `title`, `body`, to whom, and how |
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from twisted.web.http import Request

from agentproxy.features.pushing import Pushing
from agentproxy.model.principal import Principal
from agentproxy.model.push import KINDS, Recipients, Subscription, Urgent
from agentproxy.web import wire
from agentproxy.web.answers import answer
from agentproxy.web.bounds import Text
from agentproxy.web.routing import route

MONTH = 2_419_200
"""Seconds: no push service keeps anything for longer than 28 days."""
Kind = Literal["message", "status_change", "session_update", "error"]


class Keys(msgspec.Struct, forbid_unknown_fields=True):
    """A browser's keys, in base64url."""

    p256dh: str = ""
    auth: str = ""


class SubscribeBody(msgspec.Struct):
    """The body of ``POST /notification/subscribe``; what else a browser puts into its subscription is left aside."""

    endpoint: str = ""
    keys: Keys = msgspec.field(default_factory=Keys)
    session_ids: Annotated[list[Annotated[str, Meta(max_length=64)]], Meta(max_length=100)] = []
    notification_types: Annotated[list[Kind], Meta(max_length=10)] = []
    device_info: Annotated[dict[str, Annotated[str, Meta(max_length=512)]], Meta(max_length=20)] = {}


class UnsubscribeBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``DELETE /notification/subscribe``."""

    endpoint: str = ""


class NotifyBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``POST /notifications/send``; without a user it is for the caller."""

    title: Text
    body: Text
    user_id: str = ""
    user_type: str = ""
    username: str = ""
    session_id: str = ""
    url: str = ""
    icon: str = ""
    badge: str = ""
    ttl: Annotated[int, Meta(ge=0, le=MONTH)] = 86_400
    urgency: Literal["low", "normal", "high"] = "normal"
    dry_run: bool = False


def shown(one: Subscription) -> dict[str, Any]:
    """Return a subscription as this face shows it."""
    return {
        "id": one.id,
        "user_id": one.user_id,
        "user_type": one.user_type,
        "username": one.username,
        "endpoint": one.endpoint,
        "keys": {"p256dh": one.p256dh, "auth": one.auth},
        "session_ids": list(one.session_ids),
        "notification_types": list(one.notification_types),
        "device_info": dict(one.device_info),
        "created_at": one.created_at,
        "updated_at": one.updated_at,
        "last_used": one.last_used,
        "active": True,
    }


class PushRoutes:
    """The routes of notifications."""

    def __init__(self, pushing: Pushing) -> None:
        self._pushing = pushing

    @route("GET", "/notification/key")
    async def key(self, request: Request, caller: Principal) -> bytes:
        """Show the key with which a page subscribes its browser."""
        return answer(request, {"public_key": self._pushing.public_key(caller)})

    @route("POST", "/notification/subscribe")
    async def subscribe(self, request: Request, caller: Principal) -> bytes:
        """Keep a browser's subscription for the caller; the same endpoint again changes it."""
        body = wire.body(request, SubscribeBody)
        now = datetime.now(UTC)
        wish = Subscription(
            "", "", "", "", body.endpoint, body.keys.p256dh, body.keys.auth, now, now,
            tuple(body.session_ids), tuple(body.notification_types) or KINDS, body.device_info,
        )  # fmt: skip
        kept = await self._pushing.subscribe(caller, wish)
        return answer(request, {"success": True, "subscription_id": kept.id})

    @route("GET", "/notification/subscribe")
    async def subscriptions(self, request: Request, caller: Principal) -> bytes:
        """List the caller's subscriptions."""
        return answer(request, [shown(one) for one in await self._pushing.of(caller)])

    @route("DELETE", "/notification/subscribe")
    async def unsubscribe(self, request: Request, caller: Principal) -> bytes:
        """Remove the caller's subscription with an endpoint."""
        await self._pushing.unsubscribe(caller, wire.body(request, UnsubscribeBody).endpoint)
        return answer(request, {"success": True})

    @route("POST", "/notifications/send")
    async def send(self, request: Request, caller: Principal) -> bytes:
        """Notify the browsers of the caller; those of others with `admin.accounts`."""
        body = wire.body(request, NotifyBody)
        for name in ("title", "body"):
            if not getattr(body, name).strip():
                raise wire.invalid(f"$.{name}", "expected a text that says something")
        said = {name: getattr(body, name) for name in ("title", "body", "url", "icon", "badge", "session_id")}
        to = Recipients(body.user_id, body.user_type, body.username, body.session_id)
        found = await self._pushing.send(caller, to, said, Urgent(body.ttl, body.urgency), dry_run=body.dry_run)
        facts = {"subscriptions": found.reached, "sent": found.sent, "failed": len(found.failures)}
        return answer(
            request,
            {"success": True, **facts, "removed": found.removed, "dry_run": body.dry_run, "failures": found.failures},
        )
