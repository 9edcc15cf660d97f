"""Deciding about a message that was being typed when the server died: the agent server's transcript knows, or nobody does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

from agentproxy.agents.driver import AgentServerDriver
from agentproxy.errors import Refusal
from agentproxy.features.attention import Watcher
from agentproxy.features.entering import ordered
from agentproxy.features.observing import Observer
from agentproxy.model.delivery import Delivery, DeliveryState, Found, after_crash, find, moved
from agentproxy.model.message import Message
from agentproxy.model.session import AgentStatus

PATIENCE = 60.0
"""Seconds in which the agent has to show its input line, for a message that is not in the transcript."""


class Recovery:
    """Decides about one delivery that is ``typing`` in the store and that nobody types.

    :param known: ids of messages that are other deliveries'.
    """

    def __init__(
        self,
        delivery: Delivery,
        incarnation: int,
        driver: AgentServerDriver,
        observer: Observer,
        watcher: Watcher,
        known: frozenset[int],
    ) -> None:
        self._delivery, self._incarnation = delivery, incarnation
        self._driver, self._observer, self._watcher = driver, observer, watcher
        self._known = known
        self._until = datetime.now(UTC).timestamp() + PATIENCE

    async def decide(
        self, before: Sequence[Message], change: Callable[[], Awaitable[None]], poke_at: Callable[[str, float], None]
    ) -> Delivery | int:
        """Return the id of its message in the transcript, or the delivery in its next state: accepted or uncertain.

        :param before: the transcript of its own incarnation as the journal has it, for one that has ended.
        :param change: waits for a change of what is known.
        :param poke_at: makes a change after seconds.
        """
        if self._delivery.incarnation != self._incarnation:
            shown = find(self._delivery, before, self._known)
            if shown is not None:
                return shown.id
            return self._uncertain("the agent server ended while it was being typed")
        while True:
            if (found := find(self._delivery, ordered(self._observer), self._known)) is not None:
                return found.id
            left = self._until - datetime.now(UTC).timestamp()
            if left <= 0:
                return self._uncertain("it is not in the transcript, and the agent's input line does not show")
            if self._watcher.takes_message and self._observer.status is AgentStatus.STABLE:
                return await self._look_closely()
            poke_at("recovery", left)
            await change()

    async def _look_closely(self) -> Delivery | int:
        """Ask the agent server itself: it answers only when it is typing nothing."""
        try:
            transcript = await self._driver.messages()
        except Refusal as refusal:
            return self._uncertain(f"the transcript could not be read: {refusal}")
        proof = after_crash(
            self._delivery, self._incarnation, transcript, empty_input=self._watcher.now.input, known=self._known
        )
        if proof is Found.THERE:
            message = find(self._delivery, transcript, self._known)
            assert message is not None
            return message.id
        if proof is Found.NOT_TYPED:
            return moved(self._delivery, DeliveryState.ACCEPTED, datetime.now(UTC), reason="")
        return self._uncertain("it is not in the transcript, and this agent's input line cannot be recognised")

    def _uncertain(self, why: str) -> Delivery:
        return moved(self._delivery, DeliveryState.UNCERTAIN, datetime.now(UTC), reason=f"the server ended; {why}")
