"""What is refused, on real sockets: the client reads why, the connection ends, and the recording agent server has heard nothing."""

from __future__ import annotations

import re

import pytest
import pytest_twisted

from tests.gateway.memory import UPGRADE
from tests.gateway.test_heads import BAD
from tests.gateway.test_relay import ID, OK, World, get, saying
from tests.gateway.test_relay import world as world

PATH = f"/{ID}/x".encode()
ANSWER = re.compile(rb"HTTP/1\.1 [1-5][0-9][0-9] ")


def _at_session(raw: bytes) -> bytes:
    """Return a bad head that asks for the session."""
    return raw.replace(b" / ", b" " + PATH + b" ", 1)


async def _refused(world: World, raw: bytes, status: int) -> bytes:
    world.answer = saying(OK)
    client = await world.client(raw + get(f"/{ID}/smuggled"))
    heard = await client.until(lambda ear: ear.closed)
    assert heard.startswith(b"HTTP/1.1 %d " % status)
    assert len(ANSWER.findall(heard)) == 1
    return heard


@pytest.mark.parametrize("raw", [*BAD, b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", b"get / HTTP/1.1\r\nHost: a\r\n\r\n"])
@pytest_twisted.ensureDeferred
async def test_what_two_readers_could_read_differently(world: World, raw: bytes) -> None:
    """400, once, and what was sent behind it is nobody's request."""
    await _refused(world, _at_session(raw), 400)
    assert not world.agents


@pytest.mark.parametrize("path", ["/../x", "/%2e%2E/x", "/a/..%2f../x", "/a/..%5c..%5c.."])
@pytest_twisted.ensureDeferred
async def test_paths_that_leave_their_session(world: World, path: str) -> None:
    """Dots that climb, plain or encoded, reach no agent server."""
    await _refused(world, get(f"/{ID}{path}", "Connection: close\r\n"), 400)
    assert not world.agents


@pytest.mark.parametrize("raw", [b"A: " + b"a" * 40000 + b"\r\n", b"".join(b"A%d: b\r\n" % n for n in range(200))])
@pytest_twisted.ensureDeferred
async def test_heads_that_are_too_large(world: World, raw: bytes) -> None:
    """431 for too many bytes and for too many fields."""
    await _refused(world, b"GET %s HTTP/1.1\r\nHost: us\r\n%s\r\n" % (PATH, raw), 431)
    assert not world.agents


@pytest.mark.parametrize(
    "chunk", [b"0x5\r\nhello", b"+5\r\nhello", b"5 \r\nhello", b"5\nhello", b"1\r\nab\r\n", b"f" * 17]
)
@pytest_twisted.ensureDeferred
async def test_chunks_that_are_malformed(world: World, chunk: bytes) -> None:
    """The agent server may have the head by then, but never a byte of the chunk, and its connection ends."""
    ask = b"POST %s HTTP/1.1\r\nHost: us\r\nTransfer-Encoding: chunked\r\n\r\n" % PATH
    client = await world.client(ask + chunk + b"\r\n0\r\n\r\n" + get(f"/{ID}/smuggled"))
    heard = await client.until(lambda ear: ear.closed)
    assert heard.startswith(b"HTTP/1.1 400 ")
    assert len(ANSWER.findall(heard)) == 1
    for agent in world.agents:
        await agent.until(lambda ear: ear.closed)
        assert agent.heard.partition(b"\r\n\r\n")[2] == b""


@pytest.mark.parametrize(
    ("was", "becomes", "status"),
    [
        ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 12", 400),
        ("Sec-WebSocket-Version: 13", "X: y", 400),
        ("AAAAAAAAAAAAAAAAAAAAAA==", "AAAA", 400),
        ("AAAAAAAAAAAAAAAAAAAAAA==", "no key at all", 400),
        ("Sec-WebSocket-Key: ", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Key: ", 400),
        ("Connection: Upgrade", "Content-Length: 5\r\nConnection: Upgrade", 400),
        ("Connection: Upgrade", "Origin: http://evil.example\r\nConnection: Upgrade", 403),
        ("Connection: Upgrade", "Origin: null\r\nConnection: Upgrade", 403),
        ("Connection: Upgrade", "Origin: http://localhost\r\nOrigin: http://us\r\nConnection: Upgrade", 403),
    ],
)
@pytest_twisted.ensureDeferred
async def test_websockets_that_may_not_open(world: World, was: str, becomes: str, status: int) -> None:
    """A malformed handshake is 400, a page of somewhere else 403."""
    await _refused(world, get(f"/{ID}/ws", UPGRADE.replace(was, becomes)), status)
    assert not world.agents


@pytest.mark.parametrize(
    "origin", ["", "Origin: http://us\r\n", "Origin: https://us\r\n", "Origin: http://localhost:3000\r\n"]
)
@pytest_twisted.ensureDeferred
async def test_websockets_that_may(world: World, origin: str) -> None:
    """A program without an origin, our own pages and those of this machine may speak to the agent."""
    world.answer = saying(b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\n\r\nhello")
    client = await world.client(get(f"/{ID}/ws", UPGRADE + origin))
    assert (await client.until(lambda ear: ear.heard.endswith(b"hello"))).startswith(b"HTTP/1.1 101 ")
