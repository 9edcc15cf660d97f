"""A request for our own pages: twisted.web serves it on the connection that the front holds."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.interfaces import IConsumer, IPushProducer, ITransport
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, Request
from twisted.web.server import Site
from zope.interface import implementer

from agentproxy.errors import AMBIGUOUS_REQUEST, BODY_TOO_LARGE, REQUEST_TIMEOUT, Refusal
from agentproxy.gateway.framing import body_of
from agentproxy.gateway.head import Head, HeadError
from agentproxy.gateway.options import GatewayOptions

_MAX_HEAD = 1 << 20


class SiteChannel(HTTPChannel):
    """The channel of one request; it says when the answer is complete. The front has checked the head's size."""

    totalHeadersSize = _MAX_HEAD  # noqa: N815
    MAX_LENGTH = _MAX_HEAD
    timeOut = None  # noqa: N815
    turn: SiteTurn | None = None

    def requestDone(self, request: Request) -> None:
        """Let the front go on with the next request."""
        cast(Any, super()).requestDone(request)
        if self.turn is not None:
            self.turn.answered()


@implementer(ITransport, IPushProducer, IConsumer)
class SiteTransport:
    """The transport that twisted.web sees: the front's, but its protocol is the channel (or a WebSocket's)."""

    def __init__(self, turn: SiteTurn, client: Any) -> None:
        self._turn = turn
        self._transport = client.transport
        self._wire = client.wire
        self._protocol: Any = None

    @property
    def protocol(self) -> Any:
        """Return who gets the bytes; autobahn puts its own here when it takes the connection over."""
        return self._protocol

    @protocol.setter
    def protocol(self, protocol: Any) -> None:
        self._protocol = protocol
        if not isinstance(protocol, SiteChannel):
            self._turn.taken_over()

    def loseConnection(self) -> None:
        """End the connection after what has been written."""
        self._turn.closing()

    def registerProducer(self, producer: Any, streaming: bool) -> None:  # noqa: ARG002
        """Remember whom to slow down."""
        self._turn.producer = producer

    def unregisterProducer(self) -> None:
        """Slow nobody down."""
        self._turn.producer = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send bytes; a head and its body go together."""
        self._turn.begun = True
        self._wire.queue(data)

    def writeSequence(self, data: Any) -> None:
        """Send several pieces."""
        self.write(b"".join(data))

    def getPeer(self) -> Any:
        """Return the client's address."""
        return self._transport.getPeer()

    def getHost(self) -> Any:
        """Return our address."""
        return self._transport.getHost()

    def pauseProducing(self) -> None:
        """Read no more from the client for now."""
        self._turn.client.hold(True)

    def resumeProducing(self) -> None:
        """Read on."""
        self._turn.client.hold(False)

    def stopProducing(self) -> None:
        """End the connection."""
        self._turn.closing()


def too_large(options: GatewayOptions) -> str:
    """Return the sentence about a body that is."""
    return f"a body has at most {options.max_own_body} bytes here"


class SiteTurn:
    """One request of the connection in the hands of twisted.web.

    :param client: the front's connection.
    """

    session_id = None

    def __init__(self, client: Any, site: Site, head: Head) -> None:
        self.client = client
        self.body = body_of(head.length)
        self.tunnel = False
        self.over = False
        self.begun = False
        self.producer: Any = None
        self._touched: float = client.now()
        self._body_timeout: float = client.options.body_timeout
        self._close = False
        self._taken = 0
        channel: Any = cast(Any, SiteChannel)()
        channel.factory = channel.site = site
        channel.requestFactory = site.requestFactory
        channel.callLater = client.call_later
        channel.turn = self
        self._transport = SiteTransport(self, client)
        self._transport.protocol = channel
        channel.makeConnection(cast(Any, self._transport))

    def start(self, raw: bytes) -> None:
        """Hand the head over."""
        self._transport.protocol.dataReceived(raw)

    def client_data(self, data: bytes) -> bytes:
        """Pass on the body, or everything once a WebSocket has the connection; return what is behind the request."""
        self._touched = self.client.now()
        if self.tunnel:
            self._transport.protocol.dataReceived(data)
            return b""
        try:
            passed, rest = self.body.take(data)
        except HeadError as error:
            self.client.refuse_for_site(Refusal(AMBIGUOUS_REQUEST, str(error)))
            return b""
        self._taken += len(passed)
        if self._taken > self.client.options.max_own_body:
            self.client.refuse_for_site(Refusal(BODY_TOO_LARGE, too_large(self.client.options)))
            return b""
        if passed:
            self._transport.protocol.dataReceived(passed)
        return rest

    def taken_over(self) -> None:
        """A WebSocket owns the connection from now on."""
        self.tunnel = True
        self.producer = None
        self.client.taken_over()

    def answered(self) -> None:
        """The answer is complete."""
        if not self.over and not self.tunnel:
            self.over = True
            self.client.finish(self._close or not self.body.done)

    def closing(self) -> None:
        """twisted.web wants no further request on this connection."""
        self._close = True
        if not self.over:
            self.over = True
            self.client.finish(True)

    def client_ended(self) -> None:
        """The client sends no more: it is treated as gone, as twisted.web does."""
        self.client.abort()

    def client_lost(self, reason: Failure = connectionDone) -> None:
        """Tell twisted.web."""
        self.over = True
        self._transport.protocol.connectionLost(reason)

    def client_full(self) -> None:
        """Slow the answer down."""
        if self.producer is not None:
            self.producer.pauseProducing()

    def client_drained(self) -> None:
        """Let the answer go on."""
        if self.producer is not None:
            self.producer.resumeProducing()

    def check(self, now: float) -> None:
        """Meet the deadline of a slow body."""
        if not self.body.done and not self.tunnel and now - self._touched > self._body_timeout:
            self.client.refuse_for_site(Refusal(REQUEST_TIMEOUT, "the request body stopped"))

    def cut(self) -> None:
        """End the connection, if the request still runs."""
        if not self.over:
            self.client.abort()
