"""A bell that wakes one loop: rung by whoever changes something, or by the clock."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Bell:
    """What is rung while nobody waits is heard by the next who does."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._waiting: Deferred[None] | None = None
        self._rung = False
        self._timers: dict[str, IDelayedCall] = {}

    def ring(self) -> None:
        """Wake whoever waits."""
        self._rung = True
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def ring_in(self, name: str, seconds: float) -> None:
        """Ring after *seconds*; the same *name* again moves the time."""
        timer = self._timers.get(name)
        if timer is None or not timer.active():
            self._timers[name] = self._clock.callLater(max(seconds, 0), self._ring_by, name)
        else:
            timer.reset(max(seconds, 0))

    def silence(self) -> None:
        """Forget what has been rung so far: everything is being looked at now."""
        self._rung = False

    def heard(self) -> Deferred[None]:
        """Return a Deferred that fires when it is rung, at once when it was rung since the last silence."""
        waiting: Deferred[None] = Deferred(lambda _: setattr(self, "_waiting", None))
        if self._rung:
            self._rung = False
            waiting.callback(None)
        else:
            self._waiting = waiting
        return waiting

    def close(self) -> None:
        """Stop every clock; twice does no harm."""
        for timer in self._timers.values():
            if timer.active():
                timer.cancel()
        self._timers = {}

    def _ring_by(self, name: str) -> None:
        self._timers.pop(name, None)
        self.ring()
