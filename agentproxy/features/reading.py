"""One page of the journal, for those who ask again and again (long poll)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeadlineError
from twisted.internet.interfaces import IReactorTime

from agentproxy.errors import STORE_UNAVAILABLE, Refusal
from agentproxy.features.streaming import UNREADABLE, Feed, Streams, Wanted
from agentproxy.model.event import Event
from agentproxy.model.principal import Principal


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some events; ``cursor`` leads to those that come after them."""

    events: Sequence[Event]
    cursor: int


class _First:
    """A sink that ends with the first events, or with the wait."""

    def __init__(self, patient: bool) -> None:
        self.found: Sequence[Event] = ()
        self.unreadable = False
        self.done: Deferred[None] = Deferred()
        self._patient = patient

    def events(self, events: Sequence[Event]) -> None:
        if not self.found:
            self.found = events
        self._finish()

    def caught_up(self) -> None:
        if not self._patient:
            self._finish()

    def idle(self) -> None: ...

    def over(self, why: str) -> None:
        self.unreadable = why == UNREADABLE
        self._finish()

    def _finish(self) -> None:
        if not self.done.called:
            self.done.callback(None)


async def page(
    streams: Streams, caller: Principal, wanted: Wanted, cursor: int, limit: int, wait: float, clock: IReactorTime
) -> EventPage:
    """Return at most *limit* events after *cursor*; when there are none, those that come within *wait* seconds.

    :raises Refusal: STORE_UNAVAILABLE.
    """
    sink = _First(wait > 0)
    feed: Feed = streams.open(caller, wanted, cursor, sink, limit)
    try:
        await (sink.done.addTimeout(wait, clock) if wait > 0 else sink.done)
    except DeadlineError:
        pass
    finally:
        feed.close()
    if sink.unreadable:
        raise Refusal(STORE_UNAVAILABLE, UNREADABLE)
    found = sink.found[:limit]
    return EventPage(found, found[-1].number if found else feed.cursor)
