"""The permission decision on sessions: pure rule, grants in memory, rates, and a note in the audit, in one place.

Everything that touches a session passes through :meth:`Permits.refusal`; nothing here waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from agentproxy.errors import FORBIDDEN, TOO_MANY_REQUESTS, TOO_MANY_SESSIONS, Refusal
from agentproxy.model import permission
from agentproxy.model.audit import Attempt
from agentproxy.model.permission import Grant
from agentproxy.model.principal import Principal
from agentproxy.model.rate import Rate, Rates
from agentproxy.model.session import Session
from agentproxy.model.start import StartRequest

_SELDOM = frozenset({"session.list", "session.read"})
"""Verbs that the owner does all day: noted only when somebody else does them, or when refused."""


Note = Callable[[Principal, str, str | None, bool, str, Mapping[str, object]], None]
"""Keeps in the audit: who, the verb, the session if it is about one, allowed, the reason, facts."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """How much one principal may do; None is no limit.

    :param sessions: that live at the same time.
    """

    starts: Rate | None = None
    messages: Rate | None = None
    sessions: int | None = None


class Permits:
    """Decides, counts and notes.

    :param note: keeps an attempt; must not fail nor wait.
    :param now: monotonic seconds.
    :ivar version: grows with every change of the grants.
    """

    def __init__(
        self,
        note: Callable[[Attempt], None] = lambda _attempt: None,
        now: Callable[[], float] = lambda: 0.0,
        allowance: Allowance = Allowance(),
    ) -> None:
        self._note = note
        self._allowance = allowance
        self._starts = Rates(allowance.starts, now)
        self._messages = Rates(allowance.messages, now)
        self._grants: dict[str, tuple[Grant, ...]] = {}
        self.version = 0

    # -- grants

    def load(self, grants: Iterable[Grant]) -> None:
        """Know these grants and no others."""
        found: dict[str, list[Grant]] = {}
        for one in grants:
            found.setdefault(one.session_id, []).append(one)
        self._grants = {session_id: tuple(ones) for session_id, ones in found.items()}
        self.version += 1

    def grants_of(self, session_id: str) -> tuple[Grant, ...]:
        """Return the grants of a session."""
        return self._grants.get(session_id, ())

    # -- deciding

    def look(self, principal: Principal, verb: str, session: Session) -> Refusal | None:
        """Return why not, without a note or a count."""
        return permission.refusal(principal, verb, session, self.grants_of(session.id))

    def lets(self, principal: Principal, verb: str, session: Session) -> bool:
        """Return whether the principal may, and nothing is to be noted or counted: what owners and readers do all day."""
        if verb not in _SELDOM or (session.owner != principal.user_id and principal.source != "local"):
            return False
        return permission.refusal(principal, verb, session, self._grants.get(session.id, ())) is None

    def refusal(self, principal: Principal, verb: str, session: Session) -> Refusal | None:
        """Return why the principal may not do *verb* to the session now, None when it may; note it."""
        grants = self.grants_of(session.id)
        refused = permission.refusal(principal, verb, session, grants)
        if refused is None and verb == "session.message":
            refused = self._too_often(self._messages, principal, "messages")
        if refused is not None:
            self.note(principal, verb, session.id, False, str(refused))
        elif self.notes(principal, verb, session):
            self.note(principal, verb, session.id, True, permission.decide(principal, verb, session, grants).reason)
        return refused

    def notes(self, principal: Principal, verb: str, session: Session) -> bool:
        """Return whether it is noted that the principal may."""
        return verb not in _SELDOM or (session.owner != principal.user_id and principal.source != "local")

    def check_start(self, principal: Principal, wish: StartRequest, living: int, session_id: str) -> None:
        """Check a start: for oneself or with the permission for others, not too often, not too many.

        :param living: sessions of the owner-to-be that live now.
        :param session_id: of the session-to-be.
        :raises Refusal: FORBIDDEN, TOO_MANY_REQUESTS or TOO_MANY_SESSIONS.
        """
        refused = self._start_refusal(principal, wish, living)
        owner = wish.user_id or principal.user_id
        reason = "session.start" if refused is None else str(refused)
        self.note(principal, "session.start", session_id, refused is None, reason, owner=owner)
        if refused is not None:
            raise refused

    def _start_refusal(self, principal: Principal, wish: StartRequest, living: int) -> Refusal | None:
        if not permission.may(principal, "session.start"):
            return Refusal(FORBIDDEN, "this needs session.start")
        everywhere = permission.may(principal, "session.start", "all")
        if wish.user_id and wish.user_id != principal.user_id and not everywhere:
            return Refusal(FORBIDDEN, "You can only create sessions for yourself")
        if wish.scope == "team" and wish.team_id not in principal.teams and not everywhere:
            return Refusal(FORBIDDEN, f"You are not in the team {wish.team_id}")
        return self._allowance_refusal(principal, living)

    def _allowance_refusal(self, principal: Principal, living: int) -> Refusal | None:
        if self._allowance.sessions is not None and living >= self._allowance.sessions:
            return Refusal(TOO_MANY_SESSIONS, f"{living} of {self._allowance.sessions} live", retry_after=30.0)
        return self._too_often(self._starts, principal, "starts")

    def check_restart(self, principal: Principal, session: Session, living: int) -> None:
        """Check that one more life of a session is neither too often nor too many; the right to restart it is checked before.

        :param living: other sessions of its owner that live now.
        :raises Refusal: TOO_MANY_REQUESTS or TOO_MANY_SESSIONS.
        """
        refused = self._allowance_refusal(principal, living)
        if refused is not None:
            self.note(principal, "session.start", session.id, False, str(refused), owner=session.owner)
            raise refused

    def _too_often(self, rates: Rates, principal: Principal, what: str) -> Refusal | None:
        wait = rates.take(principal.user_id)
        return Refusal(TOO_MANY_REQUESTS, f"too many {what}", retry_after=wait) if wait else None

    def note(
        self, principal: Principal, verb: str, session_id: str | None, allowed: bool, reason: str, **facts: object
    ) -> None:
        """Note an attempt in the audit."""
        self._note(
            Attempt(
                datetime.now(UTC),
                principal.user_id,
                verb,
                allowed,
                reason,
                session_id,
                principal.source,
                principal.credential,
                principal.address,
                facts,
            )
        )
