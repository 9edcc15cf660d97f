"""Answers to those who wait for something to happen."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from agentproxy.web.bounds import Cursor
from agentproxy.web.shapes.history import Event
from agentproxy.web.shapes.sessions import Session


class WaitQuery(Struct):
    """What to wait for, and how long."""

    until: Literal["stable", "ended", "message", "attention"] = "stable"
    timeout: Annotated[float, Meta(ge=0, le=300)] = 30.0
    after: Cursor | UnsetType = UNSET


class Waited(Struct, forbid_unknown_fields=True):
    """Whether what was waited for has come."""

    reached: bool
    until: Literal["stable", "ended", "message", "attention"]
    session: Session
    event: Event | None


class StatusChange(Struct):
    """A change of a session's status, or no events."""

    session_id: str | UnsetType = UNSET
    status: str | UnsetType = UNSET
    timestamp: datetime | UnsetType = UNSET
    events: list[Any] | UnsetType = UNSET


class StatusQuery(Struct):
    """How long to wait; what is no number from 1 to 60 is moved there."""

    timeout: str = "30"


class MessagesWaitQuery(Struct):
    """Since when, and how long to wait."""

    timeout: str = "30"
    since: Annotated[str, Meta(description="Milliseconds since 1970, or a time.")] | UnsetType = UNSET


class Updated(Struct, forbid_unknown_fields=True):
    """Whether something was said."""

    updated: bool
    session_id: str | UnsetType = UNSET
    timestamp: datetime | UnsetType = UNSET
