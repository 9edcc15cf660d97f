"""Where a session's requests go: the gateway's directory, answered from memory.

It has the shape of ``gateway.routes.SessionDirectory``; ``service/`` brings both together.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred

from agentproxy.errors import AGENT_UNREACHABLE, SESSION_ENDED, SESSION_NOT_FOUND, Refusal
from agentproxy.features.living import LivingSession
from agentproxy.features.looking import VisibleSessions
from agentproxy.model.backend import Backend
from agentproxy.model.session import Session
from agentproxy.store import Store


def ended(session: Session) -> Refusal:
    """Return why an ended session forwards nothing."""
    ending = session.ending
    if session.deleted_at is not None:
        return Refusal(SESSION_NOT_FOUND, session_id=session.id)
    if ending is None:
        return Refusal(SESSION_ENDED, session_id=session.id)
    return Refusal(SESSION_ENDED, ending.sentence, session.id, facts={"phase": "ended", **ending.facts()})


class Directory:
    """Finds the agent server of a session.

    :param store: asked only for sessions that memory does not know.
    """

    def __init__(self, sessions: VisibleSessions, store: Store) -> None:
        self._sessions = sessions
        self._store = store

    def record(self, session_id: str) -> Session | None:
        """Return the record of a session that memory knows."""
        known = self._sessions.current(session_id)
        return known.record if isinstance(known, LivingSession) else known

    async def stored(self, session_id: str) -> Session | None:
        """Return the record of a session from the store."""
        return await self._store.session(session_id)

    def look(self, session_id: str) -> Backend | Refusal | None:
        """Return the address, why there is none, or None when it is not decided yet."""
        known = self._sessions.current(session_id)
        if isinstance(known, LivingSession):
            return known.backend
        return ended(known) if known is not None else None

    def decide(self, session_id: str) -> Deferred[Backend | Refusal]:
        """Return a Deferred of what :meth:`look` says when it is decided; may be cancelled."""
        return Deferred.fromCoroutine(self._decide(session_id))

    async def _decide(self, session_id: str) -> Backend | Refusal:
        known = self._sessions.current(session_id)
        if isinstance(known, LivingSession):
            await known.decided()
            return known.backend or ended(known.record)
        session = known or await self._store.session(session_id)
        return ended(session) if session is not None else Refusal(SESSION_NOT_FOUND, session_id=session_id)

    def explain(self, session_id: str, failure: str) -> Refusal:
        """Return why an agent server that was found does not answer."""
        known = self._sessions.current(session_id)
        if isinstance(known, Session):
            return ended(known)
        phase = known.record.phase.value if known is not None else "unknown"
        return Refusal(AGENT_UNREACHABLE, failure, session_id, facts={"phase": phase})
