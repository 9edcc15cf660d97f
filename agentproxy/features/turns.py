"""Work that is done in order, in turns: what waits when a turn begins is begun together, and the next turn waits for all of it.

Patient work, which nobody waits for, begins no turn at once: it goes with the next one that somebody wants.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall, IReactorTime

T = TypeVar("T")
PATIENCE = 0.02
"""Seconds that patient work waits for a turn at most."""


@dataclass(eq=False, slots=True)
class _Item:
    """One piece of work; None begins nothing and is done with its turn."""

    begin: Callable[[], Coroutine[Any, Any, Any]] | None
    alone: bool = False
    patient: bool = False
    done: Deferred[Any] = field(default_factory=Deferred)


class Turns:
    """Runs work in turns.

    :param together: entered while the work of one turn is begun.
    """

    def __init__(self, together: Callable[[], AbstractContextManager[None]], clock: IReactorTime) -> None:
        self._together = together
        self._clock = clock
        self._waiting: list[_Item] = []
        self._ends: list[Deferred[None]] = []
        self._under_way = False
        self._patience: IDelayedCall | None = None

    def run(self, begin: Callable[[], Coroutine[Any, Any, T]]) -> Deferred[T]:
        """Do work in its turn and return its outcome; cancelled before its turn, it is not begun."""
        return self._ask(_Item(begin))

    def run_soon(self, begin: Callable[[], Coroutine[Any, Any, T]]) -> Deferred[T]:
        """Like :meth:`run`, for what may wait a little for a turn to share."""
        return self._ask(_Item(begin, patient=True))

    def alone(self, begin: Callable[[], Coroutine[Any, Any, T]]) -> Deferred[T]:
        """Like :meth:`run`, in a turn with nothing else."""
        return self._ask(_Item(begin, alone=True))

    def over(self) -> Deferred[None]:
        """Return a Deferred that fires when all that was asked for before is done."""
        if self._under_way and not self._waiting:
            done: Deferred[None] = Deferred()
            self._ends.append(done)
            return done
        return self._ask(_Item(None))

    def _ask(self, item: _Item) -> Deferred[Any]:
        self._waiting.append(item)
        self._go_on()
        return item.done

    def _go_on(self) -> None:
        if self._under_way or not self._waiting:
            return
        if all(one.patient for one in self._waiting):
            if self._patience is None:
                self._patience = self._clock.callLater(PATIENCE, self._lose_patience)
            return
        self._turn()

    def _lose_patience(self) -> None:
        self._patience = None
        if not self._under_way and self._waiting:
            self._turn()

    def _turn(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        self._under_way = True
        taken = self._take()
        with self._together():
            begun = [(Deferred.fromCoroutine(one.begin()), one.done) for one in taken if one.begin]
        for work, done in begun:
            work.chainDeferred(done)
        self._ends = [one.done for one in taken if one.begin is None]
        DeferredList([work for work, _done in begun]).addCallback(lambda _list: self._end())

    def _take(self) -> list[_Item]:
        """Return what shares the next turn."""
        waiting = [one for one in self._waiting if not one.done.called]
        alone = next((number for number, one in enumerate(waiting) if one.alone), len(waiting))
        count = 1 if alone == 0 else alone
        self._waiting = waiting[count:]
        return waiting[:count]

    def _end(self) -> None:
        for one in self._ends:
            one.callback(None)
        self._under_way = False
        self._go_on()
