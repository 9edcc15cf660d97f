"""What a list of sessions is asked for and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from agentproxy.model.session import Session


class Listed(Enum):
    """Which sessions a list shows: those queued to stopping, those ended, or both."""

    ACTIVE = "active"
    INACTIVE = "inactive"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class VisibleTo:
    """Whose eyes a list is for: own sessions, those of scope ``team`` of the teams, those shared, and single ones.

    :param user_id: owner of the own sessions; None sees no own ones.
    :param teams: teams as ``org/slug``.
    :param grantees: ``user:NAME`` and ``team:ORG/SLUG`` whose grants count.
    :param ids: sessions by id.
    """

    user_id: str | None
    teams: frozenset[str] = field(default_factory=frozenset)
    grantees: frozenset[str] = field(default_factory=frozenset)
    ids: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class SessionQuery:
    """One page of the list of sessions, newest first; deleted ones are never in it.

    :param tags: every one of them must be on the session with this value.
    :param limit: sessions a page, at least 1.
    :param cursor: the ``cursor`` of the page before, None for the first page.
    :param visible_to: only what all of these see; empty shows the sessions of everybody.
    """

    user_id: str | None = None
    status: Listed = Listed.ALL
    tags: Mapping[str, str] = field(default_factory=dict)
    agent: str | None = None
    scope: str | None = None
    team_id: str | None = None
    limit: int = 100
    cursor: str | None = None
    visible_to: tuple[VisibleTo, ...] = ()


@dataclass(frozen=True, slots=True)
class SessionPage:
    """One page; ``cursor`` leads to the next one and is None on the last."""

    sessions: tuple[Session, ...]
    cursor: str | None = None
