"""How messages of every shape pass: what arrives at the other side, byte for byte, and which connections live on."""

from __future__ import annotations

import pytest

from agentproxy.errors import SESSION_NOT_FOUND, Refusal
from agentproxy.gateway.head import Head
from tests.gateway.memory import EVENTS, ID, OK, SWITCH, UPGRADE, Gateway, Pipe, get


def answered(raw: bytes, request: bytes = b"", close: bool = False) -> tuple[Gateway, Pipe, Pipe]:
    """Return gateway, client and agent after a request and its answer; ``close``: the agent server ends the connection."""
    gateway = Gateway()
    client = gateway.client(request or get("/x"))
    agent = gateway.agent()
    agent.hear(raw)
    if close and agent.protocol is not None:
        agent.protocol.readConnectionLost()
    return gateway, client, agent


def body_of(client: Pipe) -> bytes:
    """Return what came behind the first head."""
    return client.value().partition(b"\r\n\r\n")[2]


def reused(gateway: Gateway, client: Pipe) -> bool:
    """Return whether the next request of this client takes the same connection to the agent server."""
    before = gateway.connects
    client.hear(get("/next"))
    return not client.over and gateway.connects == before


@pytest.mark.parametrize(
    ("method", "raw"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b'HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\nETag: "x"\r\n\r\n'),
        ("GET", OK),
        ("GET", b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;ext="a b"\r\nok\r\n0\r\nX-Trailer: t\r\n\r\n'),
        ("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ],
)
def test_an_answer_ends_where_it_says_and_both_connections_live_on(method: str, raw: bytes) -> None:
    """No answer takes bytes of the next one, and none leaves the client waiting."""
    gateway, client, _agent = answered(raw, get("/x", method=method))
    head, _, body = raw.partition(b"\r\n\r\n")
    assert client.value().startswith(head.split(b"\r\n")[0])
    assert body_of(client) == body
    assert reused(gateway, client)


def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    """What an old agent server sends until it closes is passed on and ended by our close."""
    _gateway, client, _agent = answered(b"HTTP/1.0 200 OK\r\n\r\nall of it", close=True)
    assert b"\r\nConnection: close\r\n" in client.value()
    assert body_of(client) == b"all of it"
    assert client.disconnecting
    assert not client.aborted


@pytest.mark.parametrize("raw", [b"Content-Length: 9\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n9\r\nabc"])
def test_an_answer_that_breaks_off_is_never_a_clean_end(raw: bytes) -> None:
    """The client's connection is reset, so that nobody takes half an answer for a whole one."""
    _gateway, client, _agent = answered(b"HTTP/1.1 200 OK\r\n" + raw, close=True)
    assert body_of(client).endswith(b"abc")
    assert client.aborted


def test_interim_answers_are_passed_and_are_not_the_answer() -> None:
    """100 and 103 come through; the final answer follows on the same request."""
    gateway, client, _agent = answered(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK
    )
    assert client.value().startswith(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 "
    )
    assert reused(gateway, client)


def test_a_client_that_waits_for_100_sends_its_body_afterwards() -> None:
    """The question goes to the agent server, and its leave comes back before the body."""
    gateway = Gateway()
    client = gateway.client(get("/x", "Expect: 100-continue\r\nContent-Length: 4\r\n", "POST"))
    agent = gateway.agent()
    assert b"\r\nExpect: 100-continue\r\n" in agent.value()
    agent.hear(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert client.value() == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.hear(b"body")
    assert agent.value().endswith(b"\r\n\r\nbody")
    agent.hear(OK)
    assert reused(gateway, client)


def test_an_old_client_hears_no_interim_answer_and_no_chunks() -> None:
    """HTTP/1.0 knows neither."""
    raw = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nT: t\r\n\r\n"
    _gateway, client, _agent = answered(raw, f"GET /{ID}/x HTTP/1.0\r\n\r\n".encode())
    assert client.value().startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"chunked" not in client.value()
    assert body_of(client) == b"ok"
    assert client.disconnecting


def test_an_answer_before_the_end_of_the_body_ends_both_connections() -> None:
    """An early answer reaches a client that still sends, and what it still sends is nobody's request."""
    gateway = Gateway()
    client = gateway.client(get("/x", "Content-Length: 99\r\n", "POST") + b"some")
    agent = gateway.agent()
    agent.hear(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
    assert b"\r\nConnection: close\r\n" in client.value()
    assert body_of(client) == b"no"
    assert client.half_closed
    assert not client.aborted
    client.hear(get("/smuggled"))
    assert agent.aborted
    assert gateway.connects == 1
    gateway.pass_time(8)
    assert client.aborted


def test_a_trailer_of_a_request_never_becomes_a_header() -> None:
    """Trailers pass behind the body; the next request of the connection has none of them."""
    gateway = Gateway()
    chunks = b"3\r\nabc\r\n0\r\nX-Api-Key: evil\r\n\r\n"
    client = gateway.client(get("/x", "Transfer-Encoding: chunked\r\n", "POST") + chunks + get("/y"))
    agent = gateway.agent()
    assert agent.value().endswith(b"\r\n\r\n" + chunks)
    agent.hear(OK)
    following = agent.value().rpartition(b"GET /y ")[2]
    assert following
    assert b"evil" not in following
    assert client.value().count(b"HTTP/1.1 200") == 1


def test_bytes_behind_an_answer_poison_nothing() -> None:
    """What nobody asked for ends the agent's connection: it can never be the answer to somebody's next request."""
    gateway, client, agent = answered(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
    assert agent.aborted
    assert b"poison" not in client.value()
    assert not reused(gateway, client)


def test_bytes_on_an_unused_connection_end_it() -> None:
    """An agent server that speaks unasked is not asked again on that connection."""
    gateway, client, agent = answered(OK)
    agent.hear(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
    assert agent.aborted
    assert not reused(gateway, client)


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 999 OK\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n",
        SWITCH,
    ],
)
def test_an_answer_that_cannot_be_trusted_is_502(raw: bytes) -> None:
    """Nothing of it reaches the client, and its connection is not used again."""
    _gateway, client, agent = answered(raw)
    assert client.value().startswith(b"HTTP/1.1 502 ")
    assert client.value().count(b"HTTP/1.1 ") == 1
    assert agent.aborted


def test_a_stale_connection_is_tried_again_for_a_harmless_request() -> None:
    """An agent server that closed an unused connection just now costs a GET nothing."""
    gateway, client, agent = answered(OK)
    client.hear(get("/next"))
    agent.end()
    again = gateway.agent()
    assert again.value().startswith(b"GET /next ")
    again.hear(OK)
    assert client.value().count(b"HTTP/1.1 200 OK") == 2


def test_a_request_that_may_not_run_twice_is_not_tried_again() -> None:
    """A POST that met a dead connection is 502: the agent server may have acted."""
    gateway, client, agent = answered(OK)
    client.hear(get("/next", "Content-Length: 0\r\n", "POST"))
    agent.end()
    assert client.value().count(b"HTTP/1.1 502 ") == 1
    assert gateway.connects == 1


def test_a_new_connection_that_dies_is_not_tried_again() -> None:
    """One that was never used is no stale one: the agent server refuses."""
    gateway = Gateway()
    client = gateway.client(get("/x"))
    gateway.agent().end()
    assert client.value().startswith(b"HTTP/1.1 502 ")
    assert gateway.connects == 1


def test_a_client_that_leaves_cancels_its_request() -> None:
    """Nobody computes an answer for somebody who has gone."""
    gateway = Gateway()
    client = gateway.client(get("/x"))
    agent = gateway.agent()
    client.end()
    assert agent.aborted


def test_a_refused_upgrade_gives_the_agents_own_answer_and_no_more() -> None:
    """The agent's status comes through; what the client sent early is never read as a request."""
    gateway = Gateway()
    client = gateway.client(get("/ws", UPGRADE) + get("/smuggled"))
    agent = gateway.agent()
    agent.hear(b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno")
    assert client.value().startswith(b"HTTP/1.1 426 Upgrade Required\r\n")
    assert client.value().endswith(b"\r\n\r\nno")
    assert client.over or client.half_closed
    client.hear(get("/smuggled"))
    assert b"smuggled" not in agent.value()
    assert gateway.connects == 1


@pytest.mark.parametrize("kind", ["h2c", "h2c, websocket", "foo"])
def test_any_other_upgrade_is_an_ordinary_request(kind: str) -> None:
    """The upgrade headers are dropped, the body is framed as ever, and the next request is read."""
    gateway = Gateway()
    ask = f"Connection: Upgrade\r\nUpgrade: {kind}\r\nContent-Length: 3\r\n"
    client = gateway.client(get("/x", ask, "POST") + b"abc" + get("/y"))
    agent = gateway.agent()
    assert b"pgrade" not in agent.value()
    assert agent.value().endswith(b"\r\n\r\nabc")
    agent.hear(OK)
    assert b"GET /y " in agent.value()
    agent.hear(OK)
    assert client.value().count(b"HTTP/1.1 200") == 2


def test_a_comment_never_splits_an_event_or_a_chunk() -> None:
    """Whatever piece of the stream has come, a comment is put only where an event has ended."""
    for cut in range(1, len(b"9\r\ndata: 1\n\n\r\n9\r\ndata: 2\n\n\r\n")):
        gateway = Gateway()
        client = gateway.client(get("/events"))
        agent = gateway.agent()
        stream = b"9\r\ndata: 1\n\n\r\n9\r\ndata: 2\n\n\r\n"
        agent.hear(EVENTS + stream[:cut])
        gateway.pass_time(20)
        agent.hear(stream[cut:])
        body = body_of(client)
        assert body.replace(b"e\r\n: keep-alive\n\n\r\n", b"") == stream
        assert (b"keep-alive" in body) == (cut == 14)


def test_a_mark_of_our_own_is_no_secret_of_the_agent() -> None:
    """Our credentials and forwarding headers that a stranger made up stop at the gateway."""
    gateway = Gateway()
    extra = (
        "Authorization: Bearer k\r\nX-API-Key: k\r\nCookie: a=1; agentproxy_session=k; b=2\r\nX-Agentproxy-Door: k\r\n"
    )
    gateway.client(get("/x", extra + "X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n"))
    told = gateway.agent().value()
    for secret in (b"Bearer", b"Key", b"Door", b"=k", b"6.6.6.6"):
        assert secret not in told
    assert b"\r\nCookie: a=1; b=2\r\n" in told
    assert b"\r\nX-Forwarded-For: 10.1.2.3\r\n" in told


def test_a_repeated_head_is_decided_each_time() -> None:
    """Whoever lost a right between two equal requests on one connection is refused the second."""
    gateway = Gateway()
    client = gateway.client(get("/x"))
    agent = gateway.agent()
    agent.hear(OK)
    client.hear(get("/x"))
    agent.hear(OK)
    gateway.directory.find = lambda session_id, head: Refusal(SESSION_NOT_FOUND, session_id=session_id)  # type: ignore[method-assign]
    client.hear(get("/x"))
    assert agent.value().count(b"GET /x ") == 2
    assert b"HTTP/1.1 404 " in client.value()


def test_a_repeated_link_is_followed_each_time() -> None:
    """A share link that is taken back between two equal requests on one connection leads nowhere."""
    gateway = Gateway()
    ask = b"GET /s/link HTTP/1.1\r\nHost: us\r\n\r\n"
    gateway.front.follow = lambda head: Head(head.method, f"/{ID}/x".encode(), head.fields, share="link")
    client = gateway.client(ask)
    agent = gateway.agent()
    agent.hear(OK)
    client.hear(ask)
    agent.hear(OK)
    gateway.front.follow = lambda head: head
    client.hear(ask)
    assert agent.value().count(b"GET /x ") == 2
    assert client.value().endswith(b"own /s/link ")
