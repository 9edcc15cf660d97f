"""Work that goes on when whoever asked for it goes away.

A client that hangs up cancels the request's coroutine wherever it waits. A start or a deletion must not stop halfway
for that: it runs as :func:`detached` work, and only the waiting for it is cancelled.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from agentproxy.errors import Refusal

T = TypeVar("T")
log = Logger()


def detached(work: Coroutine[Deferred[Any], Any, T], what: str) -> Deferred[T]:
    """Run a coroutine to its end and return a Deferred of its result; cancelling that only stops the waiting.

    :param what: names the work in the log, should it fail when nobody waits any more.
    """
    waiting: Deferred[T] = Deferred()

    def done(result: T) -> None:
        if not waiting.called:
            waiting.callback(result)

    def failed(failure: Failure) -> None:
        if not waiting.called:
            waiting.errback(failure)
        elif failure.check(Refusal, CancelledError) is None:
            log.failure("Nobody waited any more when this failed: {what}", failure, what=what)

    Deferred.fromCoroutine(work).addCallbacks(done, failed)
    return waiting


def refusal_logged(failure: Failure) -> None:
    """Log why something that nobody waits for was refused or failed; an errback."""
    if failure.check(Refusal) is not None:
        log.warn("{refusal}", refusal=str(failure.value))
    else:
        log.failure("Something that nobody waits for failed", failure)
