"""Browsers that are notified."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

from agentproxy.web.bounds import Count


class PushKeys(Struct, forbid_unknown_fields=True):
    """A browser's keys."""

    p256dh: str
    auth: str


class PublicKey(Struct, forbid_unknown_fields=True):
    """What a page gives its browser to subscribe with: a point of P-256, in base64url."""

    public_key: Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{87}$")]


class Subscription(Struct, forbid_unknown_fields=True):
    """A browser that is told of what happens."""

    id: Annotated[str, Meta(pattern="^sub_")]
    user_id: str
    user_type: str
    username: str
    endpoint: str
    keys: PushKeys
    session_ids: list[str]
    notification_types: list[Literal["message", "status_change", "session_update", "error"]]
    device_info: dict[str, str]
    created_at: datetime
    updated_at: datetime
    last_used: datetime | None
    active: bool


class Subscribed(Struct, forbid_unknown_fields=True):
    """A subscription is kept."""

    success: Literal[True]
    subscription_id: str


class Success(Struct, forbid_unknown_fields=True):
    """It is done."""

    success: Literal[True]


class Notified(Struct, forbid_unknown_fields=True):
    """How many browsers a notification was for, and how many push services took it."""

    success: Literal[True]
    subscriptions: Count
    sent: Count
    failed: Count
    removed: Annotated[int, Meta(ge=0, description="Of those that failed: subscriptions that are not known any more.")]
    dry_run: bool
    failures: list[str]
