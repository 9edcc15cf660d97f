"""The keyboard of a session: one holder, hand-over, an end by the clock."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from agentproxy.errors import Refusal
from agentproxy.features.keyboard import Keyboard


def test_one_has_it_until_the_time_is_over() -> None:
    """Somebody else is refused with the holder's name; afterwards anybody may take it, and each change is told once."""
    clock, told = Clock(), []
    keyboard = Keyboard(clock, lambda holder, who: told.append((holder, who)))
    keyboard.take("alice", 10)
    keyboard.take("alice", 5)
    with pytest.raises(Refusal, match="alice has it") as refused:
        keyboard.take("bob", 10)
    assert (refused.value.retry_after, refused.value.facts["holder"]) == (10, "alice")
    clock.advance(10)
    keyboard.take("bob", 10)
    keyboard.release("bob")
    keyboard.release("bob")
    assert told == [("alice", "alice"), (None, "the clock"), ("bob", "bob"), (None, "bob")]
    assert not clock.getDelayedCalls()


def test_it_is_handed_over_by_its_holder_alone() -> None:
    """Whoever may may also take it away."""
    clock = Clock()
    keyboard = Keyboard(clock, lambda _holder, _who: None)
    keyboard.take("alice", 10)
    with pytest.raises(Refusal):
        keyboard.hand_over("bob", "bob", 10)
    keyboard.hand_over("alice", "bob", 10)
    with pytest.raises(Refusal):
        keyboard.release("alice")
    keyboard.release("carol", force=True)
    assert keyboard.holder is None
    keyboard.close()
    assert not clock.getDelayedCalls()
