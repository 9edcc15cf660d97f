"""One client connection: reads request heads and gives each request to the relay or to the site, in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IDelayedCall, IHalfCloseableProtocol, ISSLTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from agentproxy.errors import BODY_TOO_LARGE, REQUEST_TIMEOUT, Refusal
from agentproxy.gateway import rules
from agentproxy.gateway.exchange import Exchange
from agentproxy.gateway.head import AnswerHead, Head, head_end, parse_request
from agentproxy.gateway.options import GatewayOptions
from agentproxy.gateway.site import SiteTurn, too_large
from agentproxy.gateway.tunnel import Tunnel
from agentproxy.gateway.wire import Wire

if TYPE_CHECKING:
    from agentproxy.gateway.front import FrontFactory

DECIDES = 0.5
"""Seconds that a request has to decide whether it is allowed."""
REPEATED = 2048
"""Bytes of the longest head that is kept to see whether the next one is the same."""
LINGER = 5.0
"""Seconds that a client which is refused may go on sending before its connection is reset."""


@implementer(IHalfCloseableProtocol)
class FrontProtocol(Protocol):
    """One client connection."""

    transport: Any
    wire: Wire
    bare = False
    _inbox = b""
    _turn: Exchange | Tunnel | SiteTurn | None = None
    _head: Head | None = None
    _raw = b""
    _stepping = False
    _closing = False
    _came = 0.0
    _held = False
    _secure = False
    _peer: str | None = None

    def __init__(self, factory: FrontFactory) -> None:
        self._front = factory
        self._relay = factory.relay
        self._since = factory.relay.moment

    @property
    def options(self) -> GatewayOptions:
        """Return the numbers of the gateway."""
        return self._relay.options

    def now(self) -> float:
        """Return a time that is not before now, and soon after it."""
        return self._relay.moment

    def call_later(self, delay: float, call: Any, *args: Any, **kwargs: Any) -> IDelayedCall:
        """Call later by the reactor's clock."""
        return self._relay.reactor.callLater(delay, call, *args, **kwargs)

    def connectionMade(self) -> None:
        """Note who it is."""
        self._front.connections.add(self)
        self._relay.counts.connections += 1
        self._secure = ISSLTransport.providedBy(self.transport)
        self.wire = Wire(self.transport, self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Cancel what is under way."""
        self._front.connections.discard(self)
        self._relay.counts.connections -= 1
        self._closing = True
        self.wire.lost()
        turn, self._turn = self._turn, None
        if isinstance(turn, SiteTurn):
            turn.client_lost(reason)
        elif turn is not None:
            turn.client_lost()

    def dataReceived(self, data: bytes) -> None:
        """Give bytes to the request that is under way, or read the next head."""
        turn = self._turn
        if self._closing:
            return
        if turn is None:
            if self._inbox:
                self._inbox += data
            else:
                self._since = self._relay.moment
                self._inbox = data
            self._step()
        elif turn.tunnel or not turn.body.done:
            rest = turn.client_data(data)
            if rest:
                self._inbox += rest
        else:
            self._inbox += data
            if len(self._inbox) > self._relay.options.max_ahead:
                self.hold(True)

    def _step(self) -> None:
        if self._stepping:
            return
        self._stepping = True
        try:
            while self._turn is None and self._inbox and not self._closing and self._next():
                pass
        finally:
            self._stepping = False

    def _next(self) -> bool:
        data, last = self._inbox, self._head
        if last is not None and data == self._raw:  # most clients say the same again and again
            self._inbox = b""
            self._came = self._relay.moment
            self._begin_turn(last.again(), data)
            return True
        relay = self._relay
        self._head = None
        if self._peer is None:  # under PROXY protocol it is known only when bytes have come
            self._peer = str(getattr(self.transport.getPeer(), "host", ""))
        if data.startswith(b"\r\n"):
            data = self._inbox = data[2:]
        try:
            end = head_end(data, relay.options.max_head)
            if end < 0:
                return False
            if end == len(data):
                raw, self._inbox = data, b""
            else:
                raw, self._inbox = data[:end], data[end:]
            head = parse_request(raw, relay.options.max_headers, self._peer, self._secure, relay.requests)
        except Refusal as refusal:
            relay.counts.refused += 1
            self.refuse(refusal, True)
            return False
        self._raw = raw if len(raw) <= REPEATED else b""
        self._head = head
        self._came = relay.moment
        self._begin_turn(head, raw)
        return True

    def _begin_turn(self, head: Head, raw: bytes) -> None:
        self.bare = head.minor == 0
        if head.session_id is None:
            self._followed(head, raw)
        elif head.method == b"OPTIONS" and rules.is_preflight(head):
            self._preflight(head)
            return
        else:
            self._turn = exchange = Exchange(self._relay, self, head, head.session_id)
            exchange.start()
        if self._inbox and self._turn is not None:
            self._feed(self._turn)

    def _followed(self, head: Head, raw: bytes) -> None:
        """Begin a request whose path names no session: it may be a share link's."""
        self._head = head = self._front.follow(head)
        if head.session_id is not None:
            self._raw = b""  # where a link leads is asked each time
            self._begin_turn(head, raw)
        elif head.length > self.options.max_own_body:
            self.refuse(Refusal(BODY_TOO_LARGE, too_large(self.options)), True)
        else:
            self._turn = page = SiteTurn(self, self._front.site, head)
            page.start(raw)

    def _preflight(self, head: Head) -> None:
        headers = self._relay.cors.preflight(head.get(b"origin"))
        close = not head.keep_alive or head.length != 0
        self.wire.send(rules.own_answer(204, headers, b"", False, close))
        self.finish(close)

    def _feed(self, turn: Exchange | Tunnel | SiteTurn) -> None:
        if self._inbox and (turn.tunnel or not turn.body.done):
            data, self._inbox = self._inbox, b""
            self._inbox = turn.client_data(data) + self._inbox

    # What a turn says.

    def begin(self, answer: AnswerHead, close: bool, body: bytes) -> None:
        """See :class:`ClientSide`."""
        head, relay = self._head, self._relay
        assert head is not None
        raw = rules.answer_for_client(answer, head, relay.cors, close)
        self.wire.send(raw + body if body else raw)

    def switch(self, answer: AnswerHead, data: bytes, tunnel: Tunnel) -> None:
        """See :class:`ClientSide`."""
        self._turn = tunnel
        self.begin(answer, False, data)
        self.hold(False)
        self.taken_over()

    def taken_over(self) -> None:
        """Pass on what the client sent before the protocol switched."""
        if self._inbox:
            self._relay.reactor.callLater(0, self._early)

    def _early(self) -> None:
        if self._turn is not None and not self._closing:
            self._feed(self._turn)

    def write(self, data: bytes) -> None:
        """See :class:`ClientSide`."""
        if data:
            self.wire.send(data)

    def refuse(self, refusal: Refusal, close: bool) -> None:
        """See :class:`ClientSide`."""
        self.wire.send(rules.refusal_answer(refusal, self._head, self._relay.cors, close))
        if close:
            self._close_lingering()
        else:
            self.finish(False)

    def refuse_for_site(self, refusal: Refusal) -> None:
        """Refuse the rest of a request that the site is reading, and end the connection."""
        turn = self._turn
        if isinstance(turn, SiteTurn):
            begun = turn.begun
            self._turn = None
            turn.client_lost(connectionDone)
            if begun:
                self.abort()
            else:
                self.refuse(refusal, True)

    def finish(self, close: bool) -> None:
        """See :class:`ClientSide`."""
        if close:
            turn = self._turn
            if turn is not None and not turn.tunnel and not turn.body.done:
                self._close_lingering()
            else:
                self._closing = True
                self.wire.close()
            return
        self._turn = None
        self._since = self._relay.moment
        if self._held:
            self.hold(False)
        if self._inbox:
            self._step()

    def _close_lingering(self) -> None:
        """End the connection, but read on for a while: a reset would take the answer from a client that still sends."""
        if self._secure or self._closing:
            self._closing = True
            self.wire.close()
            return
        self._turn = None
        self._closing = True
        self._inbox = b""
        self._since = self._relay.moment
        self.hold(False)
        self.wire.half_close()

    def abort(self) -> None:
        """See :class:`ClientSide`."""
        self._closing = True
        self.wire.abort()

    def hold(self, held: bool) -> None:
        """See :class:`ClientSide`."""
        if held != self._held:
            self._held = held
            self.wire.hold(held)

    def has_left(self) -> bool:
        """See :class:`ClientSide`."""
        return self._held and self.wire.peer_has_ended()

    def end_writing(self) -> None:
        """See :class:`ClientSide`; TLS has no half-close."""
        if self._secure:
            self.finish(True)
        else:
            self.wire.half_close()

    # What the transport says.

    def readConnectionLost(self) -> None:
        """The client sends no more."""
        if self._turn is not None and not self._closing:
            self._turn.client_ended()
        else:
            self.finish(True)

    def writeConnectionLost(self) -> None:
        """Our side of a half-closed connection is shut; nothing to do."""

    def wire_full(self) -> None:
        """The client reads slowly."""
        if self._turn is not None:
            self._turn.client_full()

    def wire_drained(self) -> None:
        """The client has caught up."""
        if self._turn is not None:
            self._turn.client_drained()

    def check(self, now: float) -> None:
        """Meet the deadlines."""
        if self._turn is not None:
            self._turn.check(now)
        elif self._closing:
            if now - self._since > LINGER:
                self.abort()
        elif self._inbox:
            if now - self._since > self.options.head_timeout:
                self.refuse(Refusal(REQUEST_TIMEOUT, "the request head stopped"), True)
        elif now - self._since > self.options.keep_alive_timeout:
            self.finish(True)

    def streams(self) -> bool:
        """Return whether an agent server's event stream runs here."""
        return isinstance(self._turn, Exchange) and self._turn.streams()

    def recheck(self, allowed: Callable[[Head, Callable[[], None]], bool], now: float) -> None:
        """End what runs if it would not be allowed now; see :meth:`FrontFactory.recheck`.

        What came just now decides for itself, and says no in its own words.
        """
        turn = self._turn
        if turn is None or self._head is None or (not turn.begun and now - self._came < DECIDES):
            return
        if not allowed(self._head, turn.cut):
            turn.cut()

    def cut(self, session_id: str) -> None:
        """End what runs for a session."""
        turn = self._turn
        if turn is None or turn.session_id != session_id:
            return
        if isinstance(turn, Exchange):
            turn.session_ended()
        else:
            turn.cut()
