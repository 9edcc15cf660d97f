"""Budgets that act: near the limit people are told, at the limit messages wait and starts are refused; no turn is ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from agentproxy.errors import BUDGET_SPENT, INVALID_REQUEST, Refusal
from agentproxy.features.permitting import Note
from agentproxy.model.budget import MEASURES, Account, Budget, Level, Spent, applying, level, period, subjects
from agentproxy.model.permission import may, require
from agentproxy.model.principal import Principal
from agentproxy.model.session import Session
from agentproxy.store import Store
from agentproxy.store import spending as rows

log = Logger()


class Budgets:
    """What was spent, in memory and in the store.

    :param tell: told of an account that is near its limit, at it, or lifted.
    :param note: keeps in the audit who lifted what.
    :param changed: called when something that was held may go on.
    :param now: the time, in UTC.
    """

    def __init__(
        self,
        store: Store,
        budgets: Sequence[Budget],
        tell: Callable[[str, dict[str, Any]], None],
        note: Note,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.changed: Callable[[], None] = lambda: None
        self._store, self._budgets, self._tell, self._now = store, tuple(budgets), tell, now
        self._note = note
        self._spent: dict[Account, Spent] = {}

    async def open(self) -> None:
        """Read what was spent in the present periods."""
        now = self._now()
        await self._store.run(
            lambda it: rows.remove_before(it, (period("day", now), period("month", now))), writes=True
        )
        self._spent = {one.account: one for one in await self._store.run(rows.read_all)}

    @property
    def of_turns(self) -> bool:
        """Return whether any budget limits turns."""
        return any(one.measure == "turns" for one in self._budgets)

    def held(self, session: Session, typing: Sequence[Session] = ()) -> str:
        """Return why the session's messages wait, or nothing.

        :param typing: sessions whose turn begins and is not counted yet.
        """
        for measure in ("turns", "minutes"):
            found = self._levels(session.id, session.owner, session.team_id, measure)
            for one in _with(found, typing if measure == "turns" else ()):
                if one.state == "spent":
                    return one.sentence()
        return ""

    def check_start(self, owner: str, team: str | None, beginning: Sequence[Session] = ()) -> None:
        """Check that another session may start.

        :param beginning: sessions whose start is not counted yet.
        :raises Refusal: BUDGET_SPENT.
        """
        for one in _with(self._levels(None, owner, team, "starts"), beginning):
            if one.state == "spent":
                raise Refusal(BUDGET_SPENT, one.sentence())

    def spend(self, session: Session, measure: str, amount: int) -> None:
        """Count something of a session: turns, starts, or seconds of work as ``minutes``."""
        paying = subjects(session.id, session.owner, session.team_id)
        for account, limit in applying(self._budgets, paying, measure, self._now()):
            before = level(account, limit, self._spent).state
            self._add(account, amount)
            after = level(account, limit, self._spent)
            if after.state and after.state != before:
                self._say(session.id, after, after.state)

    async def lift(self, caller: Principal, subject: str, measure: str, amount: int) -> Level:
        """Give an account more for its present period.

        :param subject: ``session ID``, ``user NAME`` or ``team NAME``.
        :raises Refusal: FORBIDDEN, or INVALID_REQUEST when no budget is on that account.
        """
        require(caller, "admin.settings")
        found = applying(self._budgets, [subject], measure, self._now())
        if measure not in MEASURES or not found:
            raise Refusal(INVALID_REQUEST, f"there is no budget of {measure} for {subject}")
        for account, _limit in found:
            await self._store.run(lambda it, to=account: rows.add(it, to, 0, amount), writes=True)  # type: ignore[misc]
            known = self._spent.get(account, Spent(account))
            self._spent[account] = Spent(account, known.amount, known.lifted + amount)
        account, limit = found[0]
        now = level(account, limit, self._spent)
        session_id = subject.partition(" ")[2] if subject.startswith("session ") else ""
        self._say(session_id, now, "lifted")
        facts = {"subject": subject, "measure": measure, "amount": amount, "limit": now.limit}
        self._note(caller, "budget.lift", session_id or None, True, "admin.settings", facts)
        self.changed()
        return now

    def levels(self, caller: Principal) -> list[Level]:
        """Return the accounts that something was spent on and that the caller may see: its own, its teams', or all."""
        everybody = may(caller, "admin.settings")
        mine = {f"user {caller.user_id}", *(f"team {team}" for team in caller.teams)}
        now, found = self._now(), []
        for subject in sorted({account.subject for account in self._spent} | mine):
            if everybody or subject in mine:
                for measure in MEASURES:
                    found += [
                        level(one, limit, self._spent)
                        for one, limit in applying(self._budgets, [subject], measure, now)
                    ]
        return found

    def of_session(self, session: Session) -> list[Level]:
        """Return the accounts that a session pays from."""
        return [
            one for measure in MEASURES for one in self._levels(session.id, session.owner, session.team_id, measure)
        ]

    def _levels(self, session_id: str | None, owner: str, team: str | None, measure: str) -> list[Level]:
        if not self._budgets:
            return []
        found = applying(self._budgets, subjects(session_id, owner, team), measure, self._now())
        return [level(account, limit, self._spent) for account, limit in found]

    def _add(self, account: Account, amount: int) -> None:
        known = self._spent.get(account, Spent(account))
        self._spent[account] = Spent(account, known.amount + amount, known.lifted)
        done = Deferred.fromCoroutine(self._store.run(lambda it: rows.add(it, account, amount), writes=True))
        done.addErrback(
            lambda failure: log.failure("What {account} spent could not be kept", failure, account=account.subject)
        )

    def _say(self, session_id: str, now: Level, state: str) -> None:
        facts = {
            "subject": now.account.subject if not now.account.subject.startswith("session ") else "session",
            "measure": now.account.measure,
            "used": now.used,
            "limit": now.limit,
            "state": state,
        }
        self._tell(session_id, facts)


def _with(levels: Sequence[Level], sessions: Sequence[Session]) -> list[Level]:
    """Return levels with one more used for each session that pays from them."""
    paying = [subject for one in sessions for subject in subjects(one.id, one.owner, one.team_id)]
    return [replace(one, used=one.used + paying.count(one.account.subject)) for one in levels]
