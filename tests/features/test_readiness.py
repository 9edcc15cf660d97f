"""When an agent counts as ready."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from agentproxy.agents.marks import Marks
from agentproxy.features.observing import Observer
from agentproxy.features.readiness import Readiness, ReadinessJudge
from tests.features.scripted import ScriptedDriver
from tests.features.test_observing import Sink

MARKS = Marks(idle=("for shortcuts",), busy=("esc to interrupt",), approval=("Do you want to proceed",))


@pytest.fixture
def scene() -> Iterator[tuple[ScriptedDriver, Observer]]:
    """Yield an observed scripted agent."""
    driver = ScriptedDriver()
    observer = Observer(driver, Sink(), Clock())
    driver.open()
    yield driver, observer
    observer.close()


def test_quiet_is_not_enough(scene: tuple[ScriptedDriver, Observer]) -> None:
    """A loading, a working and an asking agent are not ready, however quiet; the screen is read once each time."""
    driver, observer = scene
    judge = ReadinessJudge(driver, observer, MARKS)
    ready = Deferred.fromCoroutine(judge.when_ready())
    for screen, judgement in (
        ("Loading", Readiness.UNKNOWN),
        ("esc to interrupt", Readiness.BUSY),
        ("Do you want to proceed?", Readiness.APPROVAL),
        ("? for shortcuts", Readiness.READY),
    ):
        assert not ready.called
        driver.turn(screen)
        assert judge.latest is judgement
    assert ready.called
    assert driver.screens_read == 4


def test_an_agent_without_marks_is_ready_when_quiet(scene: tuple[ScriptedDriver, Observer]) -> None:
    """Nothing better is known of it, and its screen is not read for nothing."""
    driver, observer = scene
    ready = Deferred.fromCoroutine(ReadinessJudge(driver, observer, Marks()).when_ready())
    assert not ready.called
    driver.turn("anything")
    assert ready.called
    assert driver.screens_read == 0
