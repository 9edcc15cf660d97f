"""What was said and what happened: messages, the log, the journal."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from agentproxy.web.bounds import Count, Cursor, Limit


class Message(Struct, forbid_unknown_fields=True):
    """One thing said."""

    id: int
    role: Literal["user", "agent"]
    content: str
    time: datetime
    final: bool | None


class Messages(Struct, forbid_unknown_fields=True):
    """A page of what was said."""

    messages: list[Message]
    more: bool


class MessagesQuery(Struct):
    """Which messages."""

    after: Count | UnsetType = UNSET
    limit: Limit = 200
    last: Annotated[int, Meta(ge=1, le=1000, description="The last so many.")] | UnsetType = UNSET
    q: Annotated[str, Meta(description="Words that must be in it.")] | UnsetType = UNSET


class ExportQuery(Struct):
    """In which form."""

    format: Literal["json", "markdown"] | UnsetType = UNSET


class LogQuery(Struct):
    """How much of a log."""

    bytes: Annotated[int, Meta(ge=1, le=8_388_608)] = 65_536
    lines: Annotated[int, Meta(ge=0, le=1_000_000)] | UnsetType = UNSET
    follow: Annotated[bool, Meta(description="Go on while it grows.")] = False


class Event(Struct, forbid_unknown_fields=True):
    """One row of the journal; docs/events.md has the types and their data."""

    id: Count
    session_id: str | None
    type: str
    time: datetime
    data: dict[str, Any]


class Events(Struct, forbid_unknown_fields=True):
    """A page of the journal."""

    events: list[Event]
    cursor: Count


class EventsQuery(Struct):
    """Which events; with ``wait`` or ``limit`` a page, else a stream."""

    after: Cursor | UnsetType = UNSET
    limit: Limit | UnsetType = UNSET
    wait: Annotated[float, Meta(ge=0, le=60)] | UnsetType = UNSET
    types: Annotated[str, Meta(description="Types, with commas; `message.*` is all that begin so.")] | UnsetType = UNSET
