"""The life of a user message: what may follow what, what a crash leaves, and whose turn it is. Pure rules.

=============  ===============================================================================  ====================
state          means                                                                            may become
=============  ===============================================================================  ====================
accepted       kept; nothing was typed                                                          typing, refused,
                                                                                                expired, withdrawn
typing         written down before the first key: keys may have been pressed                    delivered, accepted,
                                                                                                uncertain, refused
delivered      the transcript has it; the agent has not finished its answer                     answered
answered       the agent turned quiet after it                                                  (end)
uncertain      nobody can tell whether it was typed: a person decides                           accepted, delivered,
                                                                                                withdrawn
refused        the agent server does not take it; nothing was typed                             accepted
expired        its time was over before anything was typed                                      accepted
withdrawn      somebody took it back before anything was typed, or discarded an uncertain one   (end)
=============  ===============================================================================  ====================
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from typing import Any

from agentproxy.errors import DELIVERY_SETTLED, Refusal
from agentproxy.model.message import Message


class DeliveryState(Enum):
    """Where a delivery is in its life."""

    ACCEPTED = "accepted"
    TYPING = "typing"
    DELIVERED = "delivered"
    ANSWERED = "answered"
    UNCERTAIN = "uncertain"
    REFUSED = "refused"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


class At(Enum):
    """When a message is typed: at the end of the turn, or at once after an interrupt."""

    TURN_END = "turn-end"
    INTERRUPT = "interrupt"


_S = DeliveryState
NEXT: dict[DeliveryState, frozenset[DeliveryState]] = {
    _S.ACCEPTED: frozenset({_S.TYPING, _S.REFUSED, _S.EXPIRED, _S.WITHDRAWN}),
    _S.TYPING: frozenset({_S.DELIVERED, _S.ACCEPTED, _S.UNCERTAIN, _S.REFUSED}),
    _S.DELIVERED: frozenset({_S.ANSWERED}),
    _S.ANSWERED: frozenset(),
    _S.UNCERTAIN: frozenset({_S.ACCEPTED, _S.DELIVERED, _S.WITHDRAWN}),
    _S.REFUSED: frozenset({_S.ACCEPTED}),
    _S.EXPIRED: frozenset({_S.ACCEPTED}),
    _S.WITHDRAWN: frozenset(),
}
"""Which states may follow which."""
OPEN = frozenset({_S.ACCEPTED, _S.TYPING, _S.DELIVERED, _S.UNCERTAIN})
"""The states in which something is still to come, by the server or by a person."""
WAITING = frozenset({_S.ACCEPTED, _S.TYPING})
OVER = frozenset({_S.ANSWERED, _S.REFUSED, _S.EXPIRED})
"""The states after which a session that was started for this message has nothing left to do."""
FAILED = frozenset({_S.UNCERTAIN, _S.REFUSED, _S.EXPIRED, _S.WITHDRAWN})


@dataclass(frozen=True, slots=True)
class Delivery:
    """One user message on its way.

    :param position: place in the queue; what is typed first has the lower one.
    :param reason: a sentence about the state, where there is more to say.
    :param incarnation: of the agent server that it was typed into.
    :param base: the highest message id of that agent server before it was typed; -1 for none.
    :param message_id: id of the message in the agent server's transcript, once it shows.
    :param answer: what the agent answered.
    :param first: whether it is the message of the session's start.
    :param last: whether the session is stopped when it is answered.
    """

    id: str
    session_id: str
    sender: str
    text: str
    created_at: datetime
    updated_at: datetime
    position: int = 0
    state: DeliveryState = DeliveryState.ACCEPTED
    at: At = At.TURN_END
    expires_at: datetime | None = None
    reason: str = ""
    incarnation: int | None = None
    base: int = -1
    message_id: int | None = None
    answer: str | None = None
    typed_at: datetime | None = None
    delivered_at: datetime | None = None
    answered_at: datetime | None = None
    interrupted: bool = False
    first: bool = False
    last: bool = False


def moved(delivery: Delivery, state: DeliveryState, now: datetime, **changes: Any) -> Delivery:
    """Return the delivery in another state.

    :raises Refusal: DELIVERY_SETTLED, that state cannot follow.
    """
    if state not in NEXT[delivery.state]:
        raise Refusal(
            DELIVERY_SETTLED,
            f"it is {delivery.state.value} and cannot become {state.value}",
            delivery.session_id,
            facts={"delivery_id": delivery.id, "state": delivery.state.value},
        )
    return replace(delivery, **{"reason": "", **changes, "state": state, "updated_at": now})


def same_text(shown: str, typed: str) -> bool:
    """Return whether a message of a transcript is the text that was typed: rows lose the spaces at their end."""
    return _rows(shown) == _rows(typed)


def _rows(text: str) -> list[str]:
    return [row.rstrip() for row in text.strip().replace("\r\n", "\n").split("\n")]


def find(delivery: Delivery, transcript: Iterable[Message], known: frozenset[int] = frozenset()) -> Message | None:
    """Return the delivery's own message in a transcript: the first after its base with its text.

    :param known: messages that are other deliveries'.
    """
    return next(
        (
            one
            for one in transcript
            if one.role == "user"
            and one.id > delivery.base
            and one.id not in known
            and same_text(one.content, delivery.text)
        ),
        None,
    )


def answer_in(transcript: Iterable[Message], message_id: int) -> str:
    """Return what the agent said after a user message, until the user spoke again."""
    said: list[str] = []
    for one in transcript:
        if one.id > message_id and one.role == "user":
            break
        if one.id > message_id:
            said.append(one.content)
    return "\n".join(said).strip()


class Found(Enum):
    """What is known, after a crash, of a message that may have been typed."""

    THERE = "there"
    NOT_TYPED = "not typed"
    UNDECIDED = "undecided"


def after_crash(
    delivery: Delivery,
    incarnation: int,
    transcript: Sequence[Message],
    *,
    empty_input: bool,
    known: frozenset[int] = frozenset(),
) -> Found:
    """Return what the agent server's transcript proves of a delivery that was being typed when the server died.

    Not there, and an input line that shows empty while the agent server answers: it was not typed. An agent server that
    types holds its answer back until it is done; one of another incarnation proves nothing.

    :param empty_input: whether the idle mark of the agent, which shows only with an empty input line, was seen.
    """
    if delivery.incarnation != incarnation:
        return Found.UNDECIDED
    if find(delivery, transcript, known) is not None:
        return Found.THERE
    return Found.NOT_TYPED if empty_input else Found.UNDECIDED


def next_in_line(queue: Sequence[Delivery], recent: Sequence[str]) -> Delivery | None:
    """Return whose turn it is among accepted deliveries.

    Interrupting ones go first. Otherwise the sender who was served longest ago, and of one sender the lowest position: one
    who queues a hundred messages does not keep the others waiting.

    :param recent: senders of the deliveries typed so far, the latest last.
    """
    waiting = [one for one in queue if one.state is DeliveryState.ACCEPTED]
    if not waiting:
        return None
    served = {sender: number for number, sender in enumerate(recent)}
    return min(
        waiting,
        key=lambda one: (one.at is not At.INTERRUPT, not one.first, served.get(one.sender, -1), one.position, one.id),
    )


def in_order(queue: Sequence[Delivery], recent: Sequence[str]) -> list[Delivery]:
    """Return accepted deliveries in the order in which they will be typed."""
    left, served, found = list(queue), list(recent), []
    while (one := next_in_line(left, served)) is not None:
        found.append(one)
        left.remove(one)
        served = [sender for sender in served if sender != one.sender] + [one.sender]
    return found
