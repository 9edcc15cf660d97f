"""A reader of the journal at a WebSocket: the sink of its feed, and what slows the feed down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from autobahn.twisted.resource import WebSocketResource as _WebSocketResource
from autobahn.twisted.websocket import WebSocketServerFactory as _WebSocketServerFactory
from autobahn.twisted.websocket import WebSocketServerProtocol as _WebSocketServerProtocol
from twisted.web.http import Request

from agentproxy.features.streaming import Feed
from agentproxy.model.event import Event
from agentproxy.web.slowing import SlowedFeed

WebSocketResource: Any = _WebSocketResource
WebSocketServerFactory: Any = _WebSocketServerFactory
WebSocketServerProtocol: Any = _WebSocketServerProtocol

PING_EVERY = 15.0
PONG_WITHIN = 30.0
MOST_FROM_CLIENT = 64 * 1024
OVER = 4000
"""The close code when nothing more comes: the library sends none of the registered ones but 1000."""


class SocketReader(SlowedFeed, WebSocketServerProtocol):  # type: ignore[misc]
    """One reader.

    :param encode: returns the text of an event.
    :param open_feed: opens the feed that writes to this sink.
    """

    def __init__(self, encode: Callable[[Event], bytes], open_feed: Callable[[Any], Feed]) -> None:
        super().__init__()
        self._encode, self._open_feed = encode, open_feed

    def onOpen(self) -> None:
        """Begin to read."""
        self._feed = self._open_feed(self)
        self.registerProducer(self, True)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """Ignore what the client says."""

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:  # noqa: ARG002 - autobahn names them
        """Read no more."""
        self.stopProducing()

    # -- the sink of the feed

    def events(self, events: Sequence[Event]) -> None:
        """Send them."""
        for event in events:
            self.sendMessage(self._encode(event), False)

    def caught_up(self) -> None:
        """Nothing to send."""

    def idle(self) -> None:
        """The pings of the protocol keep the connection alive."""

    def over(self, why: str) -> None:
        """Say why nothing more comes."""
        self.sendClose(OVER, why)


def take_over(request: Request, encode: Callable[[Event], bytes], open_feed: Callable[[Any], Feed]) -> None:
    """Turn the connection of *request* into a WebSocket with one reader."""
    factory = WebSocketServerFactory()
    factory.protocol = lambda: SocketReader(encode, open_feed)
    factory.setProtocolOptions(
        autoPingInterval=PING_EVERY, autoPingTimeout=PONG_WITHIN, maxMessagePayloadSize=MOST_FROM_CLIENT
    )
    WebSocketResource(factory).render(request)
