"""The one thread that writes, and its group commit.

What is asked for while a transaction runs shares the next one. Within it, each request that has neighbours has a savepoint, so
that a wrong one does not spoil them; what all of them add to the journal, which cannot be wrong, is one insert at the end.
When the database itself fails, the whole group is refused and the connection thrown away; the thread then tries a
small write every second, so that the store recovers when the disk does.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Any, TypeVar, cast

from sqlalchemy import Connection, Engine, update
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.logger import Logger

from agentproxy.errors import STORE_UNAVAILABLE, Refusal
from agentproxy.model.event import Event
from agentproxy.store.journal import Entry, append
from agentproxy.store.schema import EVENT_COUNTER, counters
from agentproxy.store.trouble import is_about_the_data, sentence, translated

T = TypeVar("T")
Work = Callable[[Connection], tuple[T, Sequence[Entry]]]
"""Statements that return their result, and what is to be added to the journal."""
GROUP = 500
_PROBE_EVERY = 1.0  # seconds, while the database fails
_TURN = 0.003  # seconds that answers may hold the reactor at a time; a group has hundreds


@dataclass(eq=False, slots=True)
class _Request:
    """One thing to write: ``work``, or only ``entries`` for the journal; ``done`` fires with its result and its events."""

    done: Deferred[Any]
    work: Work[Any] | None = None
    entries: Sequence[Entry] = ()


@dataclass(frozen=True, slots=True)
class _Outcome:
    request: _Request
    result: Any = None
    entries: Sequence[Entry] = ()
    events: list[Event] = field(default_factory=list)
    failure: Exception | None = None


class Writer:
    """The writing thread.

    :param committed: told on the reactor thread of each group's events, in order of number, after its commit and
        before the requests of the group are answered.
    :param recovered: told on the reactor thread when writing works again, after those were answered for whom it failed.
    :param took: told, on the writing thread, how many seconds each transaction took; one that failed too.
    :ivar trouble: why writing fails now, or None.
    """

    log = Logger()

    def __init__(
        self,
        reactor: IReactorFromThreads,
        engine: Engine,
        committed: Callable[[Sequence[Event]], None],
        recovered: Callable[[], None],
        took: Callable[[float], None] = lambda _seconds: None,
    ) -> None:
        self._reactor = reactor
        self._engine = engine
        self._committed = committed
        self._recovered = recovered
        self._took = took
        self._waiting: deque[Sequence[_Request]] = deque()  # those that stand together are in one transaction
        self._held: list[_Request] | None = None
        self._changed = threading.Condition()
        self._stopping = False
        self._stopped: Deferred[None] = Deferred()
        self._answers: deque[Callable[[], None]] = deque()
        self._answering = False
        self._thread = threading.Thread(target=self._run, name="agentproxy-store-writer", daemon=True)
        self.trouble: str | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    async def stop(self) -> None:
        """Write what is waiting, then end the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        await self._stopped
        self._thread.join()

    def write(self, work: Work[T]) -> Deferred[tuple[T, list[Event]]]:
        """Run *work* in the next transaction; the Deferred fires with its result and its events when that is committed."""
        return self._put(_Request(Deferred(), work))

    def append(self, entries: Sequence[Entry]) -> Deferred[tuple[None, list[Event]]]:
        """Add *entries* to the journal in the next transaction."""
        return self._put(_Request(Deferred(), entries=entries))

    @contextmanager
    def together(self) -> Iterator[None]:
        """Put what is asked for meanwhile, on the reactor thread, into one transaction: when the database fails, all fails."""
        if self._held is not None:
            yield  # it goes with what is around it
            return
        held: list[_Request] = []
        self._held = held
        try:
            yield
        finally:
            self._held = None
            self._hand_over(held)

    def _put(self, request: _Request) -> Deferred[Any]:
        if self._held is not None:
            self._held.append(request)
        else:
            self._hand_over([request])
        return request.done

    def _hand_over(self, requests: Sequence[_Request]) -> None:
        with self._changed:
            if requests and not self._stopping:
                self._waiting.append(requests)
                self._changed.notify()
                return
        for request in requests:
            request.done.errback(Refusal(STORE_UNAVAILABLE, "the store is closed"))

    def _taken(self) -> list[_Request]:
        """Return what shares the next transaction, some :data:`GROUP` requests at most; the lock is held."""
        group: list[_Request] = []
        while self._waiting and len(group) < GROUP:
            group.extend(self._waiting.popleft())
        return group

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._waiting and not self._stopping:
                    self._changed.wait(_PROBE_EVERY if self.trouble else None)
                group = self._taken()
                if self._stopping and not group:
                    break
            if group or self.trouble:
                self._commit(group)
        self._engine.dispose()
        self._reactor.callFromThread(self._say, [lambda: self._stopped.callback(None)])

    def _commit(self, group: list[_Request]) -> None:
        """Write one group and answer it; an empty one only tries whether the database can be written."""
        begun = time.perf_counter()
        try:
            with self._engine.connect() as connection:
                try:
                    with connection.begin():
                        outcomes = _written(connection, group) if group else _probe(connection)
                except BaseException as error:
                    if not _is_wrong(group, error):
                        connection.invalidate()
                    raise
        except Exception as error:  # each request of the group is told
            if not _is_wrong(group, error):
                self._note(sentence(error))
            outcomes = [_Outcome(request, failure=translated(error)) for request in group]
        else:
            self._note(None)
        self._took(time.perf_counter() - begun)
        events = [event for outcome in outcomes for event in outcome.events]
        told = [partial(self._committed, events)] if events else []
        self._reactor.callFromThread(self._say, [*told, *(partial(_answer, one) for one in outcomes)])

    def _note(self, trouble: str | None) -> None:
        if trouble and not self.trouble:
            self.log.error("The store cannot be written: {trouble}. Agents go on running.", trouble=trouble)
        elif self.trouble and not trouble:
            self.log.info("The store can be written again.")
            self._reactor.callFromThread(self._say, [self._recovered])
        self.trouble = trouble

    def _say(self, calls: Sequence[Callable[[], None]]) -> None:
        """Make *calls* on the reactor thread, in order and behind those before them, a little in each of its turns."""
        self._answers.extend(calls)
        if not self._answering:
            self._go_on_saying()

    def _go_on_saying(self) -> None:
        until = time.perf_counter() + _TURN
        while self._answers and time.perf_counter() < until:
            call = self._answers.popleft()
            try:
                call()
            except Exception:
                self.log.failure("Somebody who was told of a commit failed")
        self._answering = bool(self._answers)
        if self._answering:
            cast(IReactorTime, self._reactor).callLater(0, self._go_on_saying)


def _answer(outcome: _Outcome) -> None:
    if outcome.failure is not None:
        outcome.request.done.errback(outcome.failure)
    else:
        outcome.request.done.callback((outcome.result, outcome.events))


def _probe(connection: Connection) -> list[_Outcome]:
    connection.execute(update(counters).where(counters.c.name == EVENT_COUNTER).values(value=counters.c.value))
    return []


def _written(connection: Connection, group: Sequence[_Request]) -> list[_Outcome]:
    """Return the outcome of each request, when all of them and their events are written."""
    outcomes = [_one(connection, request, alone=len(group) == 1) for request in group]
    events = iter(append(connection, [entry for one in outcomes for entry in one.entries]))
    return [replace(one, events=list(islice(events, len(one.entries)))) for one in outcomes]


def _one(connection: Connection, request: _Request, alone: bool) -> _Outcome:
    if request.work is None:
        return _Outcome(request, entries=request.entries)
    if alone:
        return _Outcome(request, *request.work(connection))
    connection.exec_driver_sql("SAVEPOINT request")
    try:
        result, entries = request.work(connection)
    except Exception as error:
        if not is_about_the_data(error):
            raise
        connection.exec_driver_sql("ROLLBACK TO SAVEPOINT request")
        return _Outcome(request, failure=translated(error))
    connection.exec_driver_sql("RELEASE SAVEPOINT request")
    return _Outcome(request, result, entries)


def _is_wrong(group: Sequence[_Request], error: BaseException) -> bool:
    """Return whether a transaction failed because its only request is wrong, and the database is well."""
    return len(group) == 1 and is_about_the_data(error)
