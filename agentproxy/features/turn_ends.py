"""When the turn of a delivered message is over, and when it can be cut short.

Both have to allow for an agent that begins to work late: on a busy machine it stands still, with its input line on the screen and
deaf to its interrupt keys, for longer than an agent server takes to call it quiet.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from agentproxy.features.attention import Watcher
from agentproxy.features.bell import Bell
from agentproxy.features.entering import ordered
from agentproxy.features.observing import Observer
from agentproxy.model.attention import Kind, says_something
from agentproxy.model.delivery import Delivery, answer_in

SILENT = 5.0
"""Seconds for which an agent that has said nothing to a message has to stay quiet before its turn is over."""
BEGINS = 1.0
"""Seconds after a message in which an agent may not hear its interrupt keys yet."""
PRESS_AGAIN = 5.0
"""Seconds of work after the interrupt keys, before they are pressed again: an agent that heard them is quiet by then."""
PRESSES = 3
WORKING = (Kind.WORKING, Kind.UNREACHABLE)


class TurnEnds:
    """Knows it of one session's messages.

    :param bell: rung when time alone has changed an answer.
    """

    def __init__(self, watcher: Watcher, bell: Bell, clock: IReactorTime) -> None:
        self._watcher, self._bell, self._clock = watcher, bell, clock
        self._observer: Observer | None = None
        self._turns: dict[str, tuple[int, int]] = {}
        self._presses: dict[str, tuple[int, float]] = {}
        self._shown_at = clock.seconds() - BEGINS
        self._is_cut = False
        self._quiet_since = (-1, 0.0)

    def attach(self, observer: Observer) -> None:
        """Begin to know."""
        self._observer = observer

    def begun(self, delivery_id: str, typed: int) -> None:
        """Take note that a message shows in the transcript.

        :param typed: the number of the agent's quiet times when it began to be typed.
        """
        assert self._observer is not None
        self._turns[delivery_id] = (typed, self._observer.quiet_turns)
        self._shown_at, self._is_cut = self._clock.seconds(), False

    def interrupted(self) -> None:
        """Take note that the interrupt keys were pressed: an agent that was cut short may have nothing to say."""
        self._is_cut = True

    def answer(self, one: Delivery) -> str:
        """Return what the agent has said to a delivered message so far."""
        assert self._observer is not None
        assert one.message_id is not None
        return answer_in(ordered(self._observer), one.message_id)

    def is_over(self, one: Delivery) -> bool:
        """Return whether the agent turned quiet with an answer after the message was typed, or stays quiet without one.

        It is over as well when somebody else has said something since.
        """
        assert self._observer is not None
        assert one.message_id is not None
        typed, seen = self._turns.get(one.id, (0, 0))
        quiet = self._observer.quiet_turns
        says = says_something(self.answer(one), self._watcher.marks)
        is_quiet = self._watcher.takes_message and quiet > (typed if says else seen)
        is_sure = says or self._is_cut or self._watcher.acp  # that protocol says itself when a turn is over
        over = is_quiet and (is_sure or self._stays_quiet(quiet))
        return over or any(other.role == "user" and other.id > one.message_id for other in ordered(self._observer))

    def forget(self, delivery_id: str) -> None:
        """Forget a delivery that is settled."""
        self._turns.pop(delivery_id, None)
        self._presses.pop(delivery_id, None)

    def until_begun(self) -> float:
        """Return the seconds until an agent that was given a message hears its interrupt keys."""
        return max(0.0, self._shown_at + BEGINS - self._clock.seconds())

    def interrupt_is_due(self, delivery_id: str) -> bool:
        """Return whether the interrupt keys are to be pressed now for a delivery; they count as pressed then."""
        now = self._clock.seconds()
        presses, last = self._presses.get(delivery_id, (0, now - PRESS_AGAIN))
        if self._watcher.now.kind not in WORKING or presses == PRESSES:
            return False
        left = max(self.until_begun(), last + PRESS_AGAIN - now)
        if left > 0:
            self._bell.ring_in("interrupt", left)
            return False
        self._presses[delivery_id] = (presses + 1, now)
        return True

    def _stays_quiet(self, turn: int) -> bool:
        now = self._clock.seconds()
        if self._quiet_since[0] != turn:
            self._quiet_since = (turn, now)
        left = self._quiet_since[1] + SILENT - now
        if left > 0:
            self._bell.ring_in("silent", left)
        return left <= 0
