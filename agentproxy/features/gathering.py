"""Questions that come one by one and are answered together: a server that takes over hundreds of sessions asks for each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

T = TypeVar("T")


class Gathering(Generic[T]):
    """Gathers the questions of one turn of the reactor.

    :param answer: answers many; it has an answer for each.
    """

    def __init__(self, clock: IReactorTime, answer: Callable[[Sequence[str]], Awaitable[Mapping[str, T]]]) -> None:
        self._clock, self._answer = clock, answer
        self._asked: list[tuple[str, Deferred[T]]] = []

    def ask(self, name: str) -> Deferred[T]:
        """Return a Deferred of the answer, which fails as the answer to all does; cancel to forget it."""
        answered: Deferred[T] = Deferred()
        if not self._asked:
            self._clock.callLater(0, self._gathered)
        self._asked.append((name, answered))
        return answered

    def _gathered(self) -> None:
        asked, self._asked = self._asked, []
        names = list(dict.fromkeys(name for name, answered in asked if not answered.called))
        answers: Deferred[Mapping[str, T]] = Deferred.fromCoroutine(self._all(names))
        answers.addCallbacks(_tell, _fail, callbackArgs=(asked,), errbackArgs=(asked,))

    async def _all(self, names: Sequence[str]) -> Mapping[str, T]:
        return await self._answer(names) if names else {}


def _tell(answers: Mapping[str, T], asked: Sequence[tuple[str, Deferred[T]]]) -> None:
    for name, answered in asked:
        if not answered.called:
            answered.callback(answers[name])


def _fail(failure: Failure, asked: Sequence[tuple[str, Deferred[T]]]) -> None:
    for _name, answered in asked:
        if not answered.called:
            answered.errback(failure)
