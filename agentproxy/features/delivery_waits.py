"""Who waits for what becomes of a message: each is answered once, and at the latest when its time is over."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeadlineError
from twisted.internet.interfaces import IReactorTime

from agentproxy.features.detached import refusal_logged
from agentproxy.model.delivery import FAILED, WAITING, Delivery, DeliveryState


@dataclass(eq=False, slots=True)
class _Wait:
    enough: Callable[[Delivery], bool]
    answered: Deferred[Delivery] = field(default_factory=Deferred)


class DeliveryWaits:
    """The waits for deliveries.

    :param read: returns a delivery as it is now, by its id.
    """

    def __init__(self, read: Callable[[str], Awaitable[Delivery]], clock: IReactorTime) -> None:
        self._read = read
        self._clock = clock
        self._waits: dict[str, list[_Wait]] = {}

    async def wait(self, delivery: Delivery, until: str, seconds: float) -> Delivery:
        """Return a delivery when it is ``delivered`` or ``answered``, or has failed, or as it is after *seconds*."""
        one = _Wait(_enough(until))
        if one.enough(delivery):
            return delivery
        self._waits.setdefault(delivery.id, []).append(one)
        try:
            return await one.answered.addTimeout(seconds, self._clock)
        except DeadlineError:
            return await self._read(delivery.id)
        finally:
            self._forget(delivery.id, one)

    def settled(self, delivery: Delivery) -> None:
        """Answer those for whom a delivery's new state is enough."""
        for one in list(self._waits.get(delivery.id, ())):
            if one.enough(delivery):
                self._forget(delivery.id, one)
                one.answered.callback(delivery)

    def session_ended(self, session_id: str) -> None:
        """Answer everybody who waits for a delivery of a session, with the delivery as it is."""
        for delivery_id in list(self._waits):
            Deferred.fromCoroutine(self._wake(delivery_id, session_id)).addErrback(refusal_logged)

    async def _wake(self, delivery_id: str, session_id: str) -> None:
        delivery = await self._read(delivery_id)
        if delivery.session_id == session_id:
            for one in self._waits.pop(delivery_id, []):
                one.answered.callback(delivery)

    def _forget(self, delivery_id: str, one: _Wait) -> None:
        waits = self._waits.get(delivery_id, [])
        if one in waits:
            waits.remove(one)
        if not waits:
            self._waits.pop(delivery_id, None)


def _enough(until: str) -> Callable[[Delivery], bool]:
    """Return what says that nobody has to wait longer."""
    if until == "answered":
        return lambda one: one.state is DeliveryState.ANSWERED or one.state in FAILED
    return lambda one: one.state not in WAITING
