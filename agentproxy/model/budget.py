"""Budgets: how much a session, a user or a team may spend, and what that means now. Pure rules.

An account is a subject (``session ID``, ``user NAME``, ``team ORG/SLUG``), a measure and a period. A budget that is spent holds
the queue of messages or refuses a start; it never ends a turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

MEASURES = ("turns", "minutes", "starts")
NEAR = 0.8
"""The share of a limit at which people are told."""


@dataclass(frozen=True, slots=True)
class Budget:
    """One limit.

    :param subject: ``session``, ``user`` or ``team``: one such limit for each; or with a name (``user alice``) for that one.
    :param measure: a row of :data:`MEASURES`; minutes are those in which an agent works.
    :param per: ``day``, ``month`` (UTC) or ``all`` for a whole life.
    """

    subject: str
    measure: str
    limit: int
    per: str = "all"


@dataclass(frozen=True, slots=True)
class Account:
    """What spending is counted on; ``period`` is ``2030-01-31``, ``2030-01`` or ``all``."""

    subject: str
    measure: str
    period: str


@dataclass(frozen=True, slots=True)
class Spent:
    """What was spent on an account, and by how much its limit was lifted. Minutes are kept as seconds."""

    account: Account
    amount: int = 0
    lifted: int = 0


@dataclass(frozen=True, slots=True)
class Level:
    """How an account stands; in whole units of its measure."""

    account: Account
    used: int
    limit: int

    @property
    def state(self) -> str:
        """Return ``spent``, ``near`` or nothing."""
        return "spent" if self.used >= self.limit else "near" if self.used >= NEAR * self.limit else ""

    def sentence(self) -> str:
        """Return why something is held."""
        when = {"all": ""}.get(self.account.period, f" of {self.account.period}")
        return (
            f"the budget of {self.account.subject} is spent: {self.used} of {self.limit} {self.account.measure}{when}"
        )


def period(per: str, now: datetime) -> str:
    """Return the period that *now* is in; *now* is UTC."""
    return {"day": now.strftime("%Y-%m-%d"), "month": now.strftime("%Y-%m")}.get(per, "all")


def subjects(session_id: str | None, owner: str, team: str | None) -> tuple[str, ...]:
    """Return the subjects that pay for what a session does."""
    named = (f"session {session_id}" if session_id else "", f"user {owner}", f"team {team}" if team else "")
    return tuple(filter(None, named))


def applying(
    budgets: Iterable[Budget], paying: Iterable[str], measure: str, now: datetime
) -> list[tuple[Account, int]]:
    """Return each account with its limit that something of *measure* is counted on; a named budget goes before a general one."""
    found: dict[Account, tuple[bool, int]] = {}
    for one in budgets:
        for subject in paying:
            named = one.subject == subject
            if one.measure != measure or not (named or one.subject == subject.partition(" ")[0]):
                continue
            account = Account(subject, measure, period(one.per, now))
            if account not in found or (named and not found[account][0]):
                found[account] = (named, one.limit)
    return [(account, limit) for account, (_named, limit) in found.items()]


def level(account: Account, limit: int, spent: Mapping[Account, Spent]) -> Level:
    """Return how an account stands."""
    known = spent.get(account, Spent(account))
    unit = 60 if account.measure == "minutes" else 1
    return Level(account, known.amount // unit, limit + known.lifted)
