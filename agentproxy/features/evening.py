"""Answers that say "not found" come at even times, so that no clock tells a session of others from one that does not exist.

What is looked up differs by some ten microseconds: a row that is there has to be read. So such an answer waits for the end of the
step of five milliseconds in which it was found, counted from when it was asked for.
"""

from __future__ import annotations

import math

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

STEP = 0.005


class Evening:
    """See the module.

    :param clock: None evens out nothing, for parts that are used without a reactor.
    """

    def __init__(self, clock: IReactorTime | None = None) -> None:
        self._clock = clock

    def begin(self) -> float:
        """Return when somebody asked: now."""
        return self._clock.seconds() if self._clock is not None else 0.0

    async def wait(self, begun: float) -> None:
        """Wait for the end of the step."""
        if self._clock is None:
            return
        spent = self._clock.seconds() - begun
        await deferLater(self._clock, math.floor(spent / STEP + 1) * STEP - spent)
