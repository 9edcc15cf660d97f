"""Every wait of the gateway has an end, and says which one it was."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError
from twisted.python.failure import Failure

from agentproxy.errors import Refusal
from agentproxy.gateway.front import AT_ONCE
from agentproxy.gateway.options import GatewayOptions
from agentproxy.model.backend import Backend
from tests.gateway.memory import EVENTS, ID, OK, SWITCH, UPGRADE, Gateway, get


def test_a_slow_head_is_408() -> None:
    """A head that stops in the middle is answered with 408 after the deadline, not before."""
    gateway = Gateway()
    client = gateway.client(get("/x")[:20])
    gateway.pass_time(29)
    assert client.value() == b""
    gateway.pass_time(3)
    assert client.value().startswith(b"HTTP/1.1 408 ")
    assert client.half_closed


def test_a_slow_drip_does_not_extend_the_head() -> None:
    """The head's deadline counts from its first byte: a byte now and then does not move it."""
    gateway = Gateway()
    client = gateway.client(b"GET /")
    for _ in range(7):
        gateway.pass_time(5)
        client.hear(b"a")
    assert client.value().startswith(b"HTTP/1.1 408 ")


def test_a_slow_body_is_408_and_the_agent_is_let_go() -> None:
    """A body that stops is 408; its agent server sees the end of the connection."""
    gateway = Gateway()
    client = gateway.client(get("/x", "Content-Length: 9\r\n", "POST") + b"abc")
    agent = gateway.agent()
    assert agent.value().endswith(b"\r\n\r\nabc")
    gateway.pass_time(62)
    assert client.value().startswith(b"HTTP/1.1 408 ")
    assert agent.aborted


def test_a_slow_body_for_our_own_page_is_408() -> None:
    """Our own pages have the same deadline and the same answer."""
    gateway = Gateway()
    client = gateway.client(b"POST /own HTTP/1.1\r\nHost: us\r\nContent-Length: 9\r\n\r\nabc")
    gateway.pass_time(62)
    assert client.value().startswith(b"HTTP/1.1 408 ")


def test_a_silent_agent_is_504() -> None:
    """An agent server that takes the request and says nothing is 504 with the code of that."""
    gateway = Gateway(GatewayOptions(first_byte_timeout=60))
    client = gateway.client(get("/x"))
    agent = gateway.agent()
    gateway.pass_time(59)
    assert client.value() == b""
    gateway.pass_time(4)
    assert client.value().startswith(b"HTTP/1.1 504 ")
    assert b'"agent_timeout"' in client.value()
    assert agent.aborted


def test_a_stalled_answer_and_a_silent_tunnel_are_cut() -> None:
    """What has begun ends after the idle deadline, visibly: the client never takes it for complete."""
    gateway = Gateway(GatewayOptions(idle_timeout=100))
    client = gateway.client(get("/x"))
    gateway.agent().hear(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
    tunnel = gateway.client(get("/ws", UPGRADE))
    gateway.agent().hear(SWITCH)
    gateway.pass_time(98)
    assert not client.over
    assert not tunnel.over
    gateway.pass_time(5)
    assert client.aborted
    assert tunnel.aborted


def test_a_tunnel_that_speaks_lives_on() -> None:
    """Either direction keeps a WebSocket."""
    gateway = Gateway(GatewayOptions(idle_timeout=100))
    tunnel = gateway.client(get("/ws", UPGRADE))
    agent = gateway.agent()
    agent.hear(SWITCH)
    for _ in range(3):
        gateway.pass_time(60)
        tunnel.hear(b"ping")
        gateway.pass_time(60)
        agent.hear(b"pong")
    assert not tunnel.over


def test_an_event_stream_outlives_the_idle_deadline() -> None:
    """A silent event stream gets comments instead of an end."""
    gateway = Gateway(GatewayOptions(idle_timeout=100, keepalive=15))
    client = gateway.client(get("/events"))
    gateway.agent().hear(EVENTS)
    gateway.pass_time(300)
    assert not client.over
    assert 15 <= client.value().count(b": keep-alive\n\n") <= 20


def test_an_unused_connection_is_closed() -> None:
    """A client that asks nothing more is let go, in order; an agent server's connection too."""
    gateway = Gateway()
    client = gateway.client(get("/x"))
    agent = gateway.agent()
    agent.hear(OK)
    gateway.pass_time(59)
    assert not agent.aborted
    gateway.pass_time(3)
    assert agent.aborted
    assert not client.over
    gateway.pass_time(16)
    assert client.disconnecting


def test_a_session_that_does_not_start_in_time_is_503() -> None:
    """A request waits for its session up to start_wait; then the client is told to come back."""
    gateway = Gateway()
    gateway.directory.waiting = waiting = Deferred[Backend | Refusal]()
    cancelled: list[object] = []
    waiting.addErrback(cancelled.append)
    client = gateway.client(get("/x"))
    gateway.pass_time(29)
    assert client.value() == b""
    gateway.pass_time(2)
    assert client.value().startswith(b"HTTP/1.1 503 ")
    assert b"\r\nRetry-After: 2\r\n" in client.value()
    assert not client.over
    assert gateway.connects == 0
    assert cancelled


def test_an_agent_that_takes_no_connection_is_502() -> None:
    """A connection that cannot be made is 502 with the reason, at once."""
    gateway = Gateway()
    client = gateway.client(get("/x"))
    factory = gateway.clock.tcpClients[0][2]
    factory.clientConnectionFailed(None, Failure(ConnectError(string="nobody listens")))
    assert client.value().startswith(b"HTTP/1.1 502 ")
    assert f'"session_id": "{ID}"'.encode() in client.value()


def test_nothing_is_left_when_the_front_stops() -> None:
    """After the end no call waits on the clock and nobody is connected."""
    gateway = Gateway()
    gateway.front.doStart()
    stream = gateway.client(get("/events"))
    gateway.agent().hear(EVENTS)
    gateway.directory.waiting = Deferred()
    gateway.directory.waiting.addErrback(lambda failure: None)
    waiting = gateway.client(get("/x"))
    gateway.front.stop()
    gateway.front.doStop()
    assert stream.aborted
    assert waiting.aborted
    assert gateway.clock.getDelayedCalls() == []
    assert gateway.front.relay.counts.connections == 0


def test_thousands_of_connections_are_looked_at_in_pieces_and_all_of_them() -> None:
    """Nobody waits until the deadlines of all have been looked at, and none is forgotten."""
    gateway = Gateway(GatewayOptions(keep_alive_timeout=10))
    clients = [gateway.client() for _ in range(AT_ONCE * 2 + 1)]
    gateway.clock.advance(20)
    gateway.front.sweep()
    assert sum(client.over for client in clients) == AT_ONCE
    gateway.clock.advance(0)
    gateway.clock.advance(0)
    assert all(client.over for client in clients)
    assert not gateway.clock.getDelayedCalls()


def test_a_request_without_an_answer_is_502_when_its_session_ends() -> None:
    """Who waits for an answer is told that the session has ended, and may ask on; a begun answer breaks off."""
    gateway = Gateway()
    waiting = gateway.client(get("/message", "Content-Length: 2\r\n", "POST") + b"{}")
    gateway.agent()
    begun = gateway.client(get("/events"))
    gateway.agent().hear(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
    gateway.front.cut(ID)
    assert waiting.value().startswith(b"HTTP/1.1 502 ")
    assert b"its session has ended" in waiting.value()
    assert not waiting.over
    assert begun.over
