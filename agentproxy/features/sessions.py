"""Sessions: started, changed, stopped, restarted, deleted and interrupted, each by whoever may.

Promises: what a caller was told with 2xx is committed; each phase is an event; a session that did not start says why.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from agentproxy.errors import SESSION_BUSY, SESSION_NOT_RUNNING, SHUTTING_DOWN, Refusal
from agentproxy.features.detached import detached
from agentproxy.features.evening import Evening
from agentproxy.features.incarnations import Incarnations, Recipes
from agentproxy.features.interrupting import interrupt
from agentproxy.features.living import LivingSession
from agentproxy.features.looking import Shown, VisibleSessions
from agentproxy.features.permitting import Permits
from agentproxy.features.settling import start_refusal
from agentproxy.model import adoption, context, tags, text
from agentproxy.model.event import NewEvent
from agentproxy.model.principal import Principal
from agentproxy.model.session import Phase, Session
from agentproxy.model.start import StartRequest, Wait
from agentproxy.store import Store

CONTINUED_MESSAGES = 200
"""Messages of an old session that a new one is told of, at most."""


def _promises(wish: StartRequest) -> dict[str, Any]:
    """Return what the record says for a server that starts after a crash and finds the start unfinished."""
    return {adoption.PROMISED: wish.wait is Wait.NONE}


class Sessions(VisibleSessions):
    """Every session of this server, and what can be done to it.

    :param recipes: checks wishes, and clears what a deleted session leaves.
    :param incarnations: begins and ends their lives.
    """

    def __init__(
        self,
        store: Store,
        recipes: Recipes,
        incarnations: Incarnations,
        permits: Permits | None = None,
        evening: Evening | None = None,
    ) -> None:
        super().__init__(store, incarnations.roll, recipes.output, permits, evening)
        self._recipes = recipes
        self._incarnations = incarnations
        self._restarting: set[str] = set()

    # -- starting

    async def start(self, principal: Principal, wish: StartRequest) -> Shown:
        """Start a session and wait as the wish says.

        :raises Refusal: the wish is not allowed, or the start failed (START_FAILED with step and output).
        """
        self._incarnations.check_open()
        wish, continued = await self._continuing(principal, wish)
        session_id = wish.session_id or str(uuid.uuid4())
        self._permits.check_start(principal, wish, self._roll.living_of(wish.user_id or principal.user_id), session_id)
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
        begun = self._incarnations.begin_first(session, wish, principal, {"agent": agent, **continued})
        living = await detached(begun, "the start of a session")
        return await self._outcome(living, wish.wait)

    async def joined(self, principal: Principal, session_id: str, wait: Wait) -> Shown:
        """Return a session that was started before, as :meth:`start` would have: when it is as far as *wait* says.

        :raises Refusal: SESSION_NOT_FOUND, or why the start failed.
        """
        session = await self.permitted(principal, session_id, "session.read")
        living = self._roll.get(session_id)
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

    async def _outcome(self, living: LivingSession, wait: Wait) -> Shown:
        if wait is Wait.NONE:
            return self._show(living.record)
        await living.decided()
        if living.left:
            raise Refusal(SHUTTING_DOWN, session_id=living.record.id)
        ending = living.record.ending  # as it was decided: one that was ready may end while that is written
        await living.written()
        if ending is not None:
            raise start_refusal(living.record.id, ending)
        if wait is Wait.STABLE and living.until_stable is not None:
            await living.until_stable()
            await living.written()
        return self._show(living.record)

    # -- changing

    async def change(self, principal: Principal, session_id: str, changes: Mapping[str, Any]) -> Shown:
        """Change description, tags or annotations.

        :raises Refusal: SESSION_NOT_FOUND, or INVALID_REQUEST, naming the field.
        """
        await self.permitted(principal, session_id, "session.message")
        text.check(changes.get("description") or "", "$.description")
        tags.check(changes.get("tags", {}))
        tags.check(changes.get("annotations", {}), "$.annotations", "an annotation")
        living = self._roll.get(session_id)
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
        await detached(self._incarnations.end(session_id, f"stopped by {principal.user_id}"), "the stop of a session")
        return self._show(await self._incarnations.record(session_id))

    async def restart(self, principal: Principal, session_id: str) -> Shown:
        """End the session if it lives and begin its next incarnation, with the agent's resume arguments.

        :raises Refusal: SESSION_NOT_FOUND, SESSION_BUSY while it is being restarted, TOO_MANY_SESSIONS or TOO_MANY_REQUESTS, why it
            may not be started now (then it goes on as it is), or why the start failed.
        """
        await self.permitted(principal, session_id, "session.stop")
        self._incarnations.check_open()
        if session_id in self._restarting:
            raise Refusal(SESSION_BUSY, session_id=session_id)
        record = await self._incarnations.record(session_id)
        self._recipes.check_again(record)
        self._permits.check_restart(principal, record, self._roll.living_of(record.owner, session_id))
        living = await detached(self._restart(principal, record), "the restart of a session")
        return await self._outcome(living, Wait.LISTENING)

    async def _restart(self, principal: Principal, session: Session) -> LivingSession:
        session_id = session.id

        async def again() -> LivingSession:
            await self._incarnations.end(session_id, f"restarted by {principal.user_id}")
            return await self._incarnations.begin_next(principal, session_id, True, {})

        self._restarting.add(session_id)
        try:
            with self._roll.beginning(session):
                return await self._incarnations.alone(session_id, again)
        finally:
            self._restarting.discard(session_id)

    async def delete(self, principal: Principal, session_id: str) -> None:
        """End a session, take it from the lists and remove its directory; its history stays.

        A session that is being restarted begins its next life first, which is ended then.

        :raises Refusal: SESSION_NOT_FOUND, also the second time.
        """
        await self.permitted(principal, session_id, "session.delete")
        deletion = self._incarnations.alone(session_id, lambda: self._delete(session_id, principal.user_id))
        await detached(deletion, "the deletion of a session")

    async def _delete(self, session_id: str, by: str) -> None:
        await self._incarnations.record(session_id)
        await self._incarnations.end(session_id, f"deleted by {by}")
        now = datetime.now(UTC)
        events = [NewEvent(session_id, "session.deleted", now, {"by": by})]
        await self._store.change_session(session_id, {"deleted_at": now, "updated_at": now}, events)
        self._roll.forget(session_id)
        await self._recipes.clear(session_id)

    async def interrupt(self, principal: Principal, session_id: str) -> None:
        """Press the agent's own interrupt keys.

        :raises Refusal: SESSION_NOT_FOUND, SESSION_NOT_RUNNING, or those of :func:`interrupt`.
        """
        await self.permitted(principal, session_id, "session.interrupt")
        living = self._roll.get(session_id)
        if living is None or living.driver is None or living.record.phase is not Phase.READY:
            raise Refusal(SESSION_NOT_RUNNING, session_id=session_id)
        driver = living.driver
        afterwards = await living.companion.interrupting()
        await interrupt(driver, living.interrupt_keys)
        await afterwards()
        living.tell("agent.interrupted", {"by": principal.user_id})
