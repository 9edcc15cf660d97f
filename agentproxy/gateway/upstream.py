"""Connections to agent servers and the pool that keeps the unused ones."""

from __future__ import annotations

from typing import Protocol as Shape
from typing import cast

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, UNIXClientEndpoint
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer, IReactorTime
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from agentproxy.gateway.options import GatewayCounts, GatewayOptions
from agentproxy.model.backend import Backend


class AgentUser(Shape):
    """Who uses a connection at the moment: what it hears."""

    def agent_data(self, data: bytes) -> None:
        """Hear bytes of the agent server."""

    def agent_ended(self) -> None:
        """Hear that it will send no more, while it may still read."""

    def agent_lost(self, clean: bool) -> None:
        """Hear that the connection is gone; ``clean`` when it was closed rather than broken."""

    def agent_full(self) -> None:
        """Hear that it reads slower than we write."""

    def agent_drained(self) -> None:
        """Hear that it has caught up."""


@implementer(IPushProducer, IHalfCloseableProtocol)
class AgentConnection(Protocol):
    """One connection to an agent server, used by one request at a time."""

    user: AgentUser | None = None
    reused = False
    lost = False
    idle_since = 0.0

    def __init__(self, pool: AgentPool, backend: Backend) -> None:
        self.backend = backend
        self._pool = pool

    def connectionMade(self) -> None:
        """Watch how fast the agent server reads."""
        self._pool.connections.add(self)
        self.transport.registerProducer(self, True)  # type: ignore[union-attr]

    def write(self, data: bytes) -> None:
        """Send bytes."""
        self.transport.write(data)  # type: ignore[union-attr]

    def dataReceived(self, data: bytes) -> None:
        """Pass bytes to the user; bytes that nobody asked for would poison the next answer and end the connection."""
        if self.user is None:
            self.abort()
        else:
            self.user.agent_data(data)

    def readConnectionLost(self) -> None:
        """The agent server has said everything."""
        if self.user is None:
            self.abort()
        else:
            self.user.agent_ended()

    def writeConnectionLost(self) -> None:
        """Our side of a half-closed connection is shut; nothing to do."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell the user."""
        self.lost = True
        self._pool.forget(self)
        user, self.user = self.user, None
        if user is not None:
            user.agent_lost(reason.check(ConnectionDone) is not None)

    def abort(self) -> None:
        """End the connection at once; the user hears nothing more."""
        self.user = None
        self._pool.forget(self)
        if not self.lost:
            self.transport.abortConnection()  # type: ignore[union-attr]

    def end_writing(self) -> None:
        """Say that we send no more."""
        if not self.lost:
            self.transport.loseWriteConnection()  # type: ignore[union-attr]

    def hold(self, held: bool) -> None:
        """Stop reading, or go on."""
        if not self.lost:
            (self.transport.pauseProducing if held else self.transport.resumeProducing)()  # type: ignore[union-attr]

    def pauseProducing(self) -> None:
        """The write buffer is full."""
        if self.user is not None:
            self.user.agent_full()

    def resumeProducing(self) -> None:
        """The write buffer is empty."""
        if self.user is not None:
            self.user.agent_drained()

    def stopProducing(self) -> None:
        """The connection is going; connectionLost says so."""


class AgentPool:
    """Unused keep-alive connections for each agent server, newest first.

    :param reactor: connects and tells the time.
    """

    def __init__(self, reactor: IReactorTime, options: GatewayOptions, counts: GatewayCounts) -> None:
        self.connections: set[AgentConnection] = set()
        self._reactor = reactor
        self._options = options
        self._counts = counts
        self._idle: dict[Backend, list[AgentConnection]] = {}

    def take(self, backend: Backend, fresh: bool = False) -> AgentConnection | Deferred[AgentConnection]:
        """Return an unused connection, or a Deferred of a new one; ``fresh`` forbids an old one."""
        kept = self._idle.get(backend)
        if kept and not fresh:
            connection = kept.pop()
            if not kept:
                del self._idle[backend]
            connection.reused = True
            return connection
        self._counts.connects += 1
        timeout = self._options.connect_timeout
        endpoint = (
            UNIXClientEndpoint(self._reactor, backend.unix_path, timeout)
            if backend.unix_path is not None
            else TCP4ClientEndpoint(self._reactor, backend.host, backend.port or 0, timeout)
        )
        factory = Factory.forProtocol(lambda: AgentConnection(self, backend))
        factory.noisy = False
        return cast("Deferred[AgentConnection]", endpoint.connect(factory))

    def give(self, connection: AgentConnection) -> None:
        """Take back a connection whose answer has ended properly."""
        connection.user = None
        kept = self._idle.setdefault(connection.backend, [])
        if connection.lost or len(kept) >= self._options.pool_size:
            if not kept:
                del self._idle[connection.backend]
            connection.abort()
            return
        connection.hold(False)
        connection.idle_since = self._reactor.seconds()
        kept.append(connection)

    def forget(self, connection: AgentConnection) -> None:
        """Keep the connection no longer."""
        self.connections.discard(connection)
        kept = self._idle.get(connection.backend, [])
        if connection in kept:
            kept.remove(connection)
            if not kept:
                del self._idle[connection.backend]

    def sweep(self, now: float) -> None:
        """Close what has been unused for too long."""
        for kept in list(self._idle.values()):
            for connection in list(kept):
                if now - connection.idle_since > self._options.pool_idle:
                    connection.abort()

    def stop(self) -> None:
        """Close every connection."""
        for connection in list(self.connections):
            connection.abort()
