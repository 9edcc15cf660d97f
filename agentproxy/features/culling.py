"""Ending sessions that nobody uses: idle ones, old ones, and the records of ended ones, each after a warning in its events.

Activity is a message, an answer or a key; an open browser tab is none. An agent that works, waits for a person or has messages to
type is not idle. A session's user goes before its agent, and that before what holds for all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from agentproxy.errors import Refusal
from agentproxy.features.attending import Attendant, House
from agentproxy.model.session import EndReason, Phase, Session
from agentproxy.store import Store
from agentproxy.store.culling import ended_before

log = Logger()

EVERY = 5.0
"""Seconds between two looks at the living sessions."""
ENDED_EVERY = 300.0
"""Seconds between two looks at the ended ones."""
AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Patience:
    """How long sessions may live, in seconds; 0 is without end, None leaves it to the next wider rule."""

    idle: float | None = None
    age: float | None = None
    ended: float | None = None


@dataclass(frozen=True, slots=True)
class CullingTerms:
    """The patience with everybody's sessions, by agent and by user; *warning* is how long before an end it is told."""

    general: Patience = field(default_factory=Patience)
    agents: Mapping[str, Patience] = field(default_factory=dict)
    users: Mapping[str, Patience] = field(default_factory=dict)
    warning: float = 60.0

    def of(self, owner: str, agent: str) -> Patience:
        """Return the patience with the sessions of a user and an agent."""
        found: dict[str, float | None] = {}
        for name in ("idle", "age", "ended"):
            rules = (self.users.get(owner), self.agents.get(agent), self.general)
            values = (getattr(rule, name) for rule in rules if rule is not None)
            found[name] = next((value for value in values if value is not None), None) or None
        return Patience(**found)


@dataclass(frozen=True, slots=True)
class Due:
    """When a session ends by itself, and why: ``idle`` or ``max_age``."""

    at: datetime
    reason: str
    sentence: str


def due(session: Session, active: datetime, is_idle: bool, patience: Patience) -> Due | None:
    """Return when a living session ends by itself, the sooner of its ends, or None.

    :param active: when something real happened last.
    """
    found = []
    if patience.idle is not None and is_idle:
        sentence = f"nothing happened for {patience.idle:g} s"
        found.append(Due(active + timedelta(seconds=patience.idle), "idle", sentence))
    if patience.age is not None:
        sentence = f"it has lived for {patience.age:g} s"
        found.append(
            Due((session.ready_at or session.created_at) + timedelta(seconds=patience.age), "max_age", sentence)
        )
    return min(found, key=lambda one: one.at, default=None)


def _told(end: Due) -> str:
    """Return what tells one warning from another."""
    return f"{end.reason} {end.at.isoformat()}"


class Culler:
    """Looks at the sessions from time to time.

    :param delete: takes an ended session from the lists.
    """

    def __init__(
        self,
        house: House,
        store: Store,
        terms: CullingTerms,
        delete: Callable[[str], Awaitable[Any]],
        clock: IReactorTime,
    ) -> None:
        self._house, self._store, self._terms, self._delete = house, store, terms, delete
        self._living, self._ended = LoopingCall(self.look), LoopingCall(self.look_at_ended)
        self._living.clock = self._ended.clock = clock

    def start(self) -> None:
        """Begin to look."""
        for call, every in ((self._living, EVERY), (self._ended, ENDED_EVERY)):
            call.start(every, now=False).addErrback(lambda failure: log.failure("Culling has failed", failure))

    def stop(self) -> None:
        """Look no more; twice does no harm."""
        for call in (self._living, self._ended):
            if call.running:
                call.stop()

    def look(self) -> None:
        """Warn and end living sessions whose time has come."""
        now = datetime.now(UTC)
        for one in self._house.all():
            try:
                self._look_at(one, now)
            except Exception:
                log.failure("Session {session} could not be culled", session=one.record.id)

    def _look_at(self, one: Attendant, now: datetime) -> None:
        session = one.record
        if session.phase is not Phase.READY:
            return
        end = due(session, one.active, one.is_idle, self._terms.of(session.owner, session.agent))
        if end is None or end.at - now > timedelta(seconds=self._terms.warning):
            one.warned = ""
        elif end.at > now or one.warned != _told(
            end
        ):  # one that is due since the last look is told before its end as well
            self._warn(one, end, now)
        else:
            one.living.stop(EndReason.EXPIRED, end.sentence).addErrback(
                lambda failure: log.failure("An expired session could not be stopped", failure)
            )

    def _warn(self, one: Attendant, end: Due, now: datetime) -> None:
        if one.warned != _told(end):
            one.warned = _told(end)
            seconds = max(0.0, round((end.at - now).total_seconds(), 1))
            one.living.tell("session.expiring", {"reason": end.reason, "at": end.at.isoformat(), "seconds": seconds})

    def look_at_ended(self) -> Deferred[None]:
        """Take ended sessions from the lists whose time is over."""
        return Deferred.fromCoroutine(self._look_at_ended()).addErrback(
            lambda failure: log.failure("Ended sessions could not be culled", failure)
        )

    async def _look_at_ended(self) -> None:
        kept = [one.ended for one in (self._terms.general, *self._terms.agents.values(), *self._terms.users.values())]
        shortest = min((one for one in kept if one), default=None)
        if shortest is None:
            return
        now = datetime.now(UTC)
        cut, sealer = now - timedelta(seconds=shortest), self._store.sealer
        for session in await self._store.run(lambda it: ended_before(it, cut, AT_ONCE, sealer)):
            patience = self._terms.of(session.owner, session.agent).ended
            if patience is not None and session.ended_at and now - session.ended_at >= timedelta(seconds=patience):
                await self._remove(session)

    async def _remove(self, session: Session) -> None:
        try:
            await self._delete(session.id)
        except Refusal as refusal:
            log.info("Ended session {session} stays: {why}", session=session.id, why=str(refusal))
