"""Typing one user message into one agent, once, and what is known of it afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeadlineError
from twisted.internet.interfaces import IReactorTime

from agentproxy.agents.driver import (
    AgentServerDriver,
    Busy,
    Outcome,
    Refused,
    Sent,
    TypedNotEntered,
    Unknown,
    Unreachable,
)
from agentproxy.errors import Refusal
from agentproxy.features.observing import Observer
from agentproxy.model.delivery import Delivery, find
from agentproxy.model.message import Message

SEND_DEADLINE = 20.0
"""Seconds for one ``POST /message``; past it agentapi is locked and only its stream is alive."""
SEEN_DEADLINE = 10.0
"""Seconds in which a message that was sent, or may have been, has to show in the stream."""


class Fate(Enum):
    """What is known of a message after it was typed, or not."""

    SHOWN = "shown"
    NOT_TYPED = "not typed"
    BUSY = "busy"
    REFUSED = "refused"
    UNCERTAIN = "uncertain"


@dataclass(frozen=True, slots=True)
class Typed:
    """What became of one attempt to type a message.

    :param reason: a sentence unless it is shown.
    :param message: the message in the transcript, when it is shown.
    """

    fate: Fate
    reason: str = ""
    message: Message | None = None


async def type_in(delivery: Delivery, driver: AgentServerDriver, observer: Observer, clock: IReactorTime) -> Typed:
    """Type a delivery's message once and watch it arrive in the agent server's stream.

    Only ``BUSY`` and ``NOT_TYPED`` mean that no key was pressed and that it may be typed again.
    """
    outcome = await driver.send_user(delivery.text, SEND_DEADLINE)
    match outcome:
        case Busy():
            return Typed(Fate.BUSY, "the agent was busy")
        case Refused(why):
            return Typed(Fate.REFUSED, why)
        case Unreachable(why):
            return Typed(Fate.NOT_TYPED, why)
        case TypedNotEntered():
            return Typed(Fate.UNCERTAIN, "the text was typed, but the agent did not show it; Enter was not pressed")
    return await _seen(outcome, delivery, observer, clock)


async def _seen(outcome: Outcome, delivery: Delivery, observer: Observer, clock: IReactorTime) -> Typed:
    assert isinstance(outcome, Sent | Unknown)
    reason = (
        outcome.why if isinstance(outcome, Unknown) else "the agent server took it, but it did not show in the stream"
    )
    try:
        await shown(delivery, observer).addTimeout(SEEN_DEADLINE, clock)
    except DeadlineError:
        return Typed(Fate.UNCERTAIN, reason)
    except Refusal:
        return Typed(Fate.UNCERTAIN, f"{reason}; then the session ended")
    return Typed(Fate.SHOWN, "", find(delivery, ordered(observer)))


def shown(delivery: Delivery, observer: Observer) -> Deferred[None]:
    """Return a Deferred that fires when the delivery's message shows in the stream."""
    return observer.when(lambda: find(delivery, ordered(observer)) is not None)


def ordered(observer: Observer) -> list[Message]:
    """Return the transcript that the stream has told, in order."""
    return [message for _id, message in sorted(observer.messages.items())]
