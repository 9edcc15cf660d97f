"""Server-Sent Events of the journal on a ``twisted.web`` request.

Each event is one frame with ``id:`` (the cursor), ``event:`` (the type) and one line ``data:`` with the JSON object

    {"id": 7, "session_id": "...", "type": "session.ready", "time": "...", "data": {...}}

Silence is broken by comments. A reader that is slow makes the feed pause; nothing is held for it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.web.http import Request

from agentproxy.features.streaming import Feed
from agentproxy.model.event import Event
from agentproxy.web.slowing import SlowedFeed

KEEP_ALIVE = b": keep-alive\n\n"
RETRY = b"retry: 1000\n\n"
_MADE = 512


def shown(event: Event) -> dict[str, Any]:
    """Return an event as the API shows it."""
    return {
        "id": event.number,
        "session_id": event.session_id,
        "type": event.kind,
        "time": event.time,
        "data": dict(event.data),
    }


class Encoded:
    """The bytes of the latest events, made once for all readers; safe for one thread."""

    def __init__(self, make: Callable[[Event], bytes]) -> None:
        self._make = make
        self._made: OrderedDict[int, tuple[Event, bytes]] = OrderedDict()

    def of(self, event: Event) -> bytes:
        """Return the bytes of an event."""
        known = self._made.get(event.number)
        if known is not None and known[0] is event:
            return known[1]
        made = self._make(event)
        self._made[event.number] = event, made
        if len(self._made) > _MADE:
            self._made.popitem(last=False)
        return made


def text(event: Event) -> bytes:
    """Return an event as JSON."""
    return msgspec.json.encode(shown(event))


def frame(event: Event) -> bytes:
    """Return an event as a frame of a stream."""
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (event.number, event.kind.encode(), text(event))


class EventStream(SlowedFeed):
    """The sink of a feed that writes on a request.

    :param make: returns the bytes of an event; empty for one that is not shown.
    :param keep_alive: what is written after a silence.
    :ivar done: fires when nothing more comes.
    """

    def __init__(self, request: Request, make: Callable[[Event], bytes], keep_alive: bytes = KEEP_ALIVE) -> None:
        self._request = request
        self._make = make
        self._keep_alive = keep_alive
        self.done: Deferred[None] = Deferred()

    def head(self, first: bytes) -> None:
        """Send the head of the answer and its first bytes."""
        headers = self._request.responseHeaders
        headers.setRawHeaders("content-type", ["text/event-stream; charset=utf-8"])
        headers.setRawHeaders("cache-control", ["no-cache"])
        headers.setRawHeaders("x-accel-buffering", ["no"])
        self._request.write(first)

    def attach(self, feed: Feed) -> None:
        """Slow *feed* down when the client reads slowly."""
        self._feed = feed
        if not self.done.called:
            self._request.registerProducer(self, True)

    def detach(self) -> None:
        """End the feed and let the request be finished."""
        self.stopProducing()
        if self._request.producer is self and self._request.channel is not None:
            self._request.unregisterProducer()

    # -- the sink

    def events(self, events: Sequence[Event]) -> None:
        """Write them."""
        data = b"".join(map(self._make, events))
        if data:
            self._request.write(data)

    def caught_up(self) -> None:
        """Nothing to write."""

    def idle(self) -> None:
        """Show that the connection is alive."""
        self._request.write(self._keep_alive)

    def over(self, why: str) -> None:
        """Say why nothing more comes."""
        self._request.write(b": %s\n\n" % why.encode())
        if not self.done.called:
            self.done.callback(None)
