"""The gateway without sockets: a clock, transports that remember, and a hand on both sides."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import Site

from agentproxy.errors import AGENT_UNREACHABLE, SESSION_NOT_FOUND, Refusal
from agentproxy.gateway.front import FrontFactory
from agentproxy.gateway.head import Head
from agentproxy.gateway.options import GatewayOptions
from agentproxy.gateway.routes import Waiting
from agentproxy.model.backend import Backend
from agentproxy.model.cors import CorsRules

ID = "0b5a1f6e-1111-4222-8333-444455556666"


class Pipe(StringTransport):
    """One end of a connection: what was written to it, and how it ended."""

    aborted = False
    half_closed = False

    def __init__(self, protocol: Any) -> None:
        super().__init__(peerAddress=IPv4Address("TCP", "10.1.2.3", 4000))  # type: ignore[no-untyped-call]
        self.protocol = protocol
        protocol.makeConnection(self)

    def hear(self, data: bytes) -> None:
        """Let bytes come, unless the connection has ended."""
        if not self.over:
            self.protocol.dataReceived(data)

    @property
    def over(self) -> bool:
        """Return whether our side ended the connection."""
        return self.aborted or bool(self.disconnecting)

    def abortConnection(self) -> None:
        self.aborted = True
        self.end(ConnectionLost())

    def loseWriteConnection(self) -> None:
        self.half_closed = True

    def end(self, why: Exception | None = None) -> None:
        """Let the connection be gone."""
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            protocol.connectionLost(Failure(why or ConnectionDone()))


class Directory:
    """Knows one session; ``waiting`` answers instead of it when set."""

    def __init__(self) -> None:
        self.waiting: Deferred[Backend | Refusal] | None = None

    def find(self, session_id: str, head: Head) -> Backend | Waiting | Refusal:
        if session_id != ID:
            return Refusal(SESSION_NOT_FOUND, session_id=session_id)
        waiting = self.waiting
        return Backend("127.0.0.1", 9000) if waiting is None else Waiting(lambda: waiting)

    def explain(self, session_id: str, failure: str) -> Refusal:
        return Refusal(AGENT_UNREACHABLE, failure, session_id=session_id)


class Page(Resource):
    """A page of our own."""

    isLeaf = True

    def render(self, request: Any) -> bytes:
        return b"own " + request.uri + b" " + request.content.read()


class Gateway:
    """A front whose clients and agent servers are :class:`Pipe`."""

    def __init__(self, options: GatewayOptions | None = None) -> None:
        self.clock: Any = MemoryReactorClock()
        self.directory = Directory()
        site = Site(Page())  # type: ignore[no-untyped-call]
        self.front = FrontFactory(site, self.directory, options or GatewayOptions(), CorsRules(), self.clock)
        self._met = 0

    def client(self, data: bytes = b"") -> Pipe:
        """Return a new client that has sent ``data``."""
        pipe = Pipe(self.front.buildProtocol(None))
        if data:
            pipe.hear(data)
        return pipe

    def agent(self) -> Pipe:
        """Accept the next connection to the agent server."""
        factory = self.clock.tcpClients[self._met][2]
        self._met += 1
        return Pipe(factory.buildProtocol(None))

    @property
    def connects(self) -> int:
        """Return how many connections to the agent server were asked for."""
        return len(self.clock.tcpClients)

    def pass_time(self, seconds: float) -> None:
        """Let time go by, second by second, with the sweeps that belong to it."""
        for _ in range(round(seconds)):
            self.clock.advance(1)
            self.front.sweep()


def get(path: str, extra: str = "", method: str = "GET") -> bytes:
    """Return a request to the session."""
    return f"{method} /{ID}{path} HTTP/1.1\r\nHost: us\r\n{extra}\r\n".encode()


UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
