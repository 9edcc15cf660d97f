"""A moment that many wait for, each with a Deferred of its own: whoever goes away takes nothing from the others."""

from __future__ import annotations

from typing import Generic, TypeVar

from twisted.internet.defer import Deferred

T = TypeVar("T")


class Moment(Generic[T]):
    """What is still to come; it may come more than once."""

    def __init__(self) -> None:
        self._waiting: list[Deferred[T]] = []

    def wait(self) -> Deferred[T]:
        """Return a Deferred that fires when it comes next; cancelling it forgets it."""
        waiting: Deferred[T] = Deferred(self._forget)
        self._waiting.append(waiting)
        return waiting

    def _forget(self, waiting: Deferred[T]) -> None:
        if waiting in self._waiting:
            self._waiting.remove(waiting)

    def come(self, result: T) -> None:
        """Tell all who wait."""
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(result)
