"""The ways of user messages, and who has the keyboard."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from agentproxy.web.bounds import Limit


class Delivery(Struct, forbid_unknown_fields=True):
    """The way of a user message."""

    delivery_id: str
    session_id: str
    state: Literal["accepted", "typing", "delivered", "answered", "refused", "expired", "withdrawn", "uncertain"]
    reason: str | None
    content: str
    sender: str
    at: Literal["turn-end", "interrupt"]
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None
    typed_at: datetime | None
    delivered_at: datetime | None
    answered_at: datetime | None
    message_id: int | None
    answer: str | None
    interrupted: bool | UnsetType = UNSET
    first: bool | UnsetType = UNSET
    oneshot: bool | UnsetType = UNSET


class Deliveries(Struct, forbid_unknown_fields=True):
    """A session's deliveries, and why they are held, if they are."""

    deliveries: list[Delivery]
    held: Any


class SendQuery(Struct):
    """How long a sender waits."""

    wait: Literal["accepted", "delivered", "answered"] = "accepted"
    timeout: Annotated[float, Meta(ge=0, le=3600)] = 60.0


class DeliveriesQuery(Struct):
    """Which deliveries; states with commas between them."""

    state: str | UnsetType = UNSET
    limit: Limit = 200


class Keyboard(Struct, forbid_unknown_fields=True):
    """Who has a session's keyboard, and for how long."""

    session_id: str
    holder: str | None
    seconds: float
