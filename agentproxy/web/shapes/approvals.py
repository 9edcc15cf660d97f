"""Approvals, the rules that answer them, and budgets."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from agentproxy.web.bounds import Limit


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
