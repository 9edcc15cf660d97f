"""The database: opened, brought up to date, read in threads, written in one, and closed. What a write has returned is committed.

Reads and writes raise ``STORE_UNAVAILABLE`` while the database cannot be used (disk full or read-only, locked, damaged, closed) and
work again by themselves when it can.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
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
from agentproxy.model.event import Event
from agentproxy.store import delivery_tables as delivery_tables
from agentproxy.store import identity_tables as identity_tables
from agentproxy.store import push as push
from agentproxy.store.claiming import claim_database
from agentproxy.store.engines import address, make_engines, make_private_file, sqlite_file
from agentproxy.store.schema_version import is_newest
from agentproxy.store.sealing import Sealer
from agentproxy.store.trouble import StoreError, sentence, translated
from agentproxy.store.writer import Work, Writer

T = TypeVar("T")
Listener = Callable[[Sequence[Event]], None]
_READERS = 4


class _Reader(Thread):
    """A thread that reads; it holds up no end of the process."""

    def __init__(self, **facts: Any) -> None:
        super().__init__(daemon=True, **facts)


class Database:
    """The database of one server, and the threads that its statements run in.

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
            _bring_up_to_date(writing, file)
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
                _bring_up_to_date(alone, file)
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
        return listen(self._listeners, lambda events: listener(events))  # a new one each time: it may listen twice

    def on_recovery(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Tell *listener* each time that writing works again; must not fail.

        :returns: what ends it; twice does no harm.
        """
        return listen(self._hopeful, listener)

    def _recovered(self) -> None:
        for listener in tuple(self._hopeful):
            listener()

    def _committed(self, events: Sequence[Event]) -> None:
        for listener in tuple(self._listeners):
            try:
                listener(events)
            except Exception:
                self.log.failure("A listener of the journal failed at event {number}", number=events[0].number)

    # Statements

    async def run(self, work: Callable[[Connection], T], *, writes: bool = False) -> T:
        """Run the named statements of another file of this package, in the thread that reads or the one that writes."""
        return await (self.write(silent(work)) if writes else self._read(work))

    async def write(self, work: Work[T]) -> T:
        """Like :meth:`run` for statements that add to the journal: *work* returns its result and the entries to add."""
        result, _events = await self._write(work)
        return result

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

    async def _write(self, work: Work[T]) -> tuple[T, list[Event]]:
        return await self._open_writer().write(work)

    async def _read(self, work: Callable[[Connection], T]) -> T:
        engine, pool = self._reading, self._pool
        if engine is None or pool is None:
            raise Refusal(STORE_UNAVAILABLE, "the store is closed")
        return await deferToThreadPool(cast(Any, self._reactor), pool, _read_in_thread, engine, work)


def listen(listeners: list[T], listener: T) -> Callable[[], None]:
    """Add a listener; return what ends it, twice without harm."""
    listeners.append(listener)
    return lambda: listeners.remove(listener) if listener in listeners else None


def silent(work: Callable[[Connection], T]) -> Work[T]:
    """Return *work* as one that adds nothing to the journal."""
    return lambda connection: (work(connection), ())


def _read_in_thread(engine: Engine, work: Callable[[Connection], T]) -> T:
    try:
        with engine.connect() as connection:
            return work(connection)
    except SQLAlchemyError as error:
        raise translated(error) from error


def _bring_up_to_date(engine: Engine, file: Path | None) -> None:
    if not is_newest(engine):
        from agentproxy.store.upgrade import upgrade  # dear, and only for this

        upgrade(engine, file)
