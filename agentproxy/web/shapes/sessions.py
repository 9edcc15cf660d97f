"""Sessions: how one shows, a page of them, what was done to one."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from agentproxy.web.bounds import Count, Limit


class Ending(Struct, forbid_unknown_fields=True):
    """How a session ended."""

    message: str
    reason: Literal["stopped", "exited", "failed", "expired", "lost"]
    step: str | UnsetType = UNSET
    exit_status: int | UnsetType = UNSET
    signal: str | UnsetType = UNSET
    output: list[str] | UnsetType = UNSET


class Attention(Struct, forbid_unknown_fields=True):
    """What the agent does or waits for."""

    kind: str
    wanted: bool
    line: str
    action: str
    until: datetime | UnsetType = UNSET


class Session(Struct, forbid_unknown_fields=True):
    """A session."""

    session_id: str
    user_id: str
    status: Literal["active", "inactive"]
    phase: Literal["queued", "starting", "ready", "stopping", "ended"]
    agent: str
    agent_status: Literal["running", "stable"] | None
    started_at: datetime
    updated_at: datetime
    port: Count
    addr: str
    tags: dict[str, str]
    scope: Literal["user", "team"]
    team_id: str | None
    description: str | None
    annotations: dict[str, str]
    incarnation: Annotated[int, Meta(ge=1)]
    agent_automatic: bool
    attention: Attention | UnsetType = UNSET
    continued_from: str | UnsetType = UNSET
    first_message: dict[str, Any] | UnsetType = UNSET
    queue_position: Annotated[int, Meta(ge=1)] | UnsetType = UNSET
    ended_at: datetime | UnsetType | None = UNSET
    ending: Ending | UnsetType = UNSET


class Started(Struct, forbid_unknown_fields=True):
    """A session that was started."""

    session_id: str
    session: Session


class Sessions(Struct, forbid_unknown_fields=True):
    """A page of sessions, newest first."""

    sessions: list[Session]
    next_cursor: str | None


class Terminated(Struct, forbid_unknown_fields=True):
    """A session that was deleted."""

    message: str
    session_id: str
    status: Literal["terminated"]


class Interrupted(Struct, forbid_unknown_fields=True):
    """An agent whose interrupt keys were pressed."""

    session_id: str
    status: Literal["interrupted"]


class StartQuery(Struct):
    """How long a start waits."""

    wait: Literal["none", "listening", "stable"] = "listening"
    user_id: str | UnsetType = UNSET


class SearchQuery(Struct):
    """Which sessions; ``tag.KEY`` filters by a label."""

    user_id: str | UnsetType = UNSET
    status: Literal["active", "inactive", "all"] = "all"
    agent: str | UnsetType = UNSET
    limit: Limit = 100
    cursor: str | UnsetType = UNSET
