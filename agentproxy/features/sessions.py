"""Sessions: started, looked at, changed, stopped and restarted. The one place where record, supervisor and observer meet.

Promises: what a caller was told with 2xx is committed; each phase is an event; a session that did not start says why.
What an id that does not exist gets and what an invisible one gets is the same refusal.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread

from agentproxy.errors import (
    SESSION_BUSY,
    SESSION_NOT_FOUND,
    SESSION_NOT_RUNNING,
    SHUTTING_DOWN,
    START_CANCELLED,
    START_FAILED,
    Refusal,
)
from agentproxy.features.interrupting import interrupt
from agentproxy.features.living import LivingSession
from agentproxy.model.event import Event, NewEvent
from agentproxy.model.principal import Principal
from agentproxy.model.search import SessionPage, SessionQuery, VisibleTo
from agentproxy.model.session import AgentStatus, Ending, EndReason, Phase, Session
from agentproxy.model.start import StartRequest, Wait
from agentproxy.runtime.output import OutputLog
from agentproxy.store import Store


@dataclass(frozen=True, slots=True)
class Shown:
    """One session as the faces show it: its record and what only a living one has."""

    session: Session
    agent_status: AgentStatus | None = None
    queue_position: int | None = None


class Recipes(Protocol):
    """Turns a wish into what a session is made of; refuses what cannot be (``features/preparing.py``)."""

    def check(self, principal: Principal, wish: StartRequest) -> tuple[str, Mapping[str, Any]]:
        """Return the agent's name and the options to keep in the record.

        :raises Refusal: something in the wish is not allowed or does not exist.
        """

    def give_life(self, session: Session, wish: StartRequest, principal: Principal, resume: bool) -> LivingSession:
        """Return a living session, not started yet."""

    def output(self, session_id: str) -> OutputLog:
        """Return the log of what a session's agent servers print."""

    async def clear(self, session_id: str) -> None:
        """Remove the session's directory; what cannot be removed is logged."""


def sees_all(principal: Principal) -> bool:
    """Return whether the sessions of everybody are visible."""
    return "*" in principal.permissions


def may_see(principal: Principal, session: Session) -> bool:
    """Return whether a session is the principal's own, its team's, or visible because all are."""
    shared = session.scope == "team" and session.team_id in principal.teams
    return sees_all(principal) or shared or session.owner == principal.user_id


def wish_again(session: Session) -> StartRequest:
    """Return the wish that makes the session's next incarnation: as the first one, without a first message."""
    options = session.options
    return StartRequest(
        user_id=session.owner,
        agent=session.agent,
        command=tuple(options.get("command") or ()) or None,
        environment=session.environment,
        tags=session.tags,
        repository=options.get("repository"),
        env_file=options.get("env_file"),
        script=options.get("script"),
    )


def ending_facts(ending: Ending) -> dict[str, Any]:
    """Return the fields by which an answer tells an end: ``step``, ``exit_status`` or ``signal``, ``output``."""
    facts: dict[str, Any] = {"reason": ending.reason.value}
    if ending.step is not None:
        facts["step"] = ending.step
    if ending.exit is not None and ending.exit.signal is not None:
        facts["signal"] = ending.exit.signal
    elif ending.exit is not None and ending.exit.code is not None:
        facts["exit_status"] = ending.exit.code
    if ending.output:
        facts["output"] = list(ending.output)
    return facts


def start_refusal(session_id: str, ending: Ending) -> Refusal:
    """Return why a start did not come to a running session."""
    if ending.reason is EndReason.STOPPED:
        return Refusal(START_CANCELLED, ending.sentence, session_id)
    return Refusal(START_FAILED, ending.sentence, session_id, facts=ending_facts(ending))


class Sessions:
    """Every session of this server.

    :param recipes: checks wishes and gives life to sessions.
    """

    def __init__(self, store: Store, recipes: Recipes) -> None:
        self._store = store
        self._recipes = recipes
        self._living: dict[str, LivingSession] = {}
        self._ended: dict[str, Session] = {}
        self._restarting: set[str] = set()
        self._closing = False

    # -- starting

    async def start(self, principal: Principal, wish: StartRequest) -> Shown:
        """Start a session and wait as the wish says.

        :raises Refusal: the wish is not allowed, or the start failed (START_FAILED with step and output).
        """
        if self._closing:
            raise Refusal(SHUTTING_DOWN)
        agent, options = self._recipes.check(principal, wish)
        now = datetime.now(UTC)
        session = Session(
            id=str(uuid.uuid4()),
            owner=wish.user_id or principal.user_id,
            agent=agent,
            phase=Phase.QUEUED,
            created_at=now,
            updated_at=now,
            scope=wish.scope,
            team_id=wish.team_id,
            description=wish.description,
            tags=wish.tags,
            environment=wish.environment,
            options=options,
        )
        living = self._recipes.give_life(session, wish, principal, resume=False)
        await self._store.add_session(session, [NewEvent(session.id, "session.queued", now, {"agent": agent})])
        return await self._run(living, wish.wait)

    async def _run(self, living: LivingSession, wait: Wait) -> Shown:
        if self._closing:
            living.ended(Ending(EndReason.STOPPED, "the server shut down"))
            raise Refusal(SHUTTING_DOWN, session_id=living.record.id)
        self._living[living.record.id] = living
        living.start()
        if wait is Wait.NONE:
            return self._show(living.record)
        await living.decided()
        if living.record.ending is not None:
            await living.written()
            raise start_refusal(living.record.id, living.record.ending)
        if wait is Wait.STABLE:
            await living.quiet()
        await living.written()
        return self._show(living.record)

    def ended(self, living: LivingSession) -> None:
        """Take an ended session out of the living ones; its last record stays known to :meth:`current`."""
        self._living.pop(living.record.id, None)
        self._ended[living.record.id] = living.record
        while len(self._ended) > 10_000:
            self._ended.pop(next(iter(self._ended)))

    # -- looking

    def current(self, session_id: str) -> LivingSession | Session | None:
        """Return what memory knows of a session: the living one, or the record of one that ended since the start."""
        return self._living.get(session_id) or self._ended.get(session_id)

    async def get(self, principal: Principal, session_id: str) -> Shown:
        """Return one session.

        :raises Refusal: SESSION_NOT_FOUND, also when the principal may not see it.
        """
        living = self._living.get(session_id)
        session = living.record if living else await self._store.session(session_id)
        if session is None or session.deleted_at is not None or not may_see(principal, session):
            raise Refusal(SESSION_NOT_FOUND, session_id=session_id)
        return self._show(session)

    async def search(self, principal: Principal, query: SessionQuery) -> tuple[list[Shown], str | None]:
        """Return one page of sessions, newest first, and the cursor of the next."""
        if not sees_all(principal):
            query = replace(query, visible_to=VisibleTo(principal.user_id, principal.teams))
        page: SessionPage = await self._store.search(query)
        return [self._show(self._fresh(session)) for session in page.sessions], page.cursor

    async def log(self, principal: Principal, session_id: str, size: int) -> bytes:
        """Return the end of what the session's agent server has printed.

        :param size: at most so many bytes.
        :raises Refusal: SESSION_NOT_FOUND.
        """
        await self.get(principal, session_id)
        return await deferToThread(self._recipes.output(session_id).tail, size)

    async def events(self, principal: Principal, session_id: str, after: int, limit: int) -> list[Event]:
        """Return the session's events with a number over ``after``.

        :raises Refusal: SESSION_NOT_FOUND.
        """
        await self.get(principal, session_id)
        return await self._store.events(session_id, after, limit)

    def _fresh(self, session: Session) -> Session:
        living = self._living.get(session.id)
        return living.record if living else session

    def _show(self, session: Session) -> Shown:
        living = self._living.get(session.id)
        if living is None:
            return Shown(session)
        return Shown(living.record, living.agent_status, living.queue_position)

    # -- changing

    async def change(self, principal: Principal, session_id: str, changes: Mapping[str, Any]) -> Shown:
        """Change description, tags or annotations.

        :raises Refusal: SESSION_NOT_FOUND.
        """
        await self.get(principal, session_id)
        living = self._living.get(session_id)
        if living is not None:
            await living.change(changes, "session.changed", {"fields": sorted(changes)})
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
        await self.get(principal, session_id)
        await self._end(session_id, f"stopped by {principal.user_id}")
        return await self.get(principal, session_id)

    async def restart(self, principal: Principal, session_id: str) -> Shown:
        """End the session if it lives and begin its next incarnation, with the agent's resume arguments.

        :raises Refusal: SESSION_NOT_FOUND, SESSION_BUSY while it is being restarted, or why the start failed.
        """
        await self.get(principal, session_id)
        if self._closing:
            raise Refusal(SHUTTING_DOWN)
        if session_id in self._restarting:
            raise Refusal(SESSION_BUSY, session_id=session_id)
        self._restarting.add(session_id)
        try:
            await self._end(session_id, f"restarted by {principal.user_id}")
            living = await self._next_life(principal, session_id)
            return await self._run(living, Wait.LISTENING)
        finally:
            self._restarting.discard(session_id)

    async def _next_life(self, principal: Principal, session_id: str) -> LivingSession:
        before = (await self.get(principal, session_id)).session
        now = datetime.now(UTC)
        changes: dict[str, Any] = {
            "incarnation": before.incarnation + 1,
            "phase": Phase.QUEUED,
            "ending": None,
            "ready_at": None,
            "ended_at": None,
            "updated_at": now,
        }
        events = [NewEvent(session_id, "session.restarted", now, {"incarnation": before.incarnation + 1})]
        living = self._recipes.give_life(replace(before, **changes), wish_again(before), principal, resume=True)
        await self._store.change_session(session_id, changes, events)
        self._ended.pop(session_id, None)
        return living

    async def delete(self, principal: Principal, session_id: str) -> None:
        """End a session, take it from the lists and remove its directory; its history stays.

        :raises Refusal: SESSION_NOT_FOUND, also the second time.
        """
        await self.get(principal, session_id)
        await self._end(session_id, f"deleted by {principal.user_id}")
        now = datetime.now(UTC)
        events = [NewEvent(session_id, "session.deleted", now, {"by": principal.user_id})]
        await self._store.change_session(session_id, {"deleted_at": now, "updated_at": now}, events)
        self._ended.pop(session_id, None)
        await self._recipes.clear(session_id)

    async def _end(self, session_id: str, sentence: str) -> None:
        living = self._living.get(session_id)
        if living is not None:
            await living.stop(EndReason.STOPPED, sentence)
            await living.written()

    async def interrupt(self, principal: Principal, session_id: str) -> None:
        """Press the agent's own interrupt keys.

        :raises Refusal: SESSION_NOT_FOUND, SESSION_NOT_RUNNING, or those of :func:`interrupt`.
        """
        await self.get(principal, session_id)
        living = self._living.get(session_id)
        if living is None or living.driver is None:
            raise Refusal(SESSION_NOT_RUNNING, session_id=session_id)
        await interrupt(living.driver, living.interrupt_keys)
        living.tell("agent.interrupted", {"by": principal.user_id})

    # -- the server's own life

    def kill_all(self) -> None:
        """End every process at once, without grace."""
        for living in list(self._living.values()):
            living.kill()

    async def close(self) -> None:
        """Refuse new starts and end every session, in parallel."""
        self._closing = True
        ends = [
            Deferred.fromCoroutine(self._end(session_id, "the server shut down")) for session_id in list(self._living)
        ]
        await gatherResults(ends, consumeErrors=True)
