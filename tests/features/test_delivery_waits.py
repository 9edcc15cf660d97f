"""Waiting for what becomes of a message."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel
from twisted.logger import globalLogPublisher as publisher

from agentproxy.errors import STORE_UNAVAILABLE, Refusal
from agentproxy.features.delivery_waits import DeliveryWaits
from agentproxy.model.delivery import Delivery, DeliveryState, moved

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ACCEPTED = Delivery(id="d", session_id="s", sender="ann", text="hello", created_at=NOW, updated_at=NOW)
TYPING = moved(ACCEPTED, DeliveryState.TYPING, NOW)
DELIVERED = moved(TYPING, DeliveryState.DELIVERED, NOW, message_id=1)
ANSWERED = moved(DELIVERED, DeliveryState.ANSWERED, NOW, answer="hi")


def begun(waits: DeliveryWaits, until: str, told: list[DeliveryState]) -> Deferred[None]:
    """Begin to wait for the delivery; what it is answered with goes to the list."""
    waiting = Deferred.fromCoroutine(waits.wait(ACCEPTED, until, 30))
    return waiting.addCallback(lambda one: told.append(one.state))


async def unreadable(_delivery_id: str) -> Delivery:
    """Refuse, as a store does that cannot be read."""
    raise Refusal(STORE_UNAVAILABLE)


async def accepted(_delivery_id: str) -> Delivery:
    """Return the delivery as it was."""
    return ACCEPTED


def test_each_is_answered_by_what_it_waits_for() -> None:
    """Who waits for the delivery does not wait for the answer; no timer is left."""
    clock, told = Clock(), list[DeliveryState]()
    waits = DeliveryWaits(accepted, clock)
    begun(waits, "delivered", told)
    begun(waits, "answered", told)
    waits.settled(DELIVERED)
    assert told == [DeliveryState.DELIVERED]
    waits.settled(ANSWERED)
    assert told == [DeliveryState.DELIVERED, DeliveryState.ANSWERED]
    assert not clock.getDelayedCalls()


@pytest.mark.parametrize("end", ["the time is over", "the session has ended"])
def test_a_wait_ends_with_the_delivery_as_it_is(end: str) -> None:
    """When the time is over, and when nothing more can become of it."""
    clock, told = Clock(), list[DeliveryState]()
    waits = DeliveryWaits(accepted, clock)
    begun(waits, "answered", told)
    if end == "the time is over":
        clock.advance(30)
    else:
        waits.session_ended("another")
        assert told == []
        waits.session_ended("s")
    assert told == [DeliveryState.ACCEPTED]
    assert not clock.getDelayedCalls()


def test_an_end_that_cannot_be_answered_is_logged() -> None:
    """A store that fails just then is told in the log; who waits is answered when the time is over."""
    clock, refused, warned = Clock(), list[Refusal](), list[str]()
    waits = DeliveryWaits(unreadable, clock)
    begun(waits, "answered", []).addErrback(lambda failure: refused.append(failure.value))
    observer = lambda event: warned.append(event["log_level"].name) if event["log_level"] is LogLevel.warn else None  # noqa: E731
    publisher.addObserver(observer)
    try:
        waits.session_ended("s")
    finally:
        publisher.removeObserver(observer)
    assert warned == ["warn"]
    clock.advance(30)
    assert [one.kind for one in refused] == [STORE_UNAVAILABLE]
