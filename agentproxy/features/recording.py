"""The writes of one living session: in order, those that wait in one transaction, and none forgotten while the store fails.

What the server itself has to record (phases, steps, what was said) is not lost with a full disk: it is kept, small, and
written when the store can be written again. What a caller asked for is refused instead, and changes nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from agentproxy.errors import STORE_UNAVAILABLE, Refusal
from agentproxy.features.turns import Turns
from agentproxy.model.event import NewEvent
from agentproxy.model.message import Message
from agentproxy.model.session import Incarnation
from agentproxy.store import Store

log = Logger()
T = TypeVar("T")

EVENTS_OWED = 1000
"""Events of one session that are kept while the store fails; beyond that the oldest are given up."""


@dataclass(slots=True)
class Owed:
    """What the store does not have yet: the latest of each thing, however long it fails.

    :param changes: fields of the session.
    :param revisions: the latest of each message, by its id.
    :param life: fields of the incarnation.
    :param settled: whether the messages stand as they are.
    """

    changes: dict[str, Any] = field(default_factory=dict)
    events: deque[NewEvent] = field(default_factory=lambda: deque(maxlen=EVENTS_OWED))
    revisions: dict[int, Message] = field(default_factory=dict)
    life: dict[str, Any] = field(default_factory=dict)
    settled: bool = False

    def __bool__(self) -> bool:
        return bool(self.changes or self.events or self.revisions or self.life or self.settled)


class Recorder:
    """Writes for one incarnation of one session.

    :param incarnation: its number.
    """

    def __init__(self, store: Store, session_id: str, incarnation: int) -> None:
        self._store, self._session_id, self._incarnation = store, session_id, incarnation
        self._turns = Turns(store.together, store.clock)
        self._owed = Owed()
        self._begun = False
        self._forget_recovery: Callable[[], None] | None = None
        self._paid: list[Deferred[None]] = []

    # -- what the server records

    def change(self, changes: Mapping[str, Any], events: Sequence[NewEvent], *, soon: bool = False) -> None:
        """Change fields of the session, with the events that say so.

        :param soon: it may wait a little for another write.
        """

        def owe() -> None:
            self._owed.changes.update(changes)
            self._owed.events.extend(events)

        self._background(lambda: self._store.change_session(self._session_id, changes, events), owe, soon=soon)

    def tell(self, event: NewEvent, *, soon: bool = False) -> None:
        """Append an event.

        :param soon: it may wait a little for another write.
        """
        self._background(lambda: self._store.append([event]), lambda: self._owed.events.append(event), soon=soon)

    def revise(self, message: Message) -> None:
        """Keep the latest revision of a message."""

        def owe() -> None:
            self._owed.revisions[message.id] = message
            self._owed.settled = False

        self._background(lambda: self._put([message]), owe)

    def settle(self) -> None:
        """Write the agent's messages into the journal as they stand."""

        def owe() -> None:
            self._owed.settled = True

        self._background(self._settle, owe)

    def life(self, changes: Mapping[str, Any]) -> None:
        """Change fields of the incarnation; nothing, if the start ended before there was one."""
        self._background(lambda: self._change_life(changes), lambda: self._owed.life.update(changes))

    # -- what somebody waits for

    async def commit(self, write: Callable[[], Awaitable[T]]) -> T:
        """Write in order and return when it is committed.

        :raises Refusal: STORE_UNAVAILABLE; nothing is kept for later.
        """
        return await self._turns.run(lambda: _awaited(write))

    async def begin_life(self, incarnation: Incarnation) -> None:
        """Commit the incarnation that is about to be executed.

        :raises Refusal: STORE_UNAVAILABLE.
        """

        async def begin() -> None:
            await self._store.add_incarnation(incarnation)
            self.continue_life()

        await self.commit(begin)

    def continue_life(self) -> None:
        """Take the incarnation as one that is in the store already: an earlier server began it."""
        self._begun = True

    def tried(self) -> Deferred[None]:
        """Return a Deferred that fires when everything reported so far has been written, or is owed."""
        return self._turns.over()

    def committed(self) -> Deferred[None]:
        """Return a Deferred that fires when everything reported so far is in the store, however long that takes."""
        done: Deferred[None] = Deferred()

        def look(_none: None) -> None:
            if self._owed:
                self._paid.append(done)
            else:
                done.callback(None)

        self.tried().addCallback(look)
        return done

    def check(self) -> None:
        """Refuse while something that was reported is not in the store.

        :raises Refusal: STORE_UNAVAILABLE.
        """
        if self._owed:
            raise Refusal(STORE_UNAVAILABLE, self._store.healthy() or "it is being caught up", self._session_id)

    # -- steps

    def _background(
        self, write: Callable[[], Coroutine[Any, Any, Any]], owe: Callable[[], None], *, soon: bool = False
    ) -> None:
        run = self._turns.run_soon if soon else self._turns.run
        done = run(lambda: self._written(write, owe))
        done.addErrback(
            lambda failure: log.failure("Session {session} could not be recorded", failure, session=self._session_id)
        )

    async def _written(self, write: Callable[[], Coroutine[Any, Any, Any]], owe: Callable[[], None]) -> None:
        if self._owed:  # in order: what is owed comes first
            owe()
            return
        try:
            await write()
        except Refusal as refusal:
            if refusal.kind is not STORE_UNAVAILABLE:
                raise
            owe()
            self._await_recovery(refusal)

    def _await_recovery(self, refusal: Refusal) -> None:
        log.warn("Session {session} cannot be recorded now, it will be: {why}",
                 session=self._session_id, why=refusal.details)  # fmt: skip
        if self._forget_recovery is None:
            self._forget_recovery = self._store.on_recovery(self._recovered)

    def _recovered(self) -> None:
        self._turns.alone(self._pay).addErrback(
            lambda failure: log.failure("Session {session} could not be caught up", failure, session=self._session_id)
        )

    async def _pay(self) -> None:
        """Write what is owed, as far as the store goes; what it does not take at all is logged and given up."""
        for part in (self._pay_record, self._pay_revisions, self._pay_settling, self._pay_life):
            try:
                await part()
            except Exception as error:
                if isinstance(error, Refusal) and error.kind is STORE_UNAVAILABLE:
                    return  # until the next recovery
                log.failure("Session {session} could not be caught up", session=self._session_id)
        self._owed = Owed()
        self._all_paid()

    async def _pay_record(self) -> None:
        owed = self._owed
        if owed.changes:
            await self._store.change_session(self._session_id, owed.changes, list(owed.events))
        else:
            await self._store.append(list(owed.events))
        owed.changes = {}
        owed.events.clear()

    async def _pay_revisions(self) -> None:
        await self._put([message for _id, message in sorted(self._owed.revisions.items())])
        self._owed.revisions = {}

    async def _pay_settling(self) -> None:
        if self._owed.settled:
            await self._settle()
            self._owed.settled = False

    async def _pay_life(self) -> None:
        if self._owed.life:
            await self._change_life(self._owed.life)
            self._owed.life = {}

    def _all_paid(self) -> None:
        if self._forget_recovery is not None:
            self._forget_recovery()
            self._forget_recovery = None
        paid, self._paid = self._paid, []
        for one in paid:
            one.callback(None)

    async def _put(self, messages: list[Message]) -> None:
        if messages:
            await self._store.put_messages(self._session_id, messages, incarnation=self._incarnation)

    async def _settle(self) -> None:
        await self._store.settle_messages(self._session_id, self._incarnation)

    async def _change_life(self, changes: Mapping[str, Any]) -> None:
        if self._begun:
            await self._store.change_incarnation(self._session_id, self._incarnation, changes)


async def _awaited(write: Callable[[], Awaitable[T]]) -> T:
    return await write()
