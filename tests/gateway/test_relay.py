"""The gateway on real sockets: a scripted agent server behind it, a raw client before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, serverFromString
from twisted.internet.protocol import Factory, Protocol
from twisted.web.resource import Resource
from twisted.web.server import Site

from agentproxy.errors import AGENT_UNREACHABLE, SESSION_NOT_FOUND, Refusal
from agentproxy.gateway.front import FrontFactory
from agentproxy.gateway.head import Head
from agentproxy.gateway.options import GatewayOptions
from agentproxy.gateway.routes import Waiting
from agentproxy.model.backend import Backend
from agentproxy.model.cors import CorsRules

reactor: Any = _reactor
ID = "0b5a1f6e-1111-4222-8333-444455556666"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Ear(Protocol):
    """A raw connection that remembers and can be awaited."""

    def __init__(self, answer: Callable[[Ear], None] | None = None) -> None:
        self.heard = b""
        self.closed = False
        self._answer = answer
        self._waiting: list[tuple[Callable[[Ear], bool], Deferred[bytes]]] = []

    def dataReceived(self, data: bytes) -> None:
        self.heard += data
        if self._answer is not None:
            self._answer(self)
        self._tell()

    def connectionLost(self, reason: Any = None) -> None:
        self.closed = True
        self._tell()

    def _tell(self) -> None:
        for waiting in [w for w in self._waiting if w[0](self)]:
            self._waiting.remove(waiting)
            waiting[1].callback(self.heard)

    def until(self, ready: Callable[[Ear], bool]) -> Deferred[bytes]:
        deferred: Deferred[bytes] = Deferred()
        self._waiting.append((ready, deferred))
        self._tell()
        return deferred.addTimeout(30, reactor)


@dataclass
class World:
    """Front, agent server and directory of one test."""

    front: FrontFactory
    port: Any
    agents: list[Ear] = field(default_factory=list)
    answer: Callable[[Ear], None] = lambda ear: None

    async def client(self, data: bytes) -> Ear:
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port.getHost().port)
        ear: Any = await endpoint.connect(Factory.forProtocol(Ear))
        ear.transport.write(data)
        return ear  # type: ignore[no-any-return]


class Directory:
    """Knows one session."""

    backend: Backend

    def find(self, session_id: str, head: Head) -> Backend | Waiting | Refusal:
        return self.backend if session_id == ID else Refusal(SESSION_NOT_FOUND, session_id=session_id)

    def explain(self, session_id: str, failure: str) -> Refusal:
        return Refusal(AGENT_UNREACHABLE, failure, session_id=session_id)


class Page(Resource):
    """A page of our own."""

    isLeaf = True

    def render(self, request: Any) -> bytes:
        return b"own " + request.uri + request.content.read()


@pytest.fixture
def world() -> Iterator[World]:
    directory = Directory()
    front = FrontFactory(Site(Page()), directory, GatewayOptions(), CorsRules(), reactor)
    port = pytest_twisted.blockon(serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(front))
    made = World(front, port)

    def agent() -> Ear:
        made.agents.append(Ear(lambda ear: made.answer(ear)))
        return made.agents[-1]

    listener = reactor.listenTCP(0, Factory.forProtocol(agent), interface="127.0.0.1")
    directory.backend = Backend("127.0.0.1", listener.getHost().port)
    yield made
    front.stop()
    for agent_side in made.agents:
        if not agent_side.closed:
            agent_side.transport.abortConnection()  # type: ignore[union-attr]
    pytest_twisted.blockon(port.stopListening())
    pytest_twisted.blockon(listener.stopListening())


def saying(answer: bytes, close: bool = False) -> Callable[[Ear], None]:
    """Answer each complete head."""

    def say(ear: Ear) -> None:
        while b"\r\n\r\n" in ear.heard:
            ear.heard = ear.heard.partition(b"\r\n\r\n")[2]
            ear.transport.write(answer)  # type: ignore[union-attr]
            if close:
                ear.transport.loseConnection()  # type: ignore[union-attr]

    return say


def get(path: str, extra: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: us\r\n{extra}\r\n".encode()


@pytest_twisted.ensureDeferred
async def test_pipelined_requests_are_answered_in_order_over_one_agent_connection(world: World) -> None:
    """Session, own page, session: answered in that order on one connection."""
    world.answer = saying(OK)
    client = await world.client(get(f"/{ID}/status") + get("/own") + get(f"/{ID}/status", "Connection: close\r\n"))
    heard = await client.until(lambda ear: ear.closed)
    assert heard.count(b"HTTP/1.1 200 OK") == 3
    assert heard.index(b"ok") < heard.index(b"own /own") < heard.rindex(b"ok")
    assert len(world.agents) == 1


@pytest_twisted.ensureDeferred
async def test_a_post_to_our_own_page_keeps_its_body(world: World) -> None:
    """A body for the site reaches the site, and the connection goes on."""
    post = b"POST /own HTTP/1.1\r\nHost: us\r\nContent-Length: 4\r\n\r\nbody"
    client = await world.client(post + get("/next", "Connection: close\r\n"))
    heard = await client.until(lambda ear: ear.closed)
    assert b"own /ownbody" in heard
    assert b"own /next" in heard


@pytest_twisted.ensureDeferred
async def test_a_refused_request_never_reaches_the_agent(world: World) -> None:
    """An ambiguous request is 400 and the connection closes."""
    client = await world.client(
        get(f"/{ID}/x", "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n") + get(f"/{ID}/y")
    )
    heard = await client.until(lambda ear: ear.closed)
    assert heard.startswith(b"HTTP/1.1 400 ")
    assert heard.count(b"HTTP/1.1 400 ") == 1
    assert b" 200 " not in heard
    assert not world.agents


@pytest_twisted.ensureDeferred
async def test_a_truncated_answer_stays_truncated(world: World) -> None:
    """When the agent dies in a chunked answer, the client sees no clean end."""
    world.answer = saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", close=True)
    client = await world.client(get(f"/{ID}/x"))
    heard = await client.until(lambda ear: ear.closed)
    assert b"0\r\n\r\n" not in heard


@pytest_twisted.ensureDeferred
async def test_a_dead_agent_is_502_with_cors(world: World) -> None:
    """A page can read why its agent does not answer."""
    world.answer = saying(b"", close=True)
    client = await world.client(get(f"/{ID}/x", "Origin: http://localhost:1\r\nConnection: close\r\n"))
    heard = await client.until(lambda ear: ear.closed)
    assert heard.startswith(b"HTTP/1.1 502 ")
    assert b"Access-Control-Allow-Origin: http://localhost:1" in heard


@pytest_twisted.ensureDeferred
async def test_a_client_that_leaves_cancels_its_stream(world: World) -> None:
    """The agent's connection ends when the reader of a stream goes."""
    world.answer = saying(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n4\r\na:\n\n\r\n"
    )
    client = await world.client(get(f"/{ID}/events"))
    heard = await client.until(lambda ear: b"a:\n\n" in ear.heard)
    assert b"X-Accel-Buffering: no" in heard
    client.transport.abortConnection()  # type: ignore[union-attr]
    await world.agents[0].until(lambda ear: ear.closed)


@pytest_twisted.ensureDeferred
async def test_a_websocket_is_relayed_with_what_was_sent_early(world: World) -> None:
    """After 101 bytes go both ways, the early ones included."""
    world.answer = saying(b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\n\r\nhello")
    ask = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    ask += "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    client = await world.client(get(f"/{ID}/ws", ask) + b"early")
    heard = await client.until(lambda ear: ear.heard.endswith(b"hello"))
    assert b"Upgrade: websocket" in heard
    await world.agents[0].until(lambda ear: ear.heard == b"early")
    world.answer = lambda ear: None
    client.transport.write(b"late")  # type: ignore[union-attr]
    await world.agents[0].until(lambda ear: ear.heard == b"earlylate")


@pytest_twisted.ensureDeferred
async def test_a_refused_upgrade_smuggles_nothing(world: World) -> None:
    """Bytes behind an upgrade that the agent refuses are never a request."""
    world.answer = saying(OK)
    ask = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    ask += "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    client = await world.client(get(f"/{ID}/ws", ask) + get(f"/{ID}/smuggled"))
    heard = await client.until(lambda ear: ear.closed)
    assert heard.count(b"HTTP/1.1 ") == 1


@pytest_twisted.ensureDeferred
async def test_a_preflight_is_answered_without_an_agent(world: World) -> None:
    """A browser's question gets 204 from us, whoever asks."""
    ask = get(f"/{ID}/x", "Origin: http://localhost\r\nAccess-Control-Request-Method: POST\r\nConnection: close\r\n")
    client = await world.client(ask.replace(b"GET", b"OPTIONS", 1))
    heard = await client.until(lambda ear: ear.closed)
    assert heard.startswith(b"HTTP/1.1 204 ")
    assert not world.agents


@pytest_twisted.ensureDeferred
async def test_cutting_a_session_ends_its_streams(world: World) -> None:
    """When a session ends, its readers are told by the end of the connection."""
    world.answer = saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
    client = await world.client(get(f"/{ID}/x"))
    await client.until(lambda ear: ear.heard.endswith(b"a\r\n"))
    world.front.cut(ID)
    await client.until(lambda ear: ear.closed)


@pytest_twisted.ensureDeferred
async def test_an_http_1_0_client_gets_the_bare_payload(world: World) -> None:
    """Chunks are taken off for a client that does not know them."""
    world.answer = saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
    client = await world.client(f"GET /{ID}/x HTTP/1.0\r\n\r\n".encode())
    heard = await client.until(lambda ear: ear.closed)
    assert heard.endswith(b"\r\n\r\nok")


@pytest_twisted.ensureDeferred
async def test_a_silent_event_stream_gets_comments_between_events(world: World) -> None:
    """Middle boxes see life on a stream whose agent is silent, never inside an event."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    world.answer = saying(head + b"3\r\na:1\r\n")
    client = await world.client(get(f"/{ID}/events"))
    await client.until(lambda ear: b"a:1" in ear.heard)
    later = reactor.seconds() + 16
    for connection in world.front.connections:
        connection.check(later)
    world.agents[0].transport.write(b"2\r\n\n\n\r\n")  # type: ignore[union-attr]
    await client.until(lambda ear: ear.heard.endswith(b"\n\n\r\n"))
    for connection in world.front.connections:
        connection.check(later + 16)
    heard = await client.until(lambda ear: b": keep-alive" in ear.heard)
    assert heard.endswith(b"3\r\na:1\r\n2\r\n\n\n\r\ne\r\n: keep-alive\n\n\r\n")


@pytest_twisted.ensureDeferred
async def test_a_request_waits_for_a_session_that_starts(world: World) -> None:
    """A request that comes while the session starts is sent on when it is ready."""
    world.answer = saying(OK)
    directory: Any = world.front.relay.directory
    ready: Deferred[Backend | Refusal] = Deferred()
    directory.find = lambda session_id, head: Waiting(lambda: ready)
    client = await world.client(f"POST /{ID}/x HTTP/1.1\r\nHost: us\r\nContent-Length: 4\r\n\r\nbody".encode())
    reactor.callLater(0.05, ready.callback, directory.backend)
    assert (await client.until(lambda ear: ear.heard.endswith(b"ok"))).startswith(b"HTTP/1.1 200 ")
    await world.agents[0].until(lambda ear: ear.heard == b"body")


@pytest_twisted.ensureDeferred
async def test_a_stalled_client_stalls_its_agent(world: World) -> None:
    """A download whose reader stops holds little in memory, and arrives whole afterwards."""
    size = 16 << 20
    world.answer = saying(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)
    client = await world.client(get(f"/{ID}/x", "Connection: close\r\n"))
    client.transport.pauseProducing()  # type: ignore[union-attr]
    waited: Deferred[None] = Deferred()
    reactor.callLater(0.3, waited.callback, None)
    await waited
    (front,) = world.front.connections
    assert len(front.transport.dataBuffer) + front.transport._tempDataLen < 1 << 20
    client.transport.resumeProducing()  # type: ignore[union-attr]
    heard = await client.until(lambda ear: ear.closed)
    assert len(heard.partition(b"\r\n\r\n")[2]) == size
