"""The queue of starts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError

from agentproxy.errors import TOO_MANY_STARTS, Refusal
from agentproxy.runtime.start_queue import StartQueue, Ticket


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


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60), st.integers(1, 3), st.integers(0, 5))
def test_the_queue_is_never_over_full_nor_idle(steps: list[tuple[str, bool]], at_once: int, queued: int) -> None:
    """Whoever comes and goes: never more at once than allowed, nobody waits while there is room, places are 1, 2, 3..."""
    queue = StartQueue(at_once, queued)
    held: list[Ticket] = []
    for owner, comes in steps:
        if comes:
            try:
                held.append(queue.enter(owner))
            except Refusal:
                assert (queue.starting, queue.queued) == (at_once, queued)
        elif held:
            ticket = held.pop(len(held) // 2)
            ticket.admitted.addErrback(lambda _cancelled: None)
            ticket.release()
            ticket.release()
        assert queue.starting == min(at_once, len(held))
        assert queue.queued == len(held) - queue.starting <= queued
        places = [ticket.position for ticket in held if ticket.position is not None]
        assert sorted(places) == list(range(1, queue.queued + 1))
