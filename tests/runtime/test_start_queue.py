"""The queue of starts."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError

from agentproxy.errors import TOO_MANY_STARTS, Refusal
from agentproxy.runtime.start_queue import StartQueue


def test_owners_take_turns() -> None:
    """One start of another owner does not wait behind all of the first one's."""
    queue = StartQueue(1, 10)
    first = queue.enter("ann")
    second, third, other = queue.enter("ann"), queue.enter("ann"), queue.enter("bob")
    assert [ticket.position for ticket in (first, second, other, third)] == [None, 1, 2, 3]
    order = []
    for name, ticket in (("second", second), ("third", third), ("other", other)):
        ticket.admitted.addCallback(lambda _none, name=name: order.append(name))
    first.release()
    first.release()
    assert order == ["second"]
    second.release()
    other.release()
    assert order == ["second", "other", "third"]


def test_a_full_queue_refuses() -> None:
    """One start too many is told when to try again."""
    queue = StartQueue(1, 1)
    queue.enter("ann")
    queue.enter("ann")
    with pytest.raises(Refusal) as refused:
        queue.enter("bob")
    assert refused.value.kind is TOO_MANY_STARTS
    assert refused.value.retry_after == 5


def test_a_cancelled_start_leaves_the_queue() -> None:
    """Cancelling a waiting start moves the others up."""
    queue = StartQueue(1, 5)
    queue.enter("ann")
    second, third = queue.enter("ann"), queue.enter("ann")
    gone: list[object] = []
    second.admitted.addErrback(lambda failure: gone.append(failure.trap(CancelledError)))
    second.admitted.cancel()
    assert gone == [CancelledError]
    assert (second.position, third.position) == (None, 1)
