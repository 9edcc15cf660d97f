"""The store: what the server remembers of sessions, behind ``async`` methods; each is one transaction with a name.

Every method raises ``STORE_UNAVAILABLE`` as the database does. Other failures are named at the method.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from sqlalchemy import Connection

from agentproxy.model.event import Event, NewEvent
from agentproxy.model.message import Message
from agentproxy.model.search import SessionPage, SessionQuery
from agentproxy.model.session import Incarnation, Session
from agentproxy.store import journal, lives, retention, transcripts
from agentproxy.store.database import Database, listen
from agentproxy.store.journal import Entry


class Store(Database):
    """Sessions, their incarnations, the journal and the transcripts; other things have files of their own beside this one."""

    @cached_property
    def _revised(self) -> list[Callable[[str], None]]:
        """Return who is told of transcripts that have changed."""
        return []

    # Sessions

    async def add_session(self, session: Session, events: Sequence[NewEvent]) -> list[Event]:
        """Keep a new session and its first events.

        :raises StoreError: there is one with its id.
        """
        entries = [journal.entry(event) for event in events]

        def work(connection: Connection) -> tuple[None, Sequence[Entry]]:
            lives.add_session(connection, session, self._sealer)
            return None, entries

        _none, added = await self._write(work)
        return added

    async def change_session(
        self, session_id: str, changes: Mapping[str, Any], events: Sequence[NewEvent] = ()
    ) -> tuple[Session, list[Event]]:
        """Change fields of a session, named as in :class:`Session`; ``updated_at`` becomes now unless it is given.

        :raises Refusal: ``SESSION_NOT_FOUND``.
        """
        entries, now = [journal.entry(event) for event in events], datetime.now(UTC)

        def work(connection: Connection) -> tuple[Session, Sequence[Entry]]:
            return lives.change_session(connection, session_id, changes, now, self._sealer), entries

        return await self._write(work)

    async def session(self, session_id: str) -> Session | None:
        """Return the session, a deleted one too, or None."""
        return await self._read(lambda connection: lives.read_session(connection, session_id, self._sealer))

    async def search(self, wanted: SessionQuery) -> SessionPage:
        """Return one page of the list, newest first; its cursor stays right while sessions come and go.

        :raises Refusal: ``INVALID_REQUEST`` for a wrong cursor or limit.
        """
        return await self._read(lambda connection: lives.search(connection, wanted, self._sealer))

    async def living_sessions(self) -> list[Session]:
        """Return the sessions whose phase is not ``ended``, oldest first."""
        return await self._read(lambda connection: lives.living(connection, self._sealer))

    # Incarnations

    async def add_incarnation(self, incarnation: Incarnation) -> None:
        """Keep a new incarnation.

        :raises StoreError: the session has one with its number.
        """
        await self.run(lambda connection: lives.add_incarnation(connection, incarnation, self._sealer), writes=True)

    async def change_incarnation(self, session_id: str, number: int, changes: Mapping[str, Any]) -> Incarnation:
        """Change fields of an incarnation, named as in :class:`Incarnation`.

        :raises StoreError: there is no such incarnation.
        """
        return await self.run(
            lambda connection: lives.change_incarnation(connection, session_id, number, changes, self._sealer),
            writes=True,
        )

    async def incarnations(self, session_id: str) -> list[Incarnation]:
        """Return the incarnations of a session in order of number."""
        return await self._read(lambda connection: lives.read_incarnations(connection, session_id, self._sealer))

    async def open_incarnations(self) -> list[Incarnation]:
        """Return the incarnations of all sessions that have no ``ended_at``, oldest first."""
        return await self._read(lambda connection: lives.read_incarnations(connection, None, self._sealer))

    # The journal

    async def append(self, events: Sequence[NewEvent]) -> list[Event]:
        """Add events to the journal and return them with their numbers."""
        if not events:
            return []
        _none, added = await self._open_writer().append([journal.entry(event) for event in events])
        return added

    async def events(self, session_id: str | None, after: int, limit: int, kinds: Sequence[str] = ()) -> list[Event]:
        """Return at most *limit* events with numbers above *after*, oldest first.

        :param session_id: None reads the journal of the whole server.
        :param kinds: only these; empty means all.
        """
        return await self._read(lambda connection: journal.read(connection, session_id, after, limit, kinds))

    async def next_events(
        self, session_id: str | None, after: int, limit: int, kinds: Sequence[str] = ()
    ) -> journal.Read:
        """Return the next page for a reader with the cursor *after*, and whether retention has overtaken it."""
        return await self._read(lambda connection: journal.read_on(connection, session_id, after, limit, kinds))

    async def last_event_number(self, session_id: str | None = None) -> int:
        """Return the number of the last event of a session, or of the whole server; 0 when there is none."""
        return await self._read(lambda connection: journal.last_number(connection, session_id))

    async def last_removed_event(self, session_id: str | None) -> int:
        """Return the highest number that retention removed from a session's journal, or from any; 0 when none was."""
        return await self._read(lambda connection: journal.last_removed(connection, session_id))

    async def remove_some(self, bounds: retention.Bounds) -> retention.Removed:
        """Remove a little of what is out of *bounds*, oldest first."""
        return await self.run(lambda connection: retention.step(connection, bounds), writes=True)

    async def journal_size(self) -> int:
        """Return the bytes of the journal's events, about."""
        return await self._read(retention.journal_size)

    # Transcripts

    def on_revision(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Tell *listener* the id of each session whose transcript has changed, after the commit; must not fail.

        :returns: what ends it; twice does no harm.
        """
        return listen(self._revised, listener)

    async def put_messages(self, session_id: str, messages: Sequence[Message], *, incarnation: int = 1) -> list[Event]:
        """Keep the latest revision of each message of one agent server and return what the journal says of them.

        :param messages: their ids are those of the agent server of *incarnation*; ids of the transcript go on over lives.
        """
        now = datetime.now(UTC)
        told = await self._tell(lambda it: transcripts.put(it, session_id, incarnation, messages, now))
        for listener in tuple(self._revised):
            listener(session_id)
        return told

    async def settle_messages(self, session_id: str, incarnation: int) -> list[Event]:
        """Write into the journal the texts of messages that it does not have yet: the agent is quiet or gone."""
        now = datetime.now(UTC)
        return await self._tell(lambda it: transcripts.settle(it, session_id, incarnation, now))

    async def _tell(self, work: Callable[[Connection], list[NewEvent]]) -> list[Event]:
        def written(connection: Connection) -> tuple[None, Sequence[Entry]]:
            return None, [journal.entry(event) for event in work(connection)]

        _none, added = await self._write(written)
        return added

    async def messages(
        self, session_id: str, after: int = -1, limit: int = 1000, words: Sequence[str] = ()
    ) -> list[Message]:
        """Return at most *limit* messages with ids above *after* that hold every one of *words*, oldest first."""
        return await self._read(lambda connection: transcripts.read(connection, session_id, after, limit, words))

    async def messages_of_life(self, session_id: str, incarnation: int, after: int, limit: int) -> list[Message]:
        """Return at most *limit* messages of one agent server with its own ids above *after*, oldest first."""
        return await self._read(
            lambda connection: transcripts.read_of_life(connection, session_id, incarnation, after, limit)
        )

    async def last_messages(self, session_id: str, limit: int) -> list[Message]:
        """Return the last *limit* messages, oldest first."""
        return await self._read(lambda connection: transcripts.read_last(connection, session_id, limit))

    async def last_message_change(self, session_id: str) -> datetime | None:
        """Return when a message was last new or revised, None when there is none."""
        return await self._read(lambda connection: transcripts.last_change(connection, session_id))
