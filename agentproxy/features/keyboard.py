"""The keyboard of one session: who types raw keys has it for a while, and nothing else is typed meanwhile."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from agentproxy.errors import KEYBOARD_TAKEN, Refusal

LONGEST = 3600.0
"""Seconds for which the keyboard can be taken at most; its holder can take it again."""


class Keyboard:
    """One keyboard.

    :param changed: called with the new holder (None for nobody) and who did it.
    :ivar holder: who has it.
    """

    def __init__(self, clock: IReactorTime, changed: Callable[[str | None, str], None]) -> None:
        self.holder: str | None = None
        self.until = 0.0
        self._clock, self._changed = clock, changed
        self._timer: IDelayedCall | None = None

    @property
    def seconds_left(self) -> float:
        """Return for how long it is still taken."""
        return max(0.0, self.until - self._clock.seconds()) if self.holder is not None else 0.0

    def check(self, who: str) -> None:
        """Check that nobody else has it.

        :raises Refusal: KEYBOARD_TAKEN, with the holder.
        """
        if self.holder is not None and self.holder != who:
            facts = {"holder": self.holder, "seconds": round(self.seconds_left, 3)}
            raise Refusal(KEYBOARD_TAKEN, f"{self.holder} has it", retry_after=self.seconds_left, facts=facts)

    def take(self, who: str, seconds: float) -> None:
        """Take it, or keep it longer: never shorter than it is taken already.

        :raises Refusal: KEYBOARD_TAKEN.
        """
        self.check(who)
        self._give(who, max(min(seconds, LONGEST), self.seconds_left), who)

    def hand_over(self, who: str, to: str, seconds: float) -> None:
        """Give it to somebody else.

        :raises Refusal: KEYBOARD_TAKEN, *who* does not have it.
        """
        self.check(who)
        self._give(to, min(seconds, LONGEST), who)

    def release(self, who: str, *, force: bool = False) -> None:
        """Give it back; nobody has it then. One that nobody has stays so.

        :param force: take it from whoever has it.
        :raises Refusal: KEYBOARD_TAKEN.
        """
        if not force:
            self.check(who)
        if self.holder is not None:
            self._give(None, 0.0, who)

    def close(self) -> None:
        """Stop its clock; twice does no harm."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _give(self, to: str | None, seconds: float, who: str) -> None:
        before, self.holder = self.holder, to
        self.until = self._clock.seconds() + seconds
        self.close()
        if to is not None:
            self._timer = self._clock.callLater(seconds, self._give, None, 0.0, "the clock")
        if before != to:
            self._changed(to, who)
