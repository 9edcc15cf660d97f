"""The shapes of answers and queries, for the OpenAPI document; bodies of requests have theirs beside the routes that read them.

The suite holds every JSON answer that it gets against these.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

Count = Annotated[int, Meta(ge=0)]
Limit = Annotated[int, Meta(ge=1, le=1000, description="How many at most.")]
Cursor = Annotated[
    str,
    Meta(description="The number of the last event that the reader has, or latest.", pattern="^([0-9]{1,18}|latest)$"),
]
Seconds = Annotated[float, Meta(ge=0)]


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


class Choice(Struct, forbid_unknown_fields=True):
    """One way to answer."""

    name: str
    label: str


class Approval(Struct, forbid_unknown_fields=True):
    """Something that an agent asks leave for."""

    approval_id: str
    session_id: str
    state: str
    subject: str
    prompt: str
    choices: list[Choice]
    created_at: datetime
    expires_at: datetime | None
    answered_at: datetime | None
    answer: str | None
    by: str | None
    reason: str | None
    agent: str | UnsetType = UNSET
    user_id: str | UnsetType = UNSET


class Approvals(Struct, forbid_unknown_fields=True):
    """Approvals, oldest first."""

    approvals: list[Approval]


class OfSessionQuery(Struct):
    """Of which session."""

    session_id: str | UnsetType = UNSET


class LimitQuery(Struct):
    """How many."""

    limit: Limit = 100


class Rule(Struct, forbid_unknown_fields=True):
    """What answers approvals of its own."""

    rule_id: str
    owner: str | None
    command: str
    answer: Literal["allow", "deny"]
    agent: str | None
    repository: str | None
    until: datetime | None


class Rules(Struct, forbid_unknown_fields=True):
    """The rules that answer for the caller."""

    rules: list[Rule]


class Removed(Struct, forbid_unknown_fields=True):
    """A rule that was removed."""

    rule_id: str
    status: Literal["removed"]


class Level(Struct, forbid_unknown_fields=True):
    """How a budget stands."""

    subject: str
    measure: Literal["turns", "minutes", "starts"]
    period: str
    used: float
    limit: float
    state: str


class Levels(Struct, forbid_unknown_fields=True):
    """How budgets stand."""

    budgets: list[Level]


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


class LoginType(Struct, forbid_unknown_fields=True):
    """One way to be known."""

    type: str
    name: str
    available: bool


class LoginTypes(Struct, forbid_unknown_fields=True):
    """How one can be known."""

    enabled: bool
    types: list[LoginType]


class LoginStatus(Struct, forbid_unknown_fields=True):
    """Who the caller is."""

    authenticated: bool
    auth_type: str | UnsetType = UNSET
    user_id: str | UnsetType = UNSET
    role: str | UnsetType = UNSET
    permissions: list[str] | UnsetType = UNSET
    scopes: list[str] | UnsetType = UNSET
    teams: list[str] | UnsetType = UNSET
    github_user: dict[str, Any] | UnsetType = UNSET


class UserInfo(Struct, forbid_unknown_fields=True):
    """The caller's name and teams."""

    username: str
    teams: list[str]


class Token(Struct, forbid_unknown_fields=True):
    """An API token; the secret itself is there once."""

    id: str
    name: str
    owner: str
    scopes: list[str] | None
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    token: str | UnsetType = UNSET
    revoked_at: datetime | UnsetType | None = UNSET


class Tokens(Struct, forbid_unknown_fields=True):
    """API tokens."""

    tokens: list[Token]


class KnownLogin(Struct, forbid_unknown_fields=True):
    """A log-in, by its id, which opens nothing."""

    id: str
    owner: str
    provider: str
    role: str
    created_at: datetime
    expires_at: datetime


class KnownLogins(Struct, forbid_unknown_fields=True):
    """Log-ins."""

    logins: list[KnownLogin]


class OwnerQuery(Struct):
    """Whose tokens or log-ins; `*` is everybody's."""

    owner: str | UnsetType = UNSET


class Account(Struct, forbid_unknown_fields=True):
    """An account of a user or a service."""

    name: str
    kind: Literal["user", "service"]
    role: str
    permissions: list[str]
    teams: list[str]
    created_at: datetime
    created_by: str
    login: Literal["", "github", "oidc"]
    disabled: bool


class Accounts(Struct, forbid_unknown_fields=True):
    """Accounts."""

    accounts: list[Account]


class Authorize(Struct, forbid_unknown_fields=True):
    """Where a person goes to log in."""

    auth_url: str
    state: str


class Login(Struct, forbid_unknown_fields=True):
    """A log-in."""

    session_id: str
    access_token: str
    token_type: Literal["Bearer"]
    expires_at: datetime
    user: dict[str, Any]


class LogoutQuery(Struct):
    """Which log-in, where the header and the cookie are missing."""

    session_id: str | UnsetType = UNSET


class PushKeys(Struct, forbid_unknown_fields=True):
    """A browser's keys."""

    p256dh: str
    auth: str


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


class Alive(Struct, forbid_unknown_fields=True):
    """The server answers."""

    status: Literal["ok"]


class Readiness(Struct, forbid_unknown_fields=True):
    """Whether everything that the server depends on can be used."""

    status: Literal["ready", "not ready"]
    checks: dict[str, str | None]


__all__ = [name for name, value in vars().items() if isinstance(value, type) and issubclass(value, msgspec.Struct)]
