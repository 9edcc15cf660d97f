"""Messages with an honest outcome: accepted means committed, and from then on each has a state that is true.

A message is queued for a session that lives, typed when the agent takes it, and followed to its answer (``queueing.py``). This
file is the door: who may send, list, change and wait, and repeated requests.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from twisted.internet.interfaces import IReactorTime

from agentproxy.errors import (
    DELIVERY_NOT_FOUND,
    DELIVERY_SETTLED,
    INVALID_REQUEST,
    SESSION_NOT_RUNNING,
    TOO_MANY_REQUESTS,
    Refusal,
)
from agentproxy.features.delivery_waits import DeliveryWaits
from agentproxy.features.detached import detached
from agentproxy.features.gathering import Gathering
from agentproxy.features.messaging import clean
from agentproxy.features.queueing import MessageQueue
from agentproxy.model.delivery import At, Delivery, DeliveryState, moved
from agentproxy.model.event import NewEvent
from agentproxy.model.message import Message
from agentproxy.model.principal import Principal
from agentproxy.model.session import Session
from agentproxy.store import Store
from agentproxy.store import deliveries as rows
from agentproxy.store.deliveries import Repeat, told

QUEUE_LIMIT = 1000
"""Messages of one session that may wait; more are refused."""
KEY_LIMIT = 255
PAGE = 500


class Permitting(Protocol):
    """Who may do what to which session (``features/looking.py``)."""

    async def permitted(self, principal: Principal, session_id: str, verb: str) -> Session:
        """Return the session, or raise why not."""


@dataclass(frozen=True, slots=True)
class NewMessage:
    """What somebody wants said.

    :param expires_in: seconds within which it has to be typed, None for no end.
    :param last: stop the session when it is answered.
    """

    text: str
    at: At = At.TURN_END
    expires_in: float | None = None
    last: bool = False

    def digest(self) -> str:
        """Return what two equal requests have in common."""
        facts = [self.text, self.at.value, self.expires_in, self.last]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def repeat_of(kind: str, owner: str, key: str | None, body: str) -> Repeat | None:
    """Return what tells that a request is the same one again, None without a key.

    :raises Refusal: INVALID_REQUEST, the key is too long or not printable ASCII.
    """
    if key is None:
        return None
    if not key or len(key) > KEY_LIMIT or not key.isascii() or not key.isprintable():
        raise Refusal(INVALID_REQUEST, f"Idempotency-Key: expected 1 to {KEY_LIMIT} printable ASCII characters")
    return Repeat(f"{kind}/{hashlib.sha256(owner.encode()).hexdigest()[:32]}", key, body)


class Deliveries:
    """Every delivery of this server (``queueing.Ledger``)."""

    def __init__(self, store: Store, permits: Permitting, clock: IReactorTime) -> None:
        self._store, self._permits = store, permits
        self._queues: dict[str, MessageQueue] = {}
        self._waits = DeliveryWaits(self._read, clock)
        self._loads = Gathering(clock, self._read_queues)

    # -- queues

    def opened(self, session_id: str, queue: MessageQueue) -> None:
        """Know the queue of a session that begins to live."""
        self._queues[session_id] = queue

    def closed(self, session_id: str, queue: MessageQueue) -> None:
        """Forget a queue, and wake everybody who waits for one of its deliveries."""
        if self._queues.get(session_id) is queue:
            del self._queues[session_id]

    async def load(self, session_id: str) -> tuple[list[Delivery], list[str]]:
        """Return the open deliveries of a session, and who was served last."""
        return await self._loads.ask(session_id)

    async def _read_queues(self, session_ids: Sequence[str]) -> Mapping[str, rows.Queue]:
        return await self._store.run(lambda it: rows.read_queues(it, session_ids))

    async def life(self, session_id: str, incarnation: int) -> list[Message]:
        """Return the last messages of one incarnation, as far as the journal has them."""
        found: list[Message] = []
        while page := await self._store.messages_of_life(session_id, incarnation, found[-1].id if found else -1, PAGE):
            found = [*found, *page][-PAGE:]
        return found

    async def keep(self, changed: Sequence[Delivery], events: Sequence[NewEvent]) -> None:
        """Commit deliveries as they are now."""
        await self._store.write(rows.changing(changed, events))

    def settled(self, delivery: Delivery) -> None:
        """Tell those who wait."""
        self._waits.settled(delivery)

    # -- sending

    async def send(
        self, caller: Principal, session_id: str, message: NewMessage, key: str | None = None
    ) -> tuple[Delivery, bool]:
        """Accept a message; return its delivery and whether it is new.

        :raises Refusal: SESSION_NOT_FOUND and the like, SESSION_NOT_RUNNING, INVALID_REQUEST, KEY_REUSED, TOO_MANY_REQUESTS.
        """
        await self._permits.permitted(caller, session_id, "session.message")
        message = replace(message, text=clean(message.text))
        repeat = repeat_of(f"messages/{session_id}", caller.user_id, key, message.digest())
        refused = self._nothing_new(session_id)
        if refused is not None and repeat is None:
            raise refused
        accepting = self._accept(session_id, caller.user_id, message, repeat, refused)
        return await detached(accepting, "the acceptance of a message")

    def _nothing_new(self, session_id: str) -> Refusal | None:
        """Return why no new message is accepted; one that was accepted before is told all the same."""
        queue = self._queues.get(session_id)
        if queue is None:
            return Refusal(SESSION_NOT_RUNNING, session_id=session_id)
        if len(queue.waiting()) >= QUEUE_LIMIT:
            return Refusal(TOO_MANY_REQUESTS, f"{QUEUE_LIMIT} messages wait already", session_id, retry_after=10.0)
        return None

    async def first(self, session_id: str, sender: str, text: str, *, last: bool) -> Delivery:
        """Accept the message of a session's start.

        :param last: stop the session when it is answered.
        """
        delivery, _new = await self._accept(session_id, sender, NewMessage(clean(text), last=last), None, first=True)
        return delivery

    async def expire(self, one: Delivery, reason: str) -> Delivery:
        """Give up on a delivery that was not typed; one that has gone on meanwhile is returned as it is."""
        now = self._newest(one)
        if now.state is not DeliveryState.ACCEPTED:
            return now
        late = moved(now, DeliveryState.EXPIRED, datetime.now(UTC), reason=reason)
        try:
            return await self._change(now, [late], told(late))
        except Refusal:
            return await self._read(one.id)

    async def _accept(
        self,
        session_id: str,
        sender: str,
        message: NewMessage,
        repeat: Repeat | None,
        refused: Refusal | None = None,
        *,
        first: bool = False,
    ) -> tuple[Delivery, bool]:
        now = datetime.now(UTC)
        expires_at = None if message.expires_in is None else now + timedelta(seconds=message.expires_in)
        one = Delivery(
            id=str(uuid.uuid4()),
            session_id=session_id,
            sender=sender,
            text=message.text,
            created_at=now,
            updated_at=now,
            at=message.at,
            expires_at=expires_at,
            first=first,
            last=message.last,
        )
        kept, new = await self._store.write(rows.adding(one, repeat, refused))
        queue = self._queues.get(session_id)
        if new and queue is not None:
            queue.add(kept)
        return (self._newest(kept), new)

    async def wait(self, delivery: Delivery, until: str, seconds: float) -> Delivery:
        """Wait until a delivery is ``delivered`` or ``answered``, or has failed; return it as it is then, or after *seconds*."""
        if delivery.session_id not in self._queues:
            return delivery
        return await self._waits.wait(delivery, until, seconds)

    def woken(self, session_id: str) -> None:
        """Answer everybody who waits for a delivery of a session that has ended, with the delivery as it is."""
        self._waits.session_ended(session_id)

    # -- looking

    async def page(
        self, caller: Principal, session_id: str, states: Sequence[DeliveryState], limit: int
    ) -> tuple[list[Delivery], str]:
        """Return the last deliveries of a session, those that wait in the order of typing, and why the queue is held."""
        await self._permits.permitted(caller, session_id, "session.read")
        found = [
            self._newest(one) for one in await self._store.run(lambda it: rows.read_page(it, session_id, states, limit))
        ]
        queue = self._queues.get(session_id)
        if queue is None:
            return found, ""
        place = {one.id: number for number, one in enumerate(queue.waiting())}
        rest = [one for one in found if one.id not in place]
        return [*rest, *sorted((one for one in found if one.id in place), key=lambda one: place[one.id])], queue.held

    async def get(self, caller: Principal, session_id: str, delivery_id: str) -> Delivery:
        """Return one delivery.

        :raises Refusal: DELIVERY_NOT_FOUND, or SESSION_NOT_FOUND.
        """
        await self._permits.permitted(caller, session_id, "session.read")
        return await self._of(session_id, delivery_id)

    async def _of(self, session_id: str, delivery_id: str) -> Delivery:
        one = await self._read(delivery_id)
        if one.session_id != session_id:
            raise Refusal(DELIVERY_NOT_FOUND, delivery_id, session_id)
        return one

    async def _read(self, delivery_id: str) -> Delivery:
        return self._newest(await self._store.run(lambda it: rows.read_one(it, delivery_id)))

    def _newest(self, one: Delivery) -> Delivery:
        queue = self._queues.get(one.session_id)
        return (queue.known(one.id) if queue is not None else None) or one

    # -- changing

    async def edit(self, caller: Principal, session_id: str, delivery_id: str, changes: dict[str, Any]) -> Delivery:
        """Change the text, the time, the end or the place of a delivery that is not typed yet: all of it, or nothing.

        :param changes: ``text``, ``at``, ``expires_in`` (None for no end), ``before``: the id of another waiting delivery of
            the same sender, None for the place behind all of them.
        :raises Refusal: DELIVERY_SETTLED, INVALID_REQUEST.
        """
        one = await self._changeable(caller, session_id, delivery_id)
        if one.state is not DeliveryState.ACCEPTED:
            raise _settled(one, "edited")
        now = datetime.now(UTC)
        facts: dict[str, Any] = {"updated_at": now}
        if "text" in changes:
            facts["text"] = clean(changes["text"])
        if "at" in changes:
            facts["at"] = changes["at"]
        if "expires_in" in changes:
            seconds = changes["expires_in"]
            facts["expires_at"] = None if seconds is None else now + timedelta(seconds=seconds)
        changed = {one.id: replace(one, **facts)}
        if "before" in changes:
            for other, place in self._places(one, changes["before"]):
                changed[other.id] = replace(changed.get(other.id, other), position=place, updated_at=now)
        event = NewEvent(session_id, "delivery.edited", now, {"id": one.id, "by": caller.user_id})
        await self._change(one, list(changed.values()), event)
        return changed[one.id]

    def _places(self, one: Delivery, before: str | None) -> list[tuple[Delivery, int]]:
        """Return the positions of a sender's waiting deliveries with *one* before another of them, or behind them."""
        queue = self._queues.get(one.session_id)
        mine = [other for other in queue.waiting() if other.sender == one.sender] if queue is not None else []
        if one.id not in [other.id for other in mine]:
            raise Refusal(SESSION_NOT_RUNNING, "only the queue of a session that runs has places", one.session_id)
        if before is not None and before not in [other.id for other in mine]:
            raise Refusal(INVALID_REQUEST, f"$.before: no waiting delivery of {one.sender} has the id {before[:80]}")
        order = [other for other in mine if other.id != one.id]
        place = next((n for n, other in enumerate(order) if other.id == before), len(order))
        order.insert(place, one)
        return list(zip(order, sorted(other.position for other in mine), strict=True))

    async def withdraw(self, caller: Principal, session_id: str, delivery_id: str) -> Delivery:
        """Take a delivery back that is not typed yet.

        :raises Refusal: DELIVERY_SETTLED.
        """
        one = await self._changeable(caller, session_id, delivery_id)
        if one.state is not DeliveryState.ACCEPTED:
            raise _settled(one, "withdrawn")
        gone = moved(one, DeliveryState.WITHDRAWN, datetime.now(UTC), reason=f"withdrawn by {caller.user_id}")
        return await self._change(one, [gone], told(gone))

    async def retry(self, caller: Principal, session_id: str, delivery_id: str) -> Delivery:
        """Have a delivery typed (again) that is uncertain, refused or expired.

        :raises Refusal: DELIVERY_SETTLED, SESSION_NOT_RUNNING.
        """
        one = await self._changeable(caller, session_id, delivery_id)
        queue = self._queues.get(session_id)
        if queue is None:
            raise Refusal(SESSION_NOT_RUNNING, session_id=session_id)
        again = moved(
            one,
            DeliveryState.ACCEPTED,
            datetime.now(UTC),
            expires_at=None,
            incarnation=None,
            base=-1,
            reason=f"sent again by {caller.user_id}",
        )
        if one.state is DeliveryState.UNCERTAIN:
            await queue.clear_input(one.text)
        return await self._change(one, [again], told(again))

    async def discard(self, caller: Principal, session_id: str, delivery_id: str) -> Delivery:
        """Settle an uncertain delivery: it is not typed again, and the queue goes on.

        :raises Refusal: DELIVERY_SETTLED.
        """
        one = await self._changeable(caller, session_id, delivery_id)
        if one.state is not DeliveryState.UNCERTAIN:
            raise _settled(one, "discarded")
        queue = self._queues.get(session_id)
        if queue is not None:
            await queue.clear_input(one.text)
        gone = moved(one, DeliveryState.WITHDRAWN, datetime.now(UTC), reason=f"discarded by {caller.user_id}")
        return await self._change(one, [gone], told(gone))

    async def _changeable(self, caller: Principal, session_id: str, delivery_id: str) -> Delivery:
        """Return a delivery that the caller may change: its own, or anybody's where it may stop the session."""
        await self._permits.permitted(caller, session_id, "session.message")
        one = await self._of(session_id, delivery_id)
        if one.sender != caller.user_id:
            await self._permits.permitted(caller, session_id, "session.stop")
        return self._newest(one)

    async def _change(self, before: Delivery, after: Sequence[Delivery], event: NewEvent) -> Delivery:
        """Take *before* over into the first of *after*, with the others."""
        queue = self._queues.get(before.session_id)
        if queue is None:
            await self.keep(after, [event])
            for one in after:
                self.settled(one)
            return after[0]
        now = queue.known(before.id)
        if now is not None and now.state is not before.state:
            raise _settled(now, "changed")
        await queue.change(after, [event])
        return after[0]


def _settled(one: Delivery, what: str) -> Refusal:
    facts = {"delivery_id": one.id, "state": one.state.value}
    return Refusal(DELIVERY_SETTLED, f"it is {one.state.value} and cannot be {what}", one.session_id, facts=facts)
