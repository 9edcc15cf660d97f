"""Who has access to a session, and who tried what: links, grants, the audit."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from agentproxy.web.bounds import Count, Limit


class Share(Struct, forbid_unknown_fields=True):
    """The link to a session."""

    token: str
    session_id: str
    share_url: str
    access: Literal["read", "write"]
    created_at: datetime
    expires_at: datetime | None
    created_by: str | UnsetType = UNSET
    is_expired: bool | UnsetType = UNSET


class Done(Struct, forbid_unknown_fields=True):
    """What was done to a session."""

    message: str
    session_id: str | UnsetType = UNSET


class Grant(Struct, forbid_unknown_fields=True):
    """A session shared with somebody."""

    session_id: str
    grantee: str
    access: Literal["read", "write"]


class Access(Struct, forbid_unknown_fields=True):
    """With whom a session is shared, and what a user could do to it."""

    session_id: str
    grants: list[Grant]
    access: list[dict[str, Any]]


class AccessQuery(Struct):
    """Whom to look at."""

    user: str | UnsetType = UNSET


class AuditQuery(Struct):
    """Which entries."""

    after: Count = 0
    limit: Limit = 100
    session_id: str | UnsetType = UNSET
    actor: str | UnsetType = UNSET


class AuditEntry(Struct, forbid_unknown_fields=True):
    """Who tried what, from where, and whether it was allowed."""

    number: Count
    time: datetime
    actor: str
    source: str
    credential: str
    address: str
    verb: str
    session_id: str | None
    allowed: bool
    reason: str
    facts: dict[str, Any]
    hash: str


class Audit(Struct, forbid_unknown_fields=True):
    """A page of the audit."""

    entries: list[AuditEntry]
