"""Incarnations begin and end here: a session's next one never before the one before it has ended.

Promises: a life begins when its record is committed, whoever waits for it; nothing begins while the server shuts down.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar
from weakref import WeakValueDictionary

from twisted.internet.defer import Deferred, DeferredLock, gatherResults
from twisted.internet.defer import TimeoutError as DeadlineError
from twisted.logger import Logger

from agentproxy.errors import SESSION_NOT_FOUND, SHUTTING_DOWN, START_FAILED, Refusal
from agentproxy.features.detached import detached, refusal_logged
from agentproxy.features.living import LivingSession
from agentproxy.features.roll import Roll
from agentproxy.model.event import NewEvent
from agentproxy.model.principal import SERVER, Principal
from agentproxy.model.session import Ending, EndReason, Phase, Session
from agentproxy.model.start import StartRequest
from agentproxy.runtime.output import OutputLog
from agentproxy.store import Store, StoreError

log = Logger()
T = TypeVar("T")

FATE_WITHIN = 5.0
"""Seconds that the fate of a first message is waited for when its session has ended."""


class Recipes(Protocol):
    """Turns a wish into what a session is made of; refuses what cannot be (``features/making.py``)."""

    def check(self, principal: Principal, wish: StartRequest) -> tuple[str, Mapping[str, Any]]:
        """Return the agent's name and the options to keep in the record.

        :raises Refusal: something in the wish is not allowed or does not exist.
        """

    def check_again(self, session: Session) -> None:
        """Check whether a session could be started again now.

        :raises Refusal: it could not.
        """

    def give_life(self, session: Session, wish: StartRequest, principal: Principal, resume: bool) -> LivingSession:
        """Return a living session, not started yet."""

    def output(self, session_id: str) -> OutputLog:
        """Return the log of what a session's agent servers print."""

    async def clear(self, session_id: str) -> None:
        """Remove the session's directory; what cannot be removed is logged."""


def wish_again(session: Session) -> StartRequest:
    """Return the wish that makes the session's next incarnation: as the first one, without a first message.

    :raises Refusal: START_FAILED, the key that its environment is sealed with is lost.
    """
    options = session.options
    try:
        environment = dict(session.environment)
    except StoreError as error:
        raise Refusal(START_FAILED, f"its environment cannot be read: {error}", session.id) from error
    return StartRequest(
        user_id=session.owner,
        agent=session.agent,
        command=tuple(options.get("command") or ()) or None,
        environment=environment,
        tags=session.tags,
        repository=options.get("repository"),
        env_file=options.get("env_file"),
        script=options.get("script"),
    )


class Incarnations:
    """The lives of all sessions.

    :ivar roll: the sessions that live, and those that have ended since the start.
    """

    def __init__(self, store: Store, recipes: Recipes, roll: Roll) -> None:
        self.roll = roll
        self._store = store
        self._recipes = recipes
        self._turns: WeakValueDictionary[str, DeferredLock] = WeakValueDictionary()
        self._closing = False

    def check_open(self) -> None:
        """Refuse while the server shuts down.

        :raises Refusal: SHUTTING_DOWN.
        """
        if self._closing:
            raise Refusal(SHUTTING_DOWN)

    async def alone(self, session_id: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do what begins a session's next life or takes it away: one at a time, or a deleted session would live on."""
        turn = self._turns.setdefault(session_id, DeferredLock())
        done: T = await turn.run(lambda: Deferred.fromCoroutine(work()))
        return done

    async def record(self, session_id: str) -> Session:
        """Return the record of a session as it is now.

        :raises Refusal: SESSION_NOT_FOUND, also when it was deleted.
        """
        known = self.roll.known(session_id)
        session = known.record if known else await self._store.session(session_id)
        if session is None or session.deleted_at is not None:
            raise Refusal(SESSION_NOT_FOUND, session_id=session_id)
        return session

    # -- beginning

    async def begin_first(
        self, session: Session, wish: StartRequest, principal: Principal, facts: Mapping[str, Any]
    ) -> LivingSession:
        """Begin the first incarnation of a session that is not recorded yet.

        :param facts: of the event that it is queued.
        """
        living = self._recipes.give_life(session, wish, principal, resume=False)
        events = [NewEvent(session.id, "session.queued", session.created_at, dict(facts))]
        await self._begin(living, self._store.add_session(session, events))
        return living

    async def begin_next(
        self, principal: Principal, session_id: str, resume: bool, facts: Mapping[str, Any]
    ) -> LivingSession:
        """Begin the next incarnation of a session that has ended; to be done :meth:`alone`.

        :param resume: whether the agent is to continue its conversation.
        :param facts: of the event that it is restarted.
        """
        before = await self.record(session_id)
        now = datetime.now(UTC)
        changes: dict[str, Any] = {
            "incarnation": before.incarnation + 1,
            "phase": Phase.QUEUED,
            "ending": None,
            "ready_at": None,
            "ended_at": None,
            "updated_at": now,
        }
        told = {"incarnation": before.incarnation + 1, "resume": resume, **facts}
        events = [NewEvent(session_id, "session.restarted", now, told)]
        living = self._recipes.give_life(replace(before, **changes), wish_again(before), principal, resume=resume)
        await self._begin(living, self._store.change_session(session_id, changes, events))
        return living

    async def _begin(self, living: LivingSession, recorded: Awaitable[Any]) -> None:
        """Let a session live when its record is written; from then on it is the server's, whoever asked for it."""
        with self.roll.beginning(living.record):
            try:
                await recorded
                if living.on_recorded is not None:
                    await living.on_recorded()
            except BaseException:
                living.abandon()
                raise
        if self._closing:
            living.abandon()
            living.ended(Ending(EndReason.STOPPED, "the server shut down"))
            raise Refusal(SHUTTING_DOWN, session_id=living.record.id)
        self.roll.add(living)
        living.start()

    async def _without_resume(self, principal: Principal, living: LivingSession) -> None:
        """Begin the next incarnation of a session whose agent had nothing to continue."""
        session_id = living.record.id
        await living.committed()
        facts = {"reason": "the agent could not continue its conversation; it begins a new one"}

        async def again() -> None:
            if self.roll.get(session_id) is None:
                log.info("Session {session} starts again: {reason}", session=session_id, **facts)
                await self.begin_next(principal, session_id, False, facts)

        await self.alone(session_id, again)

    # -- ending

    async def end(self, session_id: str, sentence: str) -> None:
        """End a session's agent server, if it has one, and return when that is committed.

        :param sentence: why, for people.
        :raises Refusal: STORE_UNAVAILABLE, it has ended and that is not committed yet.
        """
        known = self.roll.known(session_id)
        if known is None:
            return
        if self.roll.get(session_id) is known:
            await known.stop(EndReason.STOPPED, sentence)
        await self._first_message_told(known)
        await known.written()
        known.check_committed()

    async def _first_message_told(self, living: LivingSession) -> None:
        """Wait until the life that was given a message has recorded its fate: the next one begins with the record as it is then."""
        told = living.first_message.told()
        if told is not None:
            with suppress(DeadlineError):  # the store cannot be read
                await told.addTimeout(FATE_WITHIN, self._store.clock)

    def ended(self, living: LivingSession) -> None:
        """Take note of an end; an agent that could not continue its conversation is started again without its resume arguments."""
        self.roll.ended(living)
        who = living.could_not_resume()
        if who is not None and not self._closing:
            detached(self._without_resume(who, living), "a start without resume arguments").addErrback(refusal_logged)

    # -- the server's own life

    def adopt(self, living: LivingSession) -> None:
        """Keep a session whose agent server an earlier server has started."""
        self.roll.add(living)

    async def go_on(self, session_id: str, resume: bool, reason: str) -> None:
        """Begin the next life of a session that the end of a server interrupted; how it goes is told as for any start.

        :raises Refusal: its agent, command or script is not allowed any more.
        """
        await self.alone(session_id, lambda: self.begin_next(SERVER, session_id, resume, {"reason": reason}))

    async def let_go(self) -> list[str]:
        """Refuse new starts and leave every session for the next server, those that are being ended excepted.

        :return: the ids of those that are left.
        """
        self._closing = True
        leaving = self.roll.living()
        await gatherResults([Deferred.fromCoroutine(living.let_go()) for living in leaving], consumeErrors=True)
        return [living.record.id for living in leaving if living.record.phase is not Phase.ENDED]

    def kill_all(self) -> None:
        """End every process at once, without grace."""
        for living in self.roll.living():
            if not living.left:
                living.kill()

    async def close(self) -> None:
        """Refuse new starts and end every session, in parallel."""
        self._closing = True
        ends = [Deferred.fromCoroutine(self.end(one.record.id, "the server shut down")) for one in self.roll.living()]
        await gatherResults(ends, consumeErrors=True)
