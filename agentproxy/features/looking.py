"""Sessions as a principal may see them: one, a page of them, and whether it may do something to one.

What an id that does not exist gets and what an invisible one gets is the same refusal, after the same work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from agentproxy.errors import SESSION_NOT_FOUND, Refusal
from agentproxy.features.evening import Evening
from agentproxy.features.living import LivingSession
from agentproxy.features.permitting import Permits
from agentproxy.features.roll import Roll
from agentproxy.model import permission
from agentproxy.model.attention import Attention
from agentproxy.model.principal import Principal
from agentproxy.model.search import SessionPage, SessionQuery
from agentproxy.model.session import AgentStatus, Session
from agentproxy.runtime.output import OutputLog
from agentproxy.store import Store


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


class VisibleSessions:
    """Every session of this server, to be looked at.

    :param output: returns the log of what a session's agent servers print.
    :param permits: decides who may do what; without it every permission counts and nothing is noted.
    :ivar attention: says what the agent of a session does or waits for; None where nobody looks.
    """

    attention: Callable[[Session], Attention | None] | None = None

    def __init__(
        self,
        store: Store,
        roll: Roll,
        output: Callable[[str], OutputLog],
        permits: Permits | None = None,
        evening: Evening | None = None,
    ) -> None:
        self._store = store
        self._roll = roll
        self._output = output
        self._permits = permits or Permits()
        self._evening = evening or Evening()

    def living(self) -> Sequence[LivingSession]:
        """Return the sessions that have not ended, oldest first."""
        return self._roll.living()

    def current(self, session_id: str) -> LivingSession | Session | None:
        """Return what memory knows of a session: the living one, or the record of one that ended since the start."""
        return self._roll.current(session_id)

    async def permitted(self, principal: Principal, session_id: str, verb: str) -> Session:
        """Return the session if the principal may do *verb* to it; the attempt is noted in the audit.

        :param verb: one of ``model/permission.py``, such as ``session.read``.
        :raises Refusal: SESSION_NOT_FOUND when there is none or the principal may not read it, with the same work done for
            both; FORBIDDEN when it may read it but not do this; TOO_MANY_REQUESTS.
        """
        begun = self._evening.begin()
        living = self._roll.known(session_id)
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
        living = self._roll.known(session_id)
        session = living.record if living else await self._store.session(session_id)
        return session is not None and self._permits.look(principal, "session.read", session) is None

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
        return self._output(session_id)

    def _fresh(self, session: Session) -> Session:
        known = self._roll.known(session.id)
        return known.record if known else session

    def _show(self, session: Session) -> Shown:
        living = self._roll.get(session.id)
        if living is None:
            return Shown(session, attention=self._attention(session))
        socket = living.backend.unix_path if living.backend is not None else None
        return Shown(living.record, living.agent_status, living.queue_position, socket, self._attention(living.record))

    def _attention(self, session: Session) -> Attention | None:
        return self.attention(session) if self.attention is not None else None
