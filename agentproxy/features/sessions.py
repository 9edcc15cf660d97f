"""Sessions: started, looked at, changed, stopped and restarted. The one place where record, supervisor and observer meet.

Promises: what a caller was told with 2xx is committed; each phase is an event; a session that did not start says why.
What an id that does not exist gets and what an invisible one gets is the same refusal.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar
from weakref import WeakValueDictionary

from twisted.internet.defer import Deferred, DeferredLock, gatherResults
from twisted.logger import Logger

from agentproxy.errors import (
    SESSION_BUSY,
    SESSION_NOT_FOUND,
    SESSION_NOT_RUNNING,
    SHUTTING_DOWN,
    START_FAILED,
    Refusal,
)
from agentproxy.features.detached import detached, refusal_logged
from agentproxy.features.evening import Evening
from agentproxy.features.interrupting import interrupt
from agentproxy.features.living import LivingSession
from agentproxy.features.permitting import Permits
from agentproxy.features.settling import start_refusal
from agentproxy.model import adoption, context, permission, tags, text
from agentproxy.model.attention import Attention
from agentproxy.model.event import NewEvent
from agentproxy.model.principal import SERVER, Principal
from agentproxy.model.search import SessionPage, SessionQuery
from agentproxy.model.session import AgentStatus, Ending, EndReason, Phase, Session
from agentproxy.model.start import StartRequest, Wait
from agentproxy.runtime.output import OutputLog
from agentproxy.store import Store, StoreError

log = Logger()
T = TypeVar("T")
CONTINUED_MESSAGES = 200
"""Messages of an old session that a new one is told of, at most."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One session as the faces show it: its record and what only a living one has.

    :param attention: what its agent does or waits for, None before it is known.
    :param socket: path of the UNIX socket that its agent server listens on, None when that is a port.
    """

    session: Session
    agent_status: AgentStatus | None = None
    queue_position: int | None = None
    socket: str | None = None
    attention: Attention | None = None


class Recipes(Protocol):
    """Turns a wish into what a session is made of; refuses what cannot be (``features/preparing.py``)."""

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


def _promises(wish: StartRequest) -> dict[str, Any]:
    """Return what the record says for a server that starts after a crash and finds the start unfinished."""
    return {adoption.PROMISED: wish.wait is Wait.NONE}


class Sessions:
    """Every session of this server.

    :param recipes: checks wishes and gives life to sessions.
    :param permits: decides who may do what; without it every permission counts and nothing is noted.
    """

    def __init__(
        self, store: Store, recipes: Recipes, permits: Permits | None = None, evening: Evening | None = None
    ) -> None:
        self._evening = evening or Evening()
        self._store = store
        self._recipes = recipes
        self._permits = permits or Permits()
        self._living: dict[str, LivingSession] = {}
        self._ended: dict[str, Session] = {}
        self._unwritten: dict[str, LivingSession] = {}
        self._restarting: set[str] = set()
        self._turns: WeakValueDictionary[str, DeferredLock] = WeakValueDictionary()
        self._closing = False
        self.attention: Callable[[Session], Attention | None] | None = None

    # -- starting

    async def start(self, principal: Principal, wish: StartRequest) -> Shown:
        """Start a session and wait as the wish says.

        :raises Refusal: the wish is not allowed, or the start failed (START_FAILED with step and output).
        """
        if self._closing:
            raise Refusal(SHUTTING_DOWN)
        wish, continued = await self._continuing(principal, wish)
        session_id = wish.session_id or str(uuid.uuid4())
        self._permits.check_start(principal, wish, self._living_of(wish.user_id or principal.user_id), session_id)
        agent, options = self._recipes.check(principal, wish)
        now = datetime.now(UTC)
        session = Session(
            id=session_id,
            owner=wish.user_id or principal.user_id,
            agent=agent,
            phase=Phase.QUEUED,
            created_at=now,
            updated_at=now,
            scope=wish.scope,
            team_id=wish.team_id,
            description=wish.description,
            tags=wish.tags,
            environment=wish.kept_environment(),
            options={**options, **continued, **_promises(wish)},
        )
        living = self._recipes.give_life(session, wish, principal, resume=False)
        events = [NewEvent(session.id, "session.queued", now, {"agent": agent, **continued})]
        await detached(self._begin(living, self._store.add_session(session, events)), "the start of a session")
        return await self._outcome(living, wish.wait)

    async def joined(self, principal: Principal, session_id: str, wait: Wait) -> Shown:
        """Return a session that was started before, as :meth:`start` would have: when it is as far as *wait* says.

        :raises Refusal: SESSION_NOT_FOUND, or why the start failed.
        """
        session = await self.permitted(principal, session_id, "session.read")
        living = self._living.get(session_id)
        if living is not None:
            return await self._outcome(living, wait)
        if session.ready_at is None and session.ending is not None:
            raise start_refusal(session_id, session.ending)
        return self._show(session)

    async def _continuing(self, principal: Principal, wish: StartRequest) -> tuple[StartRequest, dict[str, str]]:
        """Return the wish with an old session's transcript before its message and its agent, and what the record says of it.

        :raises Refusal: SESSION_NOT_FOUND, also when the principal may not read the old session.
        """
        if wish.continue_from is None:
            return wish, {}
        old = await self.permitted(principal, wish.continue_from, "session.read")
        said = await self._store.last_messages(old.id, CONTINUED_MESSAGES)
        message = context.continued(said, wish.message)
        return replace(wish, message=message, agent=wish.agent or old.agent), {"continued_from": old.id}

    async def _begin(self, living: LivingSession, recorded: Awaitable[Any]) -> None:
        """Let a session live when its record is written; from then on it is the server's, whoever asked for it."""
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
        self._living[living.record.id] = living
        living.start()

    async def _outcome(self, living: LivingSession, wait: Wait) -> Shown:
        if wait is Wait.NONE:
            return self._show(living.record)
        await living.decided()
        if living.left:
            raise Refusal(SHUTTING_DOWN, session_id=living.record.id)
        if living.record.ending is not None:
            await living.written()
            raise start_refusal(living.record.id, living.record.ending)
        if wait is Wait.STABLE and living.until_stable is not None:
            await living.until_stable()
        await living.written()
        return self._show(living.record)

    def ended(self, living: LivingSession) -> None:
        """Take an ended session out of the living ones; its last record stays known to :meth:`current`.

        One that could not continue its conversation is started again without its resume arguments.
        """
        self._living.pop(living.record.id, None)
        self._unwritten[living.record.id] = living
        living.committed().addCallback(lambda _none: self._forget_unwritten(living))
        self._ended[living.record.id] = living.record
        while len(self._ended) > 10_000:
            self._ended.pop(next(iter(self._ended)))
        who = living.could_not_resume()
        if who is not None and not self._closing:
            detached(self._without_resume(who, living), "a start without resume arguments").addErrback(refusal_logged)

    def _forget_unwritten(self, living: LivingSession) -> None:
        if self._unwritten.get(living.record.id) is living:
            del self._unwritten[living.record.id]

    async def _without_resume(self, principal: Principal, living: LivingSession) -> None:
        """Start the next incarnation of a session whose agent had nothing to continue."""
        session_id = living.record.id
        await living.committed()
        facts = {"reason": "the agent could not continue its conversation; it begins a new one"}

        async def again() -> None:
            if session_id not in self._living:
                log.info("Session {session} starts again: {reason}", session=session_id, **facts)
                await self._next_life(principal, session_id, False, facts)

        await self._alone(session_id, again)

    async def _alone(self, session_id: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do what begins a session's next life or takes it away: one at a time, or a deleted session would live on."""
        turn = self._turns.setdefault(session_id, DeferredLock())
        done: T = await turn.run(lambda: Deferred.fromCoroutine(work()))
        return done

    # -- looking

    def living(self) -> Sequence[LivingSession]:
        """Return the sessions that have not ended, oldest first."""
        return tuple(self._living.values())

    def current(self, session_id: str) -> LivingSession | Session | None:
        """Return what memory knows of a session: the living one, or the record of one that ended since the start."""
        return self._living.get(session_id) or self._ended.get(session_id)

    def _known(self, session_id: str) -> LivingSession | None:
        """Return the living session, or one whose end is not in the store yet."""
        return self._living.get(session_id) or self._unwritten.get(session_id)

    def _living_of(self, owner: str) -> int:
        return sum(living.record.owner == owner for living in self._living.values())

    async def permitted(self, principal: Principal, session_id: str, verb: str) -> Session:
        """Return the session if the principal may do *verb* to it; the attempt is noted in the audit.

        :param verb: one of ``model/permission.py``, such as ``session.read``.
        :raises Refusal: SESSION_NOT_FOUND when there is none or the principal may not read it, with the same work done for
            both; FORBIDDEN when it may read it but not do this; TOO_MANY_REQUESTS.
        """
        begun = self._evening.begin()
        living = self._known(session_id)
        session = living.record if living else await self._store.session(session_id)
        if session is None:
            self._permits.note(principal, verb, session_id, False, "there is no such session")
            await self._evening.wait(begun)
            raise Refusal(SESSION_NOT_FOUND, session_id=session_id)
        refusal = self._permits.refusal(principal, verb, session)
        if refusal is None:
            return session
        if refusal.kind is SESSION_NOT_FOUND:
            if living is not None:
                await self._store.session(session_id)  # what a missing one costs, so that time does not tell them apart
            await self._evening.wait(begun)
        raise refusal

    @property
    def access_version(self) -> int:
        """Return a number that grows whenever somebody was given access to a session, or lost it."""
        return self._permits.version

    async def visible(self, principal: Principal, session_id: str) -> bool:
        """Return whether the principal may read the session now; nothing is noted in the audit."""
        living = self._known(session_id)
        session = living.record if living else await self._store.session(session_id)
        return session is not None and self._permits.look(principal, "session.read", session) is None

    async def _record(self, session_id: str) -> Session:
        living = self._known(session_id)
        session = living.record if living else await self._store.session(session_id)
        if session is None or session.deleted_at is not None:
            raise Refusal(SESSION_NOT_FOUND, session_id=session_id)
        return session

    async def get(self, principal: Principal, session_id: str, verb: str = "session.read") -> Shown:
        """Return one session.

        :raises Refusal: as :meth:`permitted`.
        """
        return self._show(await self.permitted(principal, session_id, verb))

    async def search(self, principal: Principal, query: SessionQuery) -> tuple[list[Shown], str | None]:
        """Return one page of sessions, newest first, and the cursor of the next."""
        query = replace(query, visible_to=permission.eyes(principal))
        page: SessionPage = await self._store.search(query)
        return [self._show(self._fresh(session)) for session in page.sessions], page.cursor

    def output(self, session_id: str) -> OutputLog:
        """Return the log of what a session's agent servers print; whether the caller may read it is the caller's to ask."""
        return self._recipes.output(session_id)

    def _fresh(self, session: Session) -> Session:
        living = self._known(session.id)
        return living.record if living else session

    def _show(self, session: Session) -> Shown:
        living = self._living.get(session.id)
        if living is None:
            return Shown(session, attention=self._attention(session))
        socket = living.backend.unix_path if living.backend is not None else None
        return Shown(living.record, living.agent_status, living.queue_position, socket, self._attention(living.record))

    def _attention(self, session: Session) -> Attention | None:
        return self.attention(session) if self.attention is not None else None

    # -- changing

    async def change(self, principal: Principal, session_id: str, changes: Mapping[str, Any]) -> Shown:
        """Change description, tags or annotations.

        :raises Refusal: SESSION_NOT_FOUND, or INVALID_REQUEST, naming the field.
        """
        await self.permitted(principal, session_id, "session.message")
        text.check(changes.get("description") or "", "$.description")
        tags.check(changes.get("tags", {}))
        tags.check(changes.get("annotations", {}), "$.annotations", "an annotation")
        living = self._living.get(session_id)
        if living is not None:
            await living.change_for(changes, "session.changed", {"fields": sorted(changes)})
            return self._show(living.record)
        events = [NewEvent(session_id, "session.changed", datetime.now(UTC), {"fields": sorted(changes)})]
        changed, _events = await self._store.change_session(
            session_id, {**changes, "updated_at": datetime.now(UTC)}, events
        )
        return Shown(changed)

    async def stop(self, principal: Principal, session_id: str) -> Shown:
        """End a session's agent server and wait until its process group is gone; an ended one stays as it is.

        :raises Refusal: SESSION_NOT_FOUND.
        """
        await self.permitted(principal, session_id, "session.stop")
        await detached(self._end(session_id, f"stopped by {principal.user_id}"), "the stop of a session")
        return self._show(await self._record(session_id))

    async def restart(self, principal: Principal, session_id: str) -> Shown:
        """End the session if it lives and begin its next incarnation, with the agent's resume arguments.

        :raises Refusal: SESSION_NOT_FOUND, SESSION_BUSY while it is being restarted, TOO_MANY_SESSIONS or TOO_MANY_REQUESTS, why it
            may not be started now (then it goes on as it is), or why the start failed.
        """
        await self.permitted(principal, session_id, "session.stop")
        if self._closing:
            raise Refusal(SHUTTING_DOWN)
        if session_id in self._restarting:
            raise Refusal(SESSION_BUSY, session_id=session_id)
        record = await self._record(session_id)
        self._recipes.check_again(record)
        others = self._living_of(record.owner) - (session_id in self._living)
        self._permits.check_restart(principal, record, others)
        living = await detached(self._restart(principal, session_id), "the restart of a session")
        return await self._outcome(living, Wait.LISTENING)

    async def _restart(self, principal: Principal, session_id: str) -> LivingSession:
        async def again() -> LivingSession:
            await self._end(session_id, f"restarted by {principal.user_id}")
            return await self._next_life(principal, session_id, True, {})

        self._restarting.add(session_id)
        try:
            return await self._alone(session_id, again)
        finally:
            self._restarting.discard(session_id)

    async def _next_life(
        self, principal: Principal, session_id: str, resume: bool, facts: Mapping[str, Any]
    ) -> LivingSession:
        before = await self._record(session_id)
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
        self._ended.pop(session_id, None)
        return living

    async def delete(self, principal: Principal, session_id: str) -> None:
        """End a session, take it from the lists and remove its directory; its history stays.

        A session that is being restarted begins its next life first, which is ended then.

        :raises Refusal: SESSION_NOT_FOUND, also the second time.
        """
        await self.permitted(principal, session_id, "session.delete")
        deletion = self._alone(session_id, lambda: self._delete(session_id, principal.user_id))
        await detached(deletion, "the deletion of a session")

    async def _delete(self, session_id: str, by: str) -> None:
        await self._record(session_id)
        await self._end(session_id, f"deleted by {by}")
        now = datetime.now(UTC)
        events = [NewEvent(session_id, "session.deleted", now, {"by": by})]
        await self._store.change_session(session_id, {"deleted_at": now, "updated_at": now}, events)
        self._ended.pop(session_id, None)
        await self._recipes.clear(session_id)

    async def _end(self, session_id: str, sentence: str) -> None:
        """End a session's agent server, if it has one, and return when that is committed.

        :raises Refusal: STORE_UNAVAILABLE, it has ended and that is not committed yet.
        """
        living = self._living.get(session_id)
        if living is not None:
            await living.stop(EndReason.STOPPED, sentence)
        ended = living or self._unwritten.get(session_id)
        if ended is not None:
            await ended.written()
            ended.check_committed()

    async def interrupt(self, principal: Principal, session_id: str) -> None:
        """Press the agent's own interrupt keys.

        :raises Refusal: SESSION_NOT_FOUND, SESSION_NOT_RUNNING, or those of :func:`interrupt`.
        """
        await self.permitted(principal, session_id, "session.interrupt")
        living = self._living.get(session_id)
        if living is None or living.driver is None or living.record.phase is not Phase.READY:
            raise Refusal(SESSION_NOT_RUNNING, session_id=session_id)
        afterwards = living.companion.interrupting() if living.companion is not None else None
        await interrupt(living.driver, living.interrupt_keys)
        if afterwards is not None:
            await afterwards()
        living.tell("agent.interrupted", {"by": principal.user_id})

    # -- the server's own life

    def adopt(self, living: LivingSession) -> None:
        """Keep a session whose agent server an earlier server has started."""
        self._living[living.record.id] = living

    async def go_on(self, session_id: str, resume: bool, reason: str) -> None:
        """Begin the next life of a session that the end of a server interrupted; how it goes is told as for any start.

        :raises Refusal: its agent, command or script is not allowed any more.
        """
        await self._alone(session_id, lambda: self._next_life(SERVER, session_id, resume, {"reason": reason}))

    async def let_go(self) -> list[str]:
        """Refuse new starts and leave every session for the next server, those that are being ended excepted.

        :return: the ids of those that are left.
        """
        self._closing = True
        leaving = list(self._living.values())
        await gatherResults([Deferred.fromCoroutine(living.let_go()) for living in leaving], consumeErrors=True)
        return [living.record.id for living in leaving if living.record.phase is not Phase.ENDED]

    def kill_all(self) -> None:
        """End every process at once, without grace."""
        for living in list(self._living.values()):
            if not living.left:
                living.kill()

    async def close(self) -> None:
        """Refuse new starts and end every session, in parallel."""
        self._closing = True
        ends = [
            Deferred.fromCoroutine(self._end(session_id, "the server shut down")) for session_id in list(self._living)
        ]
        await gatherResults(ends, consumeErrors=True)
