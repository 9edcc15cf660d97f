"""Waits: one question to a session, answered when it is true, when it cannot become true any more, or at a deadline."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeadlineError
from twisted.internet.interfaces import IReactorTime

from agentproxy.features.looking import Shown, VisibleSessions
from agentproxy.features.reading import page
from agentproxy.features.streaming import Streams, Wanted
from agentproxy.model.event import AGENT_STATUS, MESSAGE, SESSION_DELETED, SESSION_ENDED, Event
from agentproxy.model.principal import Principal
from agentproxy.model.session import AgentStatus, Phase
from agentproxy.store import Store

ATTENTION = "attention"
APPROVAL = "approval"
_PHASES = ("queued", "starting", "ready", "stopping", "ended", "restarted", "adopted", "deleted")
STATUS_KINDS = frozenset({AGENT_STATUS, *(f"session.{name}" for name in _PHASES)})


class Until(Enum):
    """What a wait can be for."""

    STABLE = "stable"
    ENDED = "ended"
    MESSAGE = "message"
    ATTENTION = "attention"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a wait came to.

    :param reached: whether it is so; without it the deadline passed, or the session ended first.
    :param event: what made it so, None when it was so already.
    """

    reached: bool
    shown: Shown
    event: Event | None = None


def status_of(event: Event) -> str:
    """Return the one word that the peers' streams of statuses have for an event: ``running``, ``stable`` or the phase."""
    if event.kind == AGENT_STATUS:
        return str(event.data.get("status", ""))
    words = {"session.restarted": "queued", "session.adopted": "ready"}
    return words.get(event.kind, event.kind.removeprefix("session."))


class Waits:
    """See the module.

    :param clock: the reactor, or a Clock.
    """

    def __init__(self, store: Store, sessions: VisibleSessions, streams: Streams, clock: IReactorTime) -> None:
        self._store, self._sessions, self._streams, self._clock = store, sessions, streams, clock

    async def until(
        self, caller: Principal, session_id: str, until: Until, after: int | None, seconds: float
    ) -> Answer:
        """Wait until it is so.

        :param after: for messages and attention, the cursor behind which one has to come; None is now. A person who is
            wanted already is not waited for.
        :raises Refusal: SESSION_NOT_FOUND, also when the session is deleted meanwhile.
        """
        cursor = await self._store.last_event_number()
        shown = await self._sessions.get(caller, session_id)
        if self._is_so(shown, until) or self._is_over(shown):
            if until in (Until.STABLE, Until.ENDED) or after is None:
                return Answer(self._is_so(shown, until), shown)
            seconds = 0
        deadline = self._clock.seconds() + seconds
        where = cursor if after is None or until in (Until.STABLE, Until.ENDED) else after
        while True:
            wanted = Wanted(session_id, self._kinds(until))
            left = max(deadline - self._clock.seconds(), 0)
            found = await page(self._streams, caller, wanted, where, 100, left, self._clock)
            where = found.cursor
            shown = await self._sessions.get(caller, session_id)
            event = next((one for one in found.events if self._fits(one, until)), None)
            if event is not None or self._is_so(shown, until):
                return Answer(True, shown, event)
            if self._is_over(shown) or self._clock.seconds() >= deadline:
                return Answer(False, shown)

    @staticmethod
    def _kinds(until: Until) -> frozenset[str]:
        wanted = {
            Until.STABLE: {AGENT_STATUS},
            Until.ENDED: set[str](),
            Until.MESSAGE: {MESSAGE},
            Until.ATTENTION: {ATTENTION, APPROVAL},
        }[until]
        return frozenset({*wanted, SESSION_ENDED, SESSION_DELETED})

    @staticmethod
    def _fits(event: Event, until: Until) -> bool:
        """Return whether an event is what was waited for, whatever has happened since."""
        if until is Until.MESSAGE:
            return event.kind == MESSAGE and event.data.get("role") == "agent"
        if until is Until.STABLE:
            return event.kind == AGENT_STATUS and event.data.get("status") == AgentStatus.STABLE.value
        if until is Until.ENDED:
            return event.kind == SESSION_ENDED
        wanted = event.kind == ATTENTION and event.data.get("wanted")
        return bool(wanted) or (event.kind == APPROVAL and event.data.get("state") == "waiting")

    @staticmethod
    def _is_so(shown: Shown, until: Until) -> bool:
        if until is Until.STABLE:
            return shown.agent_status is AgentStatus.STABLE
        if until is Until.ATTENTION:
            return shown.attention is not None and shown.attention.wanted
        return until is Until.ENDED and shown.session.phase is Phase.ENDED

    @staticmethod
    def _is_over(shown: Shown) -> bool:
        return shown.session.phase is Phase.ENDED

    async def status(self, caller: Principal, seconds: float) -> Event | None:
        """Return the next change of the status of a session that the caller may see, or None at the deadline."""
        cursor = await self._store.last_event_number()
        found = await page(self._streams, caller, Wanted(None, STATUS_KINDS), cursor, 1, seconds, self._clock)
        return found.events[0] if found.events else None

    async def messages(
        self, caller: Principal, session_id: str, since: datetime | None, seconds: float
    ) -> datetime | None:
        """Return when a message was new or revised after *since*, or None at the deadline.

        :param since: None is now.
        :raises Refusal: SESSION_NOT_FOUND.
        """
        await self._sessions.permitted(caller, session_id, "session.read")
        since = since or datetime.now(UTC)
        changed: Deferred[None] = Deferred()

        def revised(which: str) -> None:
            if which == session_id and not changed.called:
                changed.callback(None)

        forget = self._store.on_revision(revised)  # before the first look, so that no change falls between
        try:
            last = await self._store.last_message_change(session_id)
            if last is not None and last > since:
                return last
            await changed.addTimeout(seconds, self._clock)
            return await self._store.last_message_change(session_id)
        except DeadlineError:
            return None
        finally:
            forget()
