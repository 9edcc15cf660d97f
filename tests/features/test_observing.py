"""Observing a session: each change is told once, through broken streams too."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from agentproxy.agents.driver import AskedEvent, ErrorEvent, MessageEvent, PermittedEvent, StatusEvent
from agentproxy.errors import SESSION_ENDED, Refusal
from agentproxy.features.observing import Observer
from agentproxy.model.approval import AcpRequest
from agentproxy.model.message import Message
from agentproxy.model.session import AgentStatus
from tests.features.scripted import ScriptedDriver

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
RUNNING, STABLE = StatusEvent(AgentStatus.RUNNING), StatusEvent(AgentStatus.STABLE)


def said(number: int, text: str, role: str = "agent") -> MessageEvent:
    """Return the event of one message."""
    return MessageEvent(Message(number, role, text, NOON))


class Sink:
    """Keeps what it is told, as short values."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def status_changed(self, status: AgentStatus) -> None:
        self.told.append(status.value)

    def message_changed(self, message: Message) -> None:
        self.told.append((message.id, message.content))

    def agent_error(self, text: str, level: str) -> None:
        self.told.append((level, text))

    def keys_typed(self) -> None:
        self.told.append("keys")

    def requests_changed(self) -> None:
        self.told.append("requests")

    def connection_changed(self, connected: bool, why: str) -> None:
        self.told.append(connected)


@pytest.fixture
def clock() -> Clock:
    """Return a clock that only a test moves."""
    return Clock()


def observed(clock: Clock) -> tuple[ScriptedDriver, Sink, Observer]:
    """Return an observer with its stream open."""
    driver, sink = ScriptedDriver(), Sink()
    observer = Observer(driver, sink, clock)
    driver.open()
    return driver, sink, observer


def test_a_drawing_agent_is_told_in_revisions(clock: Clock) -> None:
    """Many updates become one, the last is never lost, and it comes before the status that ends the turn."""
    driver, sink, observer = observed(clock)
    driver.say(RUNNING, said(0, "a"), said(0, "ab"))
    clock.advance(0.3)
    driver.say(said(0, "abc"), said(0, "abcd"), STABLE)
    assert sink.told == [True, "running", (0, "ab"), (0, "abcd"), "stable"]
    observer.close()
    assert not clock.getDelayedCalls()


def test_a_replay_tells_nothing_twice(clock: Clock) -> None:
    """After a break the stream is opened again; what was known is not told again, what was missed is.

    The status is told, for nobody knows what it was meanwhile.
    """
    driver, sink, observer = observed(clock)
    error = ErrorEvent("oops", "warning", NOON)
    driver.say(said(0, "hi"), STABLE, error)
    driver.break_stream()
    clock.advance(0.1)
    driver.open()
    driver.say(said(0, "hi"), said(1, "you", "user"), STABLE, error)
    assert sink.told == [True, (0, "hi"), "stable", ("warning", "oops"), False, True, (1, "you"), "stable"]
    assert observer.quiet_turns == 2
    observer.close()


def test_what_an_agent_asks_over_its_protocol_stands_until_it_is_answered(clock: Clock) -> None:
    """By an answer, by the end of its turn, or until nobody knows any more because the stream broke."""
    driver, sink, observer = observed(clock)
    first, second = AcpRequest("1", "Run x", "execute", "x", ()), AcpRequest("2", "Run y", "execute", "y", ())
    driver.say(RUNNING, AskedEvent(first), AskedEvent(second), AskedEvent(second), PermittedEvent("1"))
    assert list(observer.requests) == ["2"]
    driver.break_stream()
    assert observer.requests == {}
    clock.advance(0.1)
    driver.open()
    driver.say(RUNNING, AskedEvent(second))
    assert list(observer.requests) == ["2"]
    driver.say(STABLE)
    assert observer.requests == {}
    assert sink.told.count("requests") == 6
    observer.close()


def test_attempts_become_rarer_and_stop_at_the_end(clock: Clock) -> None:
    """A dead agent server is not hammered, and a closed observer asks nobody."""
    driver, _sink, observer = observed(clock)
    for _attempt in range(12):
        driver.break_stream()
        clock.advance(10)
    assert driver.opened_streams == 13
    driver.break_stream()
    clock.advance(9)
    assert driver.opened_streams == 13
    observer.close()
    observer.close()
    assert not clock.getDelayedCalls()


def test_waits_fire_are_forgotten_and_fail_at_the_end(clock: Clock) -> None:
    """A wait ends by what it waits for, by its caller, or with the session."""
    driver, _sink, observer = observed(clock)
    driver.say(RUNNING)

    def is_stable() -> bool:
        return observer.status is AgentStatus.STABLE

    quiet, forgotten = observer.when(is_stable), observer.when(is_stable)
    results: list[object] = []
    forgotten.addErrback(lambda failure: results.append(failure.type))
    forgotten.cancel()
    quiet.addCallback(results.append)
    driver.say(STABLE)
    assert results == [CancelledError, None]
    later: Deferred[None] = observer.when(lambda: observer.quiet_turns > 1)
    observer.close()
    later.addErrback(lambda failure: results.append(failure.value))
    assert isinstance(results[-1], Refusal)
    assert results[-1].kind is SESSION_ENDED
