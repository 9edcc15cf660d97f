"""The open deliveries of one session: in memory, where a change counts at once, and in the store, where it has to get.

What a person changes is refused while it cannot be committed. What became of a message at the agent has happened: it is written
however long the store needs.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from agentproxy.errors import Refusal
from agentproxy.features.queue_terms import Ledger, Terms
from agentproxy.model.delivery import OPEN, OVER, Delivery, DeliveryState, in_order, next_in_line
from agentproxy.model.event import NewEvent
from agentproxy.store.deliveries import told

log = Logger()

AGAIN = 1.0
"""Seconds until something that failed is tried again."""
REMEMBERED = 200
"""Senders that the turn of the next one is told by."""


class OpenDeliveries:
    """The deliveries of one session that are not over.

    :ivar ready: whether the store's deliveries are known.
    :ivar closing: set when nobody works with them any more; what cannot be written then is left to the next incarnation.
    """

    def __init__(self, ledger: Ledger, terms: Terms, clock: IReactorTime) -> None:
        self.ready = False
        self.closing = False
        self._ledger, self._terms, self._clock = ledger, terms, clock
        self._open: dict[str, Delivery] = {}
        self._early: dict[str, Delivery] = {}
        self._recent: list[str] = []

    async def load(self) -> None:
        """Read what the store has, until it can be read."""
        while not self.ready:
            try:
                found, self._recent = await self._ledger.load(self._terms.session_id)
            except Refusal as refusal:
                log.warn("The queue of session {session} cannot be read: {refusal}", session=self._terms.session_id,
                         refusal=str(refusal))  # fmt: skip
                await deferLater(self._clock, AGAIN)
                continue
            self.ready = True
            self.put([*found, *self._early.values()])  # what came or changed meanwhile is the newer
            self._early.clear()

    # -- what there is

    def all(self) -> list[Delivery]:
        """Return them in no order."""
        return list(self._open.values())

    def known(self, delivery_id: str) -> Delivery | None:
        """Return one as it is now."""
        return self._open.get(delivery_id) or self._early.get(delivery_id)

    def waiting(self) -> list[Delivery]:
        """Return the accepted ones in the order in which they will be typed."""
        return in_order([*self.all(), *self._early.values()], self._recent)

    def next(self) -> Delivery | None:
        """Return the one that is to be typed next."""
        return next_in_line(self.all(), self._recent)

    def one_that_is(self, state: DeliveryState) -> Delivery | None:
        """Return one in a state, None when there is none."""
        return next((one for one in self._open.values() if one.state is state), None)

    def message_ids(self) -> frozenset[int]:
        """Return the ids of the messages of the transcript that are theirs."""
        return frozenset(one.message_id for one in self._open.values() if one.message_id is not None)

    # -- changes

    def put(self, changed: Sequence[Delivery]) -> None:
        """Take deliveries as they are now, in memory alone."""
        for one in changed:
            if not self.ready:
                self._early[one.id] = one
            elif one.state in OPEN:
                self._open[one.id] = one
            else:
                self._open.pop(one.id, None)

    def forget(self, one: Delivery) -> None:
        """Leave a delivery to the store as it is."""
        self._open.pop(one.id)

    def served(self, sender: str) -> None:
        """Remember whose message was typed last."""
        self._recent = [*[one for one in self._recent if one != sender], sender][-REMEMBERED:]

    async def change(self, changed: Sequence[Delivery], events: Sequence[NewEvent]) -> None:
        """Take deliveries as a person has changed them, and commit it.

        The change stands in memory at once, so that nothing is typed that somebody has taken back.

        :raises Refusal: STORE_UNAVAILABLE; nothing has changed.
        """
        before = [known for one in changed if (known := self.known(one.id)) is not None]
        self.put(changed)
        try:
            await self._ledger.keep(changed, events)
        except BaseException:
            for one in changed:
                self._early.pop(one.id, None)
            self.put(before)
            raise
        for one in changed:
            self._settled(one)

    async def begin_typing(self, accepted: Delivery, typing: Delivery) -> None:
        """Commit that a delivery is being typed; before that no key may be pressed.

        :raises Refusal: STORE_UNAVAILABLE; it stays accepted.
        """
        self.put([typing])
        try:
            await self._ledger.keep([typing], [told(typing)])
        except Refusal:
            self.put([accepted])
            raise

    async def become(self, one: Delivery) -> None:
        """Take a new state over in memory and commit it, however long the store needs: the world has moved on already."""
        self.put([one])
        while True:
            try:
                await self._ledger.keep([one], [told(one)])
                break
            except Refusal as refusal:
                log.warn("Delivery {delivery} cannot be recorded: {refusal}", delivery=one.id, refusal=str(refusal))
                if self.closing:
                    return
                await deferLater(self._clock, AGAIN)
        self._settled(one)

    def _settled(self, one: Delivery) -> None:
        """Tell who waits, and end what was started for this one message; one that a person took back ends nothing."""
        self._ledger.settled(one)
        if one.last and one.state in OVER:
            self._terms.answered(one)
