"""What listens: makes the connections of clients, meets their deadlines and ends them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from twisted.internet.interfaces import IAddress, IDelayedCall, IProtocolNegotiationFactory, IReactorTime
from twisted.internet.protocol import Factory
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.web.server import Site
from zope.interface import implementer

from agentproxy.gateway import descriptors, lean_poll, rules
from agentproxy.gateway.connection import FrontProtocol
from agentproxy.gateway.head import Head
from agentproxy.gateway.options import GatewayCounts, GatewayOptions
from agentproxy.gateway.relay import SWEEP, Relay
from agentproxy.gateway.routes import SessionDirectory
from agentproxy.gateway.upstream import AgentPool
from agentproxy.model.cors import CorsRules

AT_ONCE = 250
"""Connections whose deadlines are looked at without a pause: with thousands of streams nobody else should wait for all."""


def _nothing() -> None:
    """The stock poll is in use."""


@implementer(IProtocolNegotiationFactory)
class FrontFactory(Factory):
    """The factory to listen with; see docs/gateway.md.

    :param site: serves every path that is not a session's.
    :param reactor: connects to agent servers and tells the time.
    :ivar follow: turns the head of a request for a share link into one for its session; leaves others as they are.
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
        self.follow: Callable[[Head], Head] = lambda head: head
        self.connections: set[FrontProtocol] = set()
        self._sweep = LoopingCall(self.sweep)
        self._sweep.clock = reactor
        self._stock_poll = _nothing
        self._unlooked: IDelayedCall | None = None

    def startFactory(self) -> None:
        """Start to meet deadlines."""
        descriptors.make_room()
        self.site.doStart()
        self.relay.tick()
        self._stock_poll = lean_poll.use(self.relay.reactor)
        self._sweep.start(SWEEP, now=False).addErrback(
            lambda failure: self.log.failure("The gateway's deadlines have stopped", failure)
        )

    def stopFactory(self) -> None:
        """Stop to meet deadlines: the last listener is gone."""
        if self._sweep.running:
            self._sweep.stop()
        if self._unlooked is not None:
            self._unlooked.cancel()
            self._unlooked = None
        self._stock_poll()
        self.site.doStop()

    def acceptableProtocols(self) -> list[bytes]:
        """Return what a TLS client may choose: without an answer to its offer, browsers and curl would be sent away."""
        return [b"http/1.1"]

    def buildProtocol(self, addr: IAddress | None) -> FrontProtocol:  # noqa: ARG002
        """Return the protocol of a new client connection."""
        self.relay.tick()
        return FrontProtocol(self)

    def sweep(self) -> None:
        """Meet every deadline that has passed."""
        now = self.relay.tick()
        self.relay.pool.sweep(now)
        if self._unlooked is None:
            self._look(iter(list(self.connections)), now)

    def _look(self, left: Iterator[FrontProtocol], now: float) -> None:
        self._unlooked = None
        looked = 0
        for connection in islice(left, AT_ONCE):
            looked += 1
            try:
                connection.check(now)
            except Exception:
                self.log.failure("A connection's deadline failed")
                connection.abort()
        if looked == AT_ONCE:
            self._unlooked = self.relay.reactor.callLater(0, self._look, left, now)

    def recheck(self, allowed: Callable[[Head, Callable[[], None]], bool]) -> None:
        """End every request and stream that would not be allowed now: a key, a grant or a link was taken back.

        :param allowed: gets the head, and what to call if the answer comes later.
        """
        now = self.relay.reactor.seconds()
        for connection in list(self.connections):
            connection.recheck(allowed, now)

    def streams(self) -> int:
        """Return how many event streams of agent servers are open."""
        return sum(connection.streams() for connection in self.connections)

    def cut(self, session_id: str) -> None:
        """End every request and stream of the session."""
        for connection in list(self.connections):
            connection.cut(session_id)

    def stop(self) -> None:
        """Close every connection, to clients and to agent servers."""
        for connection in list(self.connections):
            connection.abort()
        self.relay.pool.stop()
