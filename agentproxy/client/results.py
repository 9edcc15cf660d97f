"""What the server's answers become. Unknown fields are left out, missing ones have defaults."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec


class Ending(msgspec.Struct, frozen=True):
    """How a session ended, and with what last lines."""

    message: str = ""
    reason: str = ""
    step: str | None = None
    exit_status: int | None = None
    signal: str | None = None
    output: tuple[str, ...] = ()


class Attention(msgspec.Struct, frozen=True):
    """What the agent does or waits for; ``wanted`` says whether a person should look."""

    kind: str = "unknown"
    wanted: bool = False
    line: str = ""
    action: str = ""
    until: datetime | None = None


class Session(msgspec.Struct, frozen=True):
    """A session as the server shows it.

    :ivar phase: queued, starting, ready, stopping or ended.
    :ivar status: active or inactive.
    :ivar agent_status: running or stable, None while nothing is known.
    """

    session_id: str
    user_id: str = ""
    status: str = ""
    phase: str = ""
    agent: str = ""
    agent_status: str | None = None
    started_at: datetime | None = None
    updated_at: datetime | None = None
    ended_at: datetime | None = None
    port: int = 0
    addr: str = ""
    tags: dict[str, str] = {}
    scope: str = "user"
    team_id: str | None = None
    description: str | None = None
    annotations: dict[str, str] = {}
    incarnation: int = 1
    queue_position: int | None = None
    ending: Ending | None = None
    attention: Attention | None = None
    agent_automatic: bool = False
    continued_from: str | None = None
    first_message: dict[str, str] | None = None


class Page(msgspec.Struct, frozen=True):
    """Some sessions, newest first, and the cursor of the next page."""

    sessions: tuple[Session, ...] = ()
    next_cursor: str | None = None


class Message(msgspec.Struct, frozen=True):
    """One thing said; ``role`` is user or agent."""

    id: int
    role: str
    content: str
    time: datetime | None = None


class Event(msgspec.Struct, frozen=True):
    """One row of the journal; ``id`` is the cursor that a reader remembers."""

    id: int
    type: str
    time: datetime | None = None
    session_id: str | None = None
    data: dict[str, Any] = {}


class Delivery(msgspec.Struct, frozen=True):
    """The way of a user message: accepted, typing, delivered, answered, refused, expired, withdrawn or uncertain."""

    delivery_id: str
    state: str
    session_id: str = ""
    content: str = ""
    reason: str = ""
    sender: str = ""
    created_at: datetime | None = None
    message_id: int | None = None
    answer: str | None = None


class Choice(msgspec.Struct, frozen=True):
    """One way to answer an approval."""

    name: str
    label: str = ""


class Approval(msgspec.Struct, frozen=True):
    """Something that an agent asks leave for, with the choices that it offers."""

    approval_id: str
    session_id: str = ""
    state: str = ""
    subject: str = ""
    prompt: str = ""
    choices: tuple[Choice, ...] = ()
    answer: str | None = None
    by: str | None = None
    expires_at: datetime | None = None


class Share(msgspec.Struct, frozen=True):
    """The link to a session; whoever has it needs no key."""

    token: str
    session_id: str
    share_url: str
    access: str = "read"
    expires_at: datetime | None = None


class Token(msgspec.Struct, frozen=True):
    """An API token; ``token`` itself is there once, when it is made."""

    id: str
    name: str = ""
    owner: str = ""
    scopes: tuple[str, ...] | None = None
    token: str | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None


class AuditEntry(msgspec.Struct, frozen=True):
    """Who did what, from where, and whether it was allowed."""

    number: int
    time: datetime
    actor: str
    verb: str
    allowed: bool
    session_id: str | None = None
    address: str = ""
    reason: str = ""


class Rule(msgspec.Struct, frozen=True):
    """What answers approvals of its own."""

    rule_id: str
    command: str = ""
    answer: str = ""
    owner: str | None = None
    agent: str | None = None
    repository: str | None = None
    until: datetime | None = None


class Grant(msgspec.Struct, frozen=True):
    """A session shared with somebody, by ``read`` or ``write``."""

    grantee: str
    access: str


class Access(msgspec.Struct, frozen=True):
    """With whom a session is shared; ``access`` says of each verb whether it is allowed, and why."""

    session_id: str
    grants: tuple[Grant, ...] = ()
    access: tuple[dict[str, Any], ...] = ()


class Keyboard(msgspec.Struct, frozen=True):
    """Who types into a session, and for how many seconds more; ``holder`` is None when nobody does."""

    session_id: str
    holder: str | None = None
    seconds: float = 0.0


class Account(msgspec.Struct, frozen=True):
    """An account of a user or a service."""

    name: str
    kind: str = "user"
    role: str = ""
    permissions: tuple[str, ...] = ()
    teams: tuple[str, ...] = ()
    login: str = ""
    disabled: bool = False
    created_at: datetime | None = None
    created_by: str = ""


class Budget(msgspec.Struct, frozen=True):
    """How a budget stands; ``measure`` is turns, minutes or starts."""

    subject: str
    measure: str
    period: str = ""
    used: float = 0.0
    limit: float = 0.0
    state: str = ""


class PushSubscription(msgspec.Struct, frozen=True):
    """A browser that is told of what happens."""

    id: str
    endpoint: str
    user_id: str = ""
    username: str = ""
    session_ids: tuple[str, ...] = ()
    created_at: datetime | None = None
    last_used: datetime | None = None


class Notified(msgspec.Struct, frozen=True):
    """How many browsers a notification was for, and how many push services took it."""

    subscriptions: int
    sent: int = 0
    failed: int = 0
    removed: int = 0
    dry_run: bool = False
    failures: tuple[str, ...] = ()


class LoginKind(msgspec.Struct, frozen=True):
    """A way to log in."""

    type: str
    name: str = ""
    available: bool = True


class LogIn(msgspec.Struct, frozen=True):
    """A log-in in a browser."""

    id: str
    owner: str = ""
    provider: str = ""
    created_at: datetime | None = None
    expires_at: datetime | None = None
