"""Work in turns: in order, together, and each outcome to whom it belongs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from agentproxy.features.turns import PATIENCE, Turns

ASKED = st.lists(st.sampled_from(["run", "run_soon", "alone", "over"]), max_size=12)


class Scene:
    """Turns whose work ends when it is told to; ``turns`` has the numbers that each turn began."""

    def __init__(self) -> None:
        self.turns: list[list[int]] = []
        self.under_way: dict[int, Deferred[None]] = {}
        self.done: list[int] = []
        self.asked = 0
        self.clock = Clock()
        self.subject = Turns(self._together, self.clock)

    @contextmanager
    def _together(self) -> Iterator[None]:
        self.turns.append([])
        yield

    async def _work(self, number: int) -> None:
        self.turns[-1].append(number)
        self.under_way[number] = Deferred()
        await self.under_way[number]

    def ask(self, how: str) -> Deferred[Any]:
        """Ask for one piece of work."""
        number, self.asked = self.asked, self.asked + 1
        if how == "over":
            one: Deferred[Any] = self.subject.over()
        else:
            one = getattr(self.subject, how)(lambda: self._work(number))
        return one.addBoth(lambda _outcome: self.done.append(number))

    def end(self, number: int, fails: bool = False) -> None:
        """Let one piece of work that is under way end."""
        work = self.under_way.pop(number)
        if fails:
            work.errback(OSError())
        else:
            work.callback(None)


@given(ASKED, st.data())
def test_everything_is_begun_in_order_and_done_once(asked: list[str], data: st.DataObject) -> None:
    """However works end, and whether they fail: the next turn waits for all of a turn, and who asked last hears last."""
    scene = Scene()
    for how in asked:
        scene.ask(how)
    while scene.under_way or scene.clock.getDelayedCalls():
        if not scene.under_way:
            scene.clock.advance(PATIENCE)
        assert set(scene.under_way) <= set(scene.turns[-1])
        scene.end(data.draw(st.sampled_from(sorted(scene.under_way))), data.draw(st.booleans()))
    begun = [number for turn in scene.turns for number in turn]
    assert begun == [number for number, how in enumerate(asked) if how != "over"]
    assert sorted(scene.done) == list(range(len(asked)))
    for number, how in enumerate(asked):
        if how == "alone":
            assert [number] in scene.turns
        if how == "over":
            before = scene.done[: scene.done.index(number)]
            assert set(range(number)) <= set(before)


def test_what_waits_shares_a_turn() -> None:
    """While one piece of work is under way the others wait, and then begin together."""
    scene = Scene()
    for _number in range(4):
        scene.ask("run")
    assert scene.turns == [[0]]
    scene.end(0)
    assert scene.turns == [[0], [1, 2, 3]]


def test_patient_work_shares_the_turn_of_what_somebody_wants() -> None:
    """It begins none, keeps its place in front, and nothing of it is left to the clock."""
    scene = Scene()
    scene.ask("run_soon")
    assert scene.turns == []
    scene.ask("run")
    assert scene.turns == [[0, 1]]
    assert scene.clock.getDelayedCalls() == []


def test_patient_work_waits_no_longer_than_its_patience() -> None:
    """It begins a turn of its own in the end, with what has joined it."""
    scene = Scene()
    scene.ask("run_soon")
    scene.clock.advance(PATIENCE / 2)
    scene.ask("run_soon")
    scene.clock.advance(PATIENCE / 2)
    assert scene.turns == [[0, 1]]


def test_what_is_cancelled_before_its_turn_is_not_begun() -> None:
    """And one that is cancelled in its turn does not hold up the next."""
    scene = Scene()
    first, second, _third = (scene.ask("run") for _number in range(3))
    second.cancel()
    first.cancel()
    scene.end(0)
    assert scene.turns == [[0], [2]]
