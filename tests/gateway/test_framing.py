"""Every way a message can end, on real sockets: what the recording agent server and the client got, to the byte."""

from __future__ import annotations

import pytest
import pytest_twisted

from tests.gateway.test_relay import ID, OK, Ear, World, get, saying
from tests.gateway.test_relay import world as world

LONG = b"0123456789" * 20000


async def _two(world: World, first: bytes, answer: bytes) -> tuple[bytes, bytes]:
    """Send a request and one behind it; return what came back for the first, and all that the agent server heard."""
    heard: list[bytes] = []

    def say(ear: Ear) -> None:
        if b"\r\n\r\n" in ear.heard and b"GET /next " not in ear.heard and not heard:
            heard.append(ear.heard)
            ear.transport.write(answer)  # type: ignore[union-attr]
        if b"GET /next " in ear.heard and ear.heard.endswith(b"\r\n\r\n"):
            ear.transport.write(OK)  # type: ignore[union-attr]

    world.answer = say
    client = await world.client(first + get(f"/{ID}/next", "Connection: close\r\n"))
    raw = await client.until(lambda ear: ear.closed)
    at, _, _ = raw.rpartition(b"HTTP/1.1 200 OK\r\n")
    assert raw.endswith(b"\r\n\r\nok")
    assert len(world.agents) == 1
    return at, world.agents[0].heard


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("HEAD", b"HTTP/1.1 201 Made\r\nContent-Length: 1000\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 201 Made\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n"),
        ("GET", b"HTTP/1.1 201 Made\r\nContent-Length: 0\r\n\r\n"),
        ("GET", b"HTTP/1.1 201 Made\r\nContent-Length: %d\r\n\r\n%s" % (len(LONG), LONG)),
        (
            "GET",
            b'HTTP/1.1 201 Made\r\nTransfer-Encoding: chunked\r\n\r\n2;x="a b"\r\nok\r\n00\r\nX-Trailer: t\r\n\r\n',
        ),
        ("GET", b"HTTP/1.1 201 Made\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(LONG), LONG)),
    ],
)
@pytest_twisted.ensureDeferred
async def test_answers_end_where_they_say(world: World, method: str, answer: bytes) -> None:
    """The body passes to the byte, and the request behind it uses the same connection to the agent server."""
    got, _ = await _two(world, get(f"/{ID}/x").replace(b"GET", method.encode(), 1), answer)
    head, _, body = got.partition(b"\r\n\r\n")
    assert head.startswith(answer.partition(b"\r\n")[0])
    assert body == answer.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize(
    ("framing", "body"),
    [
        (b"Content-Length: 5\r\n", b"hello"),
        (b"Content-Length: 0\r\n", b""),
        (b"Transfer-Encoding: chunked\r\n", b"5;a=b\r\nhello\r\n0\r\nX-Trailer: t\r\n\r\n"),
        (b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_requests_end_where_they_say(world: World, framing: bytes, body: bytes) -> None:
    """The agent server gets the body to the byte and the next request behind it, its trailers in neither head."""
    ask = b"POST /%s/x HTTP/1.1\r\nHost: us\r\n%s\r\n%s" % (ID.encode(), framing, body)
    _, heard = await _two(world, ask, b"HTTP/1.1 201 Made\r\nContent-Length: 0\r\n\r\n")
    head, _, rest = heard.partition(b"\r\n\r\n")
    assert framing.strip() in head
    assert b"Trailer" not in head
    assert rest.startswith(body + b"GET /next HTTP/1.1\r\n")


@pytest_twisted.ensureDeferred
async def test_interim_answers_come_through(world: World) -> None:
    """100 and 103 are passed on and are not the answer."""
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    got, _ = await _two(world, get(f"/{ID}/x"), interim + b"HTTP/1.1 201 Made\r\nContent-Length: 2\r\n\r\nab")
    assert got.startswith(interim + b"HTTP/1.1 201 Made\r\n")
    assert got.endswith(b"\r\n\r\nab")


@pytest_twisted.ensureDeferred
async def test_an_answer_that_ends_with_its_connection(world: World) -> None:
    """It is passed on whole and our own close is its end."""
    world.answer = saying(b"HTTP/1.0 200 OK\r\n\r\n" + LONG, close=True)
    client = await world.client(get(f"/{ID}/x"))
    heard = await client.until(lambda ear: ear.closed)
    assert heard.partition(b"\r\n\r\n")[2] == LONG
    assert b"\r\nConnection: close\r\n" in heard


@pytest_twisted.ensureDeferred
async def test_the_same_head_again_and_again(world: World) -> None:
    """Requests that repeat their head are read as the first was, each with an id of its own."""
    world.answer = saying(OK)
    client = await world.client(b"")
    for number in range(1, 6):
        client.transport.write(get(f"/{ID}/x", "A: b\r\n"))  # type: ignore[union-attr]
        await client.until(lambda ear, n=number: ear.heard.count(b"\r\n\r\nok") == n)  # type: ignore[misc]
    assert len(world.agents) == 1
    ids = [line for line in client.heard.split(b"\r\n") if line.startswith(b"X-Request-ID: ")]
    assert len(set(ids)) == 5
