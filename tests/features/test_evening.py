"""Not found comes at even times."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from agentproxy.features.evening import STEP, Evening


@pytest.mark.parametrize(("spent", "expected"), [(0.0, STEP), (0.0001, STEP), (0.0049, STEP), (0.0051, 2 * STEP)])
def test_an_answer_comes_at_the_end_of_its_step(spent: float, expected: float) -> None:
    """Whatever the look-up took within a step, the answer comes when the step is over."""
    clock = Clock()
    evening = Evening(clock)
    begun = evening.begin()
    clock.advance(spent)
    waiting = Deferred.fromCoroutine(evening.wait(begun))
    [call] = clock.getDelayedCalls()
    assert call.getTime() - begun == pytest.approx(expected)
    clock.advance(STEP)
    assert waiting.called
    assert clock.getDelayedCalls() == []
