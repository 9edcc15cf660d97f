"""The store: what the server remembers, behind ``async`` methods. What they have returned is committed.

Every method raises ``STORE_UNAVAILABLE`` while the database cannot be used (disk full or read-only, locked, damaged,
closed) and works again by itself when it can. Other failures are named at the method.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from typing import IO, Any, TypeVar, cast

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from agentproxy.errors import STORE_UNAVAILABLE, Refusal
from agentproxy.model.event import Event, NewEvent
from agentproxy.model.message import Message
from agentproxy.model.search import SessionPage, SessionQuery
from agentproxy.model.session import Incarnation, Session
from agentproxy.store import delivery_tables as delivery_tables
from agentproxy.store import identity_tables as identity_tables
from agentproxy.store import journal, lives, retention, transcripts
from agentproxy.store import push as push
from agentproxy.store.claiming import claim_database
from agentproxy.store.engines import address, make_engines, make_private_file, sqlite_file
from agentproxy.store.sealing import Sealer
from agentproxy.store.trouble import StoreError, sentence, translated
from agentproxy.store.upgrade import is_newest, upgrade
from agentproxy.store.writer import Work, Writer

T = TypeVar("T")
Listener = Callable[[Sequence[Event]], None]
_READERS = 4


class _Reader(Thread):
    """A thread that reads; it holds up no end of the process."""

    def __init__(self, **facts: Any) -> None:
        super().__init__(daemon=True, **facts)


class Store:
    """The database of one server.

    :param url: of the database; None is the SQLite file ``agentproxy.db`` in *directory*.
    :param synchronous: SQLite's: ``normal`` survives the death of the process, ``full`` a loss of power too.
    :param secrets: seals environments and door secrets.
    :param beside: used for a moment, maybe while the server uses it: claims nothing and keeps no server from starting.
    """

    log = Logger()

    def __init__(
        self,
        reactor: IReactorFromThreads,
        url: str | None,
        directory: Path,
        *,
        synchronous: str = "normal",
        secrets: Sealer,
        beside: bool = False,
    ) -> None:
        self._reactor = reactor
        self._beside = beside
        self._url = address(url, directory)
        self._synchronous = synchronous
        self._sealer = secrets
        self._listeners: list[Listener] = []
        self._revised: list[Callable[[str], None]] = []
        self._took: Callable[[float], None] = lambda _seconds: None
        self._hopeful: list[Callable[[], None]] = []
        self._writer: Writer | None = None
        self._pool: ThreadPool | None = None
        self._reading: Engine | None = None
        self._claim: IO[str] | None = None

    @property
    def clock(self) -> IReactorTime:
        """Return the clock of the reactor that it answers on."""
        return cast(IReactorTime, self._reactor)

    async def open(self) -> None:
        """Start the threads and bring the schema up to date, after a backup copy.

        :raises StoreError: the database cannot be opened, another server uses it, or its schema is newer than this version.
        """
        if self._writer is not None:
            raise StoreError("the store is open already")
        writing, self._reading = make_engines(self._url, self._synchronous, _READERS, alone=not self._beside)
        self._pool = ThreadPool(0, _READERS, name="agentproxy-store-reader")
        cast(Any, self._pool).threadFactory = _Reader
        self._pool.start()
        try:
            await deferToThreadPool(cast(Any, self._reactor), self._pool, self._prepare, writing)
        except BaseException:
            writing.dispose()
            await self.close()
            raise
        self._writer = Writer(
            self._reactor, writing, self._committed, self._recovered, lambda seconds: self._took(seconds)
        )
        self._writer.start()

    def _prepare(self, writing: Engine) -> None:
        file = sqlite_file(self._url)
        try:
            if file is not None:
                make_private_file(file)
            if self._beside:
                self._prepare_beside(writing, file)
                return
            self._claim = claim_database(file) if file is not None else None
            upgrade(writing, file)
        except (OSError, SQLAlchemyError) as error:
            raise StoreError(
                f"the database {self._url.render_as_string()} cannot be opened: {sentence(error)}"
            ) from error

    def _prepare_beside(self, writing: Engine, file: Path | None) -> None:
        """Upgrade only a database that no server uses, and give it free again."""
        if is_newest(writing):
            return
        with claim_database(file) if file is not None else nullcontext():
            alone, unused = make_engines(self._url, self._synchronous, 1)
            try:
                upgrade(alone, file)
            finally:
                alone.dispose()
                unused.dispose()

    async def close(self) -> None:
        """Write what is waiting and end the threads; twice does no harm."""
        writer, self._writer = self._writer, None
        pool, self._pool = self._pool, None
        reading, self._reading = self._reading, None
        if writer is not None:
            await writer.stop()
        if pool is not None:
            pool.stop()
        if reading is not None:
            reading.dispose()
        claim, self._claim = self._claim, None
        if claim is not None:
            claim.close()

    def healthy(self) -> str | None:
        """Return None, or the sentence why writing fails."""
        return "the store is closed" if self._writer is None else self._writer.trouble

    def on_effort(self, listener: Callable[[float], None]) -> None:
        """Tell *listener*, on the writing thread, the seconds that each transaction took; it must not fail."""
        self._took = listener

    def on_commit(self, listener: Listener) -> Callable[[], None]:
        """Tell *listener* of events on the reactor thread, in order of number, after their commit.

        :returns: what ends it; twice does no harm.
        """
        entry = lambda events: listener(events)  # noqa: E731 - one listener may listen twice
        self._listeners.append(entry)

        def end() -> None:
            if entry in self._listeners:
                self._listeners.remove(entry)

        return end

    def on_revision(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Tell *listener* the id of each session whose transcript has changed, after the commit; must not fail.

        :returns: what ends it; twice does no harm.
        """
        self._revised.append(listener)
        return lambda: self._revised.remove(listener) if listener in self._revised else None

    def on_recovery(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Tell *listener* each time that writing works again; must not fail.

        :returns: what ends it; twice does no harm.
        """
        self._hopeful.append(listener)
        return lambda: self._hopeful.remove(listener) if listener in self._hopeful else None

    def _recovered(self) -> None:
        for listener in tuple(self._hopeful):
            listener()

    def _committed(self, events: Sequence[Event]) -> None:
        for listener in tuple(self._listeners):
            try:
                listener(events)
            except Exception:
                self.log.failure("A listener of the journal failed at event {number}", number=events[0].number)

    # Sessions

    async def add_session(self, session: Session, events: Sequence[NewEvent]) -> list[Event]:
        """Keep a new session and its first events.

        :raises StoreError: there is one with its id.
        """
        entries = [journal.entry(event) for event in events]

        def work(connection: Connection) -> tuple[list[Event], Sequence[Event]]:
            lives.add_session(connection, session, self._sealer)
            added = journal.append(connection, entries)
            return added, added

        return await self._write(work)

    async def change_session(
        self, session_id: str, changes: Mapping[str, Any], events: Sequence[NewEvent] = ()
    ) -> tuple[Session, list[Event]]:
        """Change fields of a session, named as in :class:`Session`; ``updated_at`` becomes now unless it is given.

        :raises Refusal: ``SESSION_NOT_FOUND``.
        """
        entries, now = [journal.entry(event) for event in events], datetime.now(UTC)

        def work(connection: Connection) -> tuple[tuple[Session, list[Event]], Sequence[Event]]:
            session = lives.change_session(connection, session_id, changes, now, self._sealer)
            added = journal.append(connection, entries)
            return (session, added), added

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
        await self._write(_silent(lambda connection: lives.add_incarnation(connection, incarnation, self._sealer)))

    async def change_incarnation(self, session_id: str, number: int, changes: Mapping[str, Any]) -> Incarnation:
        """Change fields of an incarnation, named as in :class:`Incarnation`.

        :raises StoreError: there is no such incarnation.
        """
        return await self._write(
            _silent(lambda connection: lives.change_incarnation(connection, session_id, number, changes, self._sealer))
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
        return await self._open_writer().append([journal.entry(event) for event in events])

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
        return await self._write(_silent(lambda connection: retention.step(connection, bounds)))

    async def journal_size(self) -> int:
        """Return the bytes of the journal's events, about."""
        return await self._read(retention.journal_size)

    # Transcripts

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
        def written(connection: Connection) -> tuple[list[Event], Sequence[Event]]:
            added = journal.append(connection, [journal.entry(event) for event in work(connection)])
            return added, added

        return await self._write(written)

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

    # Other files of this package

    async def run(self, work: Callable[[Connection], T], *, writes: bool = False) -> T:
        """Run the named statements of another file of this package, in the thread that reads or the one that writes."""
        return await (self._write(_silent(work)) if writes else self._read(work))

    async def write(self, work: Work[T]) -> T:
        """Like :meth:`run` for statements that add to the journal: *work* returns its result and the events it added."""
        return await self._write(work)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Put the writes that are begun meanwhile into one transaction: when the database fails, all of them fail."""
        with self._writer.together() if self._writer is not None else nullcontext():
            yield

    @property
    def sealer(self) -> Sealer:
        """Return what seals secrets."""
        return self._sealer

    def _open_writer(self) -> Writer:
        if self._writer is None:
            raise Refusal(STORE_UNAVAILABLE, "the store is closed")
        return self._writer

    async def _write(self, work: Work[T]) -> T:
        return await self._open_writer().write(work)

    async def _read(self, work: Callable[[Connection], T]) -> T:
        engine, pool = self._reading, self._pool
        if engine is None or pool is None:
            raise Refusal(STORE_UNAVAILABLE, "the store is closed")
        return await deferToThreadPool(cast(Any, self._reactor), pool, _read_in_thread, engine, work)


def _silent(work: Callable[[Connection], T]) -> Work[T]:
    """Return *work* as one that adds nothing to the journal."""
    return lambda connection: (work(connection), ())


def _read_in_thread(engine: Engine, work: Callable[[Connection], T]) -> T:
    try:
        with engine.connect() as connection:
            return work(connection)
    except SQLAlchemyError as error:
        raise translated(error) from error
