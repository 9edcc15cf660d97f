"""Questions of one turn of the reactor are answered together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from agentproxy.errors import STORE_UNAVAILABLE, Refusal
from agentproxy.features.gathering import Gathering


class Store:
    """Answers with the name, in upper case, when it is told to."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.answers: list[Deferred[None]] = []

    async def read(self, names: Sequence[str]) -> Mapping[str, str]:
        """Answer later."""
        self.asked.append(list(names))
        self.answers.append(Deferred())
        await self.answers[-1]
        return {name: name.upper() for name in names}


def given_up(answer: Deferred[str]) -> None:
    """Give up waiting."""
    answer.addErrback(lambda failure: failure.trap(CancelledError))
    answer.cancel()


def test_each_gets_its_answer_and_the_store_is_asked_once() -> None:
    """Who gives up keeps nobody from the answer; what is asked later is asked again."""
    clock, store = Clock(), Store()
    gathering = Gathering(clock, store.read)
    one, same, early, two = (gathering.ask(name) for name in ("a", "a", "x", "b"))
    given_up(early)
    clock.advance(0)
    late = gathering.ask("b")
    clock.advance(0)
    assert store.asked == [["a", "b"], ["b"]]
    given_up(two)
    store.answers[0].callback(None)
    store.answers[1].callback(None)
    assert [one.result, same.result, late.result] == ["A", "A", "B"]


def test_a_store_that_fails_fails_all_who_asked_then() -> None:
    """The next question is answered again."""
    clock, store = Clock(), Store()
    gathering = Gathering(clock, store.read)
    failed = [gathering.ask("a"), gathering.ask("b")]
    clock.advance(0)
    store.answers[0].errback(Refusal(STORE_UNAVAILABLE, "locked"))
    refused: list[object] = []
    for one in failed:
        one.addErrback(lambda failure: refused.append(failure.value.kind))  # type: ignore[attr-defined]
    assert refused == [STORE_UNAVAILABLE, STORE_UNAVAILABLE]
    again = gathering.ask("a")
    clock.advance(0)
    store.answers[1].callback(None)
    assert again.result == "A"
