"""Connections to agent servers and the pool that keeps the unused ones."""

from __future__ import annotations

from typing import Any, cast
from typing import Protocol as Shape

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, UNIXClientEndpoint
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IReactorTime
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from agentproxy.gateway.options import GatewayCounts, GatewayOptions
from agentproxy.gateway.wire import Wire
from agentproxy.model.backend import Backend

LINGER = 5.0
"""Seconds that an agent server has to read the last bytes of a tunnel."""


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


@implementer(IHalfCloseableProtocol)
class AgentConnection(Protocol):
    """One connection to an agent server, used by one request at a time."""

    user: AgentUser | None = None
    reused = False
    lost = False
    idle = False
    idle_since = 0.0
    held = False
    _wire: Wire

    def __init__(self, pool: AgentPool, backend: Backend) -> None:
        self.backend = backend
        self._pool = pool

    def connectionMade(self) -> None:
        """Watch how fast the agent server reads."""
        self._pool.connections.add(self)
        transport: Any = self.transport
        transport.protocol = self  # the endpoint's wrapper would only pass on each read
        self._wire = Wire(transport, self)

    def write(self, data: bytes) -> None:
        """Send bytes."""
        self._wire.send(data)

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
        self._wire.lost()
        user, self.user = self.user, None
        if user is not None:
            user.agent_lost(reason.check(ConnectionDone) is not None)

    def abort(self) -> None:
        """End the connection at once; the user hears nothing more."""
        self.user = None
        self._pool.forget(self)
        if not self.lost:
            self._wire.abort()

    def close(self) -> None:
        """End the connection when all has been sent; the user hears nothing more, and a reader that stops is not waited for."""
        self.user = None
        if not self.lost:
            self._pool.linger(self)
            self._wire.close()

    def end_writing(self) -> None:
        """Say that we send no more."""
        if not self.lost:
            self._wire.half_close()

    def hold(self, held: bool) -> None:
        """Stop reading, or go on."""
        if held != self.held and not self.lost:
            self.held = held
            self._wire.hold(held)

    def wire_full(self) -> None:
        """The agent server reads slowly."""
        if self.user is not None:
            self.user.agent_full()

    def wire_drained(self) -> None:
        """The agent server has caught up."""
        if self.user is not None:
            self.user.agent_drained()


class AgentPool:
    """Unused keep-alive connections for each agent server, newest first.

    :param reactor: connects and tells the time.
    :ivar moment: the time of the latest sweep.
    """

    def __init__(self, reactor: IReactorTime, options: GatewayOptions, counts: GatewayCounts) -> None:
        self.connections: set[AgentConnection] = set()
        self.moment = 0.0
        self._reactor = reactor
        self._options = options
        self._counts = counts
        self._idle: dict[str, list[AgentConnection]] = {}
        self._lingering: dict[AgentConnection, float] = {}

    def take(self, backend: Backend, fresh: bool = False) -> AgentConnection | Deferred[AgentConnection]:
        """Return an unused connection, or a Deferred of a new one; ``fresh`` forbids an old one."""
        kept = self._idle.get(backend.key)
        if kept and not fresh:
            connection = kept.pop()
            connection.reused = True
            connection.idle = False
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
        key = connection.backend.key
        kept = self._idle.get(key)
        if kept is None:
            kept = self._idle[key] = []
        if connection.lost or len(kept) >= self._options.pool_size:
            connection.abort()
            return
        if connection.held:
            connection.hold(False)
        connection.idle = True
        connection.idle_since = self.moment or self._reactor.seconds()
        kept.append(connection)

    def forget(self, connection: AgentConnection) -> None:
        """Keep the connection no longer."""
        self.connections.discard(connection)
        self._lingering.pop(connection, None)
        if connection.idle:
            connection.idle = False
            self._idle[connection.backend.key].remove(connection)

    def linger(self, connection: AgentConnection) -> None:
        """See that a connection which closes does so in time."""
        self._lingering[connection] = self._reactor.seconds()

    def sweep(self, now: float) -> None:
        """Close what has been unused for too long, and what does not close by itself."""
        self.moment = now
        for connection, since in list(self._lingering.items()):
            if now - since > LINGER:
                connection.abort()
        for key, kept in list(self._idle.items()):
            for connection in list(kept):
                if now - connection.idle_since > self._options.pool_idle:
                    connection.abort()
            if not kept:
                del self._idle[key]

    def stop(self) -> None:
        """Close every connection."""
        for connection in list(self.connections):
            connection.abort()
