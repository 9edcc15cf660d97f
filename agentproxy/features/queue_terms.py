"""What a session's queue is given: where deliveries are kept, and what holds for the session."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from agentproxy.model.delivery import Delivery
from agentproxy.model.event import NewEvent
from agentproxy.model.message import Message


class Ledger(Protocol):
    """Where deliveries are kept (``features/deliveries.py``)."""

    async def load(self, session_id: str) -> tuple[list[Delivery], list[str]]:
        """Return the open deliveries of a session in order, and who was served last."""

    async def life(self, session_id: str, incarnation: int) -> list[Message]:
        """Return the last messages of the transcript of an earlier incarnation, as far as the journal has it."""

    async def keep(self, changed: Sequence[Delivery], events: Sequence[NewEvent]) -> None:
        """Commit deliveries as they are now, with events."""

    def settled(self, delivery: Delivery) -> None:
        """Tell those who wait that a delivery is in another state, which is committed."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for one session's queue.

    :param session_id: whose it is.
    :param incarnation: the life of the agent server.
    :param interrupt: keys that stop a turn.
    :param clear: keys that empty the input line.
    :param budget: returns why nothing may be typed now, or nothing.
    :param spent: told of each message that was typed.
    :param answered: told when the last message of a oneshot session was answered, or came to nothing.
    :param tell: writes an event.
    :param typing: told when a message begins to be typed (True), and when that is over.
    """

    session_id: str
    incarnation: int
    interrupt: tuple[str, ...]
    clear: tuple[str, ...]
    budget: Callable[[], str]
    spent: Callable[[], None]
    answered: Callable[[Delivery], None]
    tell: Callable[[str, dict[str, Any]], None]
    typing: Callable[[bool], None] = lambda _begins: None
