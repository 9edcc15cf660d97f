"""The journal over WebSocket: each message is one event as JSON, as in the stream. What the client sends is ignored.

autobahn is imported at the first connection, because that takes a tenth of a second.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from twisted.internet.interfaces import IPushProducer
from twisted.web.http import Request
from zope.interface import implementer

from agentproxy.errors import FORBIDDEN, INVALID_REQUEST, Refusal
from agentproxy.features.streaming import Feed
from agentproxy.model.cors import CorsRules
from agentproxy.model.event import Event
from agentproxy.web import wire

PING_EVERY = 15.0
PONG_WITHIN = 30.0
MOST_FROM_CLIENT = 64 * 1024
OVER = 4000
"""The close code when nothing more comes: the library sends none of the registered ones but 1000."""


def is_wanted(request: Request) -> bool:
    """Return whether a request asks for a WebSocket."""
    return (wire.header(request, "upgrade") or "").strip().lower() == "websocket"


def check(request: Request, cors: CorsRules) -> None:
    """Refuse a page of another origin: browsers send cookies along and ask nobody.

    :raises Refusal: FORBIDDEN; INVALID_REQUEST for a handshake of another version.
    """
    origin, host = wire.header(request, "origin"), wire.header(request, "host")
    own = {f"http://{host}".lower(), f"https://{host}".lower()}
    if origin is not None and origin.lower() not in own and not cors.allows(origin):
        raise Refusal(FORBIDDEN, "the page's origin may not open WebSockets here")
    if wire.header(request, "sec-websocket-version") != "13" or not wire.header(request, "sec-websocket-key"):
        raise Refusal(INVALID_REQUEST, "Sec-WebSocket-Version: expected a handshake of version 13")


def take_over(request: Request, encode: Callable[[Event], bytes], open_feed: Callable[[Any], Feed]) -> None:
    """Turn the connection of *request* into a WebSocket; when it is open, *open_feed* gets the sink to write to."""
    from autobahn.twisted.resource import WebSocketResource
    from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol

    @implementer(IPushProducer)
    class Socket(WebSocketServerProtocol):
        """One reader; the sink of its feed."""

        feed: Feed | None = None

        def onOpen(self) -> None:
            """Begin to read."""
            self.feed = open_feed(self)
            self.registerProducer(self, True)

        def onMessage(self, payload: bytes, isBinary: bool) -> None:
            """Ignore what the client says."""

        def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:  # noqa: ARG002
            """Read no more."""
            if self.feed is not None:
                self.feed.close()

        def events(self, events: Sequence[Event]) -> None:
            """Send them."""
            for event in events:
                cast(Any, self).sendMessage(encode(event), False)

        def caught_up(self) -> None:
            """Nothing to send."""

        def idle(self) -> None:
            """The pings of the protocol keep the connection alive."""

        def over(self, why: str) -> None:
            """Say why nothing more comes."""
            self.sendClose(OVER, why)

        def pauseProducing(self) -> None:
            """The client reads slowly."""
            if self.feed is not None:
                self.feed.pause()

        def resumeProducing(self) -> None:
            """The client has caught up."""
            if self.feed is not None:
                self.feed.resume()

        def stopProducing(self) -> None:
            """The client is gone."""
            if self.feed is not None:
                self.feed.close()

    factory: Any = cast(Any, WebSocketServerFactory)()
    factory.protocol = Socket
    factory.setProtocolOptions(
        autoPingInterval=PING_EVERY, autoPingTimeout=PONG_WITHIN, maxMessagePayloadSize=MOST_FROM_CLIENT
    )
    cast(Any, WebSocketResource)(factory).render(request)
