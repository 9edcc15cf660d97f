"""Work that goes on when whoever asked for it goes away."""

from __future__ import annotations

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import LogEvent, globalLogPublisher

from agentproxy.errors import SESSION_BUSY, Refusal
from agentproxy.features.detached import detached


async def steps(first: Deferred[None], done: list[str]) -> str:
    """Wait, then do the rest."""
    await first
    done.append("the rest")
    return "result"


def test_who_waits_gets_the_result_or_the_refusal() -> None:
    """As long as somebody waits, nothing is different."""
    first: Deferred[None] = Deferred()
    results: list[str] = []
    detached(steps(first, []), "work").addCallback(results.append)
    first.callback(None)
    assert results == ["result"]
    first = Deferred()
    failures: list[object] = []
    detached(steps(first, []), "work").addErrback(lambda failure: failures.append(failure.value.kind))
    first.errback(Refusal(SESSION_BUSY))
    assert failures == [SESSION_BUSY]


def test_the_work_goes_on_when_nobody_waits() -> None:
    """Cancelling ends the waiting alone."""
    first: Deferred[None] = Deferred()
    done: list[str] = []
    gone: list[object] = []
    waiting = detached(steps(first, done), "work")
    waiting.addErrback(lambda failure: gone.append(failure.type))
    waiting.cancel()
    assert (gone, done) == ([CancelledError], [])
    first.callback(None)
    assert done == ["the rest"]


@pytest.mark.parametrize(("error", "logged"), [(ValueError("broken"), 1), (Refusal(SESSION_BUSY), 0)])
def test_a_failure_that_nobody_hears_is_logged(error: Exception, logged: int) -> None:
    """A defect is never lost; a refusal concerned only who asked."""
    events: list[LogEvent] = []
    globalLogPublisher.addObserver(events.append)
    try:
        first: Deferred[None] = Deferred()
        waiting = detached(steps(first, []), "the start of a session")
        waiting.addErrback(lambda _failure: None)
        waiting.cancel()
        first.errback(error)
    finally:
        globalLogPublisher.removeObserver(events.append)
    assert len([event for event in events if event.get("what") == "the start of a session"]) == logged
