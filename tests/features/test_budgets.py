"""Budgets: what an agent works is counted while it works, and what begins at the same moment counts for the others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

from twisted.internet.task import Clock

from agentproxy.features.attending import COUNT_EVERY, Attendant, House
from agentproxy.features.budgets import Budgets
from agentproxy.features.observing import Observer
from agentproxy.model.budget import Budget
from agentproxy.model.session import Phase, Session
from agentproxy.runtime.catalogue import load
from tests.features.queue_scene import IDLE
from tests.features.scripted import ScriptedDriver
from tests.features.test_observing import Sink

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
SESSION = Session("s", "alice", "demo", Phase.READY, NOON, NOON, ready_at=NOON)


class Scene:
    """The attendant of a demo agent that says when it works, and a budget of its user's minutes."""

    def __init__(self, minutes: int) -> None:
        self.clock, self.driver = Clock(), ScriptedDriver()
        self.told: list[tuple[str, Any]] = []
        budget = Budget("user", "minutes", minutes, "day")
        self.budgets = Budgets(
            cast(Any, SimpleNamespace(run=_kept)),
            [budget],
            lambda _session, facts: self.told.append((facts["state"], facts["used"])),
            lambda *_note: None,
            lambda: NOON,
        )
        house = SimpleNamespace(
            clock=self.clock,
            budgets=self.budgets,
            approvals=SimpleNamespace(changed=lambda _one: None),
            deliveries=None,
            forget=lambda _one: None,
        )
        living = SimpleNamespace(record=SESSION, tell=lambda _kind, _facts: None)
        self.attendant = Attendant(cast(Any, living), load().agents["demo"], cast(Any, house))
        watcher = self.attendant.watcher

        class Forward(Sink):
            status_changed = staticmethod(watcher.status_changed)  # type: ignore[assignment]

        self.observer = Observer(self.driver, Forward(), self.clock)  # type: ignore[arg-type]
        watcher.attach(self.driver, self.observer)  # type: ignore[arg-type]
        self.driver.open()

    def used(self) -> float:
        """Return the minutes that are counted by now."""
        [level] = [one for one in self.budgets.of_session(SESSION) if one.account.measure == "minutes"]
        return level.used

    def end(self) -> None:
        """End the session; nothing may be left on the clock."""
        self.observer.close()
        self.attendant.gone()
        assert not self.clock.getDelayedCalls()


async def _kept(_work: Callable[[Any], Any], writes: bool = False) -> None:
    """Take what was spent."""


def test_an_agent_that_does_not_stop_is_counted_each_minute() -> None:
    """People are told and the queue is held while it works on, not when it stops after an hour; its turn goes on."""
    scene = Scene(minutes=5)
    scene.driver.status_only_running()
    seen = []
    for _minute in range(5):
        scene.clock.advance(COUNT_EVERY)
        seen.append(scene.used())
    assert seen == [1, 2, 3, 4, 5]
    assert scene.told == [("near", 4), ("spent", 5)]
    assert scene.budgets.held(SESSION).startswith("the budget of user alice is spent: 5 of 5 minutes")
    scene.driver.turn(IDLE)
    scene.end()


def test_only_work_is_counted_and_none_of_it_twice() -> None:
    """The rest of a minute counts when the agent stops; a quiet agent costs nothing; an end in the middle counts too."""
    scene = Scene(minutes=100)
    scene.driver.status_only_running()
    scene.clock.advance(COUNT_EVERY)
    scene.clock.advance(60)
    scene.driver.turn(IDLE)
    scene.clock.advance(3600)
    assert scene.used() == 2
    scene.driver.status_only_running()
    scene.clock.advance(30)
    scene.driver.turn(IDLE)
    scene.driver.status_only_running()
    scene.clock.advance(30)
    scene.end()
    assert scene.used() == 3


def test_a_turn_that_begins_holds_the_others_that_pay_from_the_same_budget() -> None:
    """The last turn of a user is given to one session; when its message could not be typed, the next one may go on."""
    store = cast(Any, SimpleNamespace(run=_kept))
    budgets = Budgets(
        store, [Budget("user", "turns", 1, "day")], lambda *_told: None, lambda *_note: None, lambda: NOON
    )
    house = House(cast(Any, None), cast(Any, None), budgets, Clock())
    other = replace(SESSION, id="other")
    strangers = replace(SESSION, id="strangers", owner="bob")
    house.types(SESSION, begins=True)
    assert (house.held(SESSION), house.held(strangers)) == ("", "")
    assert house.held(other).startswith("the budget of user alice is spent: 1 of 1 turns")
    house.types(SESSION, begins=False)
    assert house.held(other) == ""
