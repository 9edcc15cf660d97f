"""The listening protocol: reads request heads and gives each request to the relay or to the site, in order."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IHalfCloseableProtocol,
    IPushProducer,
    IReactorTime,
    ISSLTransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Site
from zope.interface import implementer

from agentproxy.errors import AMBIGUOUS_REQUEST, REQUEST_TIMEOUT, Refusal
from agentproxy.gateway import rules
from agentproxy.gateway.exchange import Exchange, Relay
from agentproxy.gateway.head import AnswerHead, Head, head_end, parse_request
from agentproxy.gateway.options import GatewayCounts, GatewayOptions
from agentproxy.gateway.routes import SessionDirectory, session_id_of
from agentproxy.gateway.site import SiteTurn
from agentproxy.gateway.upstream import AgentPool
from agentproxy.model.cors import CorsRules

LINGER = 5.0
SWEEP = 1.0


@implementer(IPushProducer, IHalfCloseableProtocol)
class FrontProtocol(Protocol):
    """One client connection."""

    transport: Any
    bare = False

    def __init__(self, factory: FrontFactory) -> None:
        self.options = factory.relay.options
        self._front = factory
        self._inbox = b""
        self._turn: Exchange | SiteTurn | None = None
        self._head: Head | None = None
        self._stepping = False
        self._closing = False
        self._held = False
        self._since = self.now()
        self._peer: str | None = None

    def now(self) -> float:
        """Return the time of the reactor."""
        return self._front.relay.reactor.seconds()

    def call_later(self, delay: float, call: Any, *args: Any, **kwargs: Any) -> IDelayedCall:
        """Call later by the reactor's clock."""
        return self._front.relay.reactor.callLater(delay, call, *args, **kwargs)

    def connectionMade(self) -> None:
        """Note who it is."""
        self._front.connections.add(self)
        self._front.relay.counts.connections += 1
        self._secure = ISSLTransport.providedBy(self.transport)
        self.transport.registerProducer(self, True)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Cancel what is under way."""
        self._front.connections.discard(self)
        self._front.relay.counts.connections -= 1
        self._closing = True
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
            if not self._inbox:
                self._since = self.now()
            self._inbox += data
            self._step()
        elif turn.tunnel or not turn.body.done:
            self._inbox += turn.client_data(data)
        else:
            self._inbox += data
            if len(self._inbox) > self.options.max_ahead:
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
        self._head = None
        if self._peer is None:  # under PROXY protocol it is known only when bytes have come
            self._peer = str(getattr(self.transport.getPeer(), "host", ""))
        if self._inbox.startswith(b"\r\n"):
            self._inbox = self._inbox[2:]
        try:
            end = head_end(self._inbox, self.options.max_head)
            if end < 0:
                return False
            raw, self._inbox = self._inbox[:end], self._inbox[end:]
            self._head = head = parse_request(raw, self.options.max_headers, self._peer, self._secure)
        except Refusal as refusal:
            self._front.relay.counts.refused += 1
            self.refuse(refusal, True)
            return False
        self._begin_turn(head, raw)
        return True

    def _begin_turn(self, head: Head, raw: bytes) -> None:
        session_id = session_id_of(head.target)
        self.bare = head.minor == 0
        if session_id is None:
            self._turn = turn = SiteTurn(self, self._front.site, head)
            turn.start(raw)
        elif rules.is_preflight(head):
            headers = self._front.relay.cors.preflight(head.get(b"origin"))
            close = not head.keep_alive or head.length != 0
            self.transport.write(rules.own_answer(204, headers, b"", False, close))
            self.finish(close)
            return
        else:
            self._turn = exchange = Exchange(self._front.relay, self, head, session_id)
            exchange.start()
        if self._turn is not None:
            self._feed(self._turn)

    def _feed(self, turn: Exchange | SiteTurn) -> None:
        if self._inbox and (turn.tunnel or not turn.body.done):
            data, self._inbox = self._inbox, b""
            self._inbox = turn.client_data(data) + self._inbox

    # What a turn says.

    def begin(self, answer: AnswerHead, close: bool) -> None:
        """See :class:`ClientSide`."""
        assert self._head is not None
        self.transport.write(rules.answer_for_client(answer, self._head, self._front.relay.cors, close))
        if answer.status == 101:
            self.taken_over()

    def taken_over(self) -> None:
        """Pass on what the client sent before the protocol switched."""
        if self._inbox:
            self._front.relay.reactor.callLater(0, self._early)

    def _early(self) -> None:
        if self._turn is not None and not self._closing:
            self._feed(self._turn)

    def write(self, data: bytes) -> None:
        """See :class:`ClientSide`."""
        if data:
            self.transport.write(data)

    def refuse(self, refusal: Refusal, close: bool) -> None:
        """See :class:`ClientSide`; a connection that closes lingers, so that the answer is read."""
        self.transport.write(rules.refusal_answer(refusal, self._head, self._front.relay.cors, close))
        if not close or self._secure:
            self.finish(close)
            return
        self._turn = None
        self._closing = True
        self._inbox = b""
        self._since = self.now()
        self.hold(False)
        self.transport.loseWriteConnection()

    def malformed_body(self) -> None:
        """Refuse a body for the site whose chunks are malformed."""
        turn, self._turn = self._turn, None
        if isinstance(turn, SiteTurn):
            turn.client_lost(connectionDone)
        self.refuse(Refusal(AMBIGUOUS_REQUEST, "a chunk of the body is malformed"), True)

    def finish(self, close: bool) -> None:
        """See :class:`ClientSide`."""
        turn = self._turn
        if close:
            self._closing = True
            self.transport.unregisterProducer()
            self.transport.loseConnection()
            return
        if turn is not None:
            self._turn = None
        self._since = self.now()
        self.hold(False)
        self._step()

    def abort(self) -> None:
        """See :class:`ClientSide`."""
        self._closing = True
        self.transport.abortConnection()

    def hold(self, held: bool) -> None:
        """See :class:`ClientSide`."""
        if held != self._held:
            self._held = held
            (self.transport.pauseProducing if held else self.transport.resumeProducing)()

    def end_writing(self) -> None:
        """See :class:`ClientSide`; TLS has no half-close."""
        if self._secure:
            self.finish(True)
        else:
            self.transport.loseWriteConnection()

    # What the transport says.

    def readConnectionLost(self) -> None:
        """The client sends no more."""
        if self._turn is not None and not self._closing:
            self._turn.client_ended()
        else:
            self.finish(True)

    def writeConnectionLost(self) -> None:
        """Our side of a half-closed connection is shut; nothing to do."""

    def pauseProducing(self) -> None:
        """The client reads slowly."""
        if self._turn is not None:
            self._turn.client_full()

    def resumeProducing(self) -> None:
        """The client has caught up."""
        if self._turn is not None:
            self._turn.client_drained()

    def stopProducing(self) -> None:
        """The connection is going; connectionLost says so."""

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

    def cut(self, session_id: str | None) -> None:
        """End what runs for this session, or whatever runs when None."""
        if self._turn is not None and (session_id is None or self._turn.session_id == session_id):
            self._turn.cut()


class FrontFactory(Factory):
    """The factory to listen with; see docs/gateway.md.

    :param site: serves every path that is not a session's.
    :param reactor: connects to agent servers and tells the time.
    """

    noisy = False
    log = Logger()

    def __init__(
        self,
        site: Site,
        directory: SessionDirectory,
        options: GatewayOptions,
        cors: CorsRules,
        reactor: IReactorTime,
        counts: GatewayCounts | None = None,
        credentials: rules.CredentialRules | None = None,
    ) -> None:
        counts = counts or GatewayCounts()
        pool = AgentPool(reactor, options, counts)
        self.site = site
        self.relay = Relay(reactor, directory, options, cors, credentials or rules.CredentialRules(), counts, pool)
        self.connections: set[FrontProtocol] = set()
        self._sweep = LoopingCall(self.sweep)
        self._sweep.clock = reactor

    def startFactory(self) -> None:
        """Start to meet deadlines."""
        self.site.doStart()
        self._sweep.start(SWEEP, now=False).addErrback(
            lambda failure: self.log.failure("The gateway's deadlines have stopped", failure)
        )

    def stopFactory(self) -> None:
        """Stop to meet deadlines: the last listener is gone."""
        if self._sweep.running:
            self._sweep.stop()
        self.site.doStop()

    def buildProtocol(self, addr: IAddress | None) -> FrontProtocol:  # noqa: ARG002
        """Return the protocol of a new client connection."""
        return FrontProtocol(self)

    def sweep(self) -> None:
        """Meet every deadline that has passed."""
        now = self.relay.reactor.seconds()
        for connection in list(self.connections):
            try:
                connection.check(now)
            except Exception:
                self.log.failure("A connection's deadline failed")
                connection.abort()
        self.relay.pool.sweep(now)

    def cut(self, session_id: str) -> None:
        """End every request and stream of the session."""
        for connection in list(self.connections):
            connection.cut(session_id)

    def cut_all(self) -> None:
        """End every request and stream."""
        for connection in list(self.connections):
            connection.cut(None)

    def stop(self) -> None:
        """Close every connection, to clients and to agent servers."""
        for connection in list(self.connections):
            connection.abort()
        self.relay.pool.stop()
