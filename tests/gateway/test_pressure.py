"""Slow readers, long bodies and the ends of tunnels, on real sockets."""

from __future__ import annotations

import socket
from typing import Any

import pytest_twisted
from twisted.internet import reactor as _reactor
from twisted.internet.task import deferLater

from tests.gateway.test_relay import ID, Ear, World, get, saying
from tests.gateway.test_relay import world as world

reactor: Any = _reactor
MIB = 1 << 20
ASK = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\n\r\n"


def held(transport: Any) -> int:
    """Return the bytes that a transport keeps in memory."""
    return len(transport.dataBuffer) - transport.offset + transport._tempDataLen


def held_by(world: World) -> int:
    """Return the bytes that the gateway keeps for both sides of its connections."""
    sides = [*world.front.connections, *world.front.relay.pool.connections]
    return sum(held(side.transport) for side in sides if hasattr(side.transport, "dataBuffer"))


async def until(world: World, ready: Any) -> int:
    """Look every few milliseconds until *ready*; return the most that the gateway held meanwhile."""
    most = 0
    for _ in range(4000):
        most = max(most, held_by(world))
        if ready():
            return most
        await deferLater(reactor, 0.005)
    raise AssertionError("it did not happen within 20 s")


async def standstill(world: World, size: Any) -> int:
    """Wait until *size* has stood still for a while; return the most that the gateway held meanwhile."""
    last, same, most = -1, 0, 0
    while same < 40:
        await deferLater(reactor, 0.005)
        most = max(most, held_by(world))
        now = size()
        same = same + 1 if now == last else 0
        last = now
    return most


@pytest_twisted.ensureDeferred
async def test_an_upload_to_a_stalled_agent_holds_its_sender(world: World) -> None:
    """An agent that does not read stops the client; little is kept, and all arrives when it reads again."""
    size = 24 * MIB

    def stall(ear: Ear) -> None:
        if ear.heard.count(b"\r\n\r\n") and len(ear.heard) < MIB:
            ear.transport.pauseProducing()  # type: ignore[union-attr]

    world.answer = stall
    client = await world.client(f"POST /{ID}/up HTTP/1.1\r\nHost: us\r\nContent-Length: {size}\r\n\r\n".encode())
    client.transport.write(b"u" * size)  # type: ignore[union-attr]
    most = await standstill(world, lambda: held(client.transport))
    assert held(client.transport) > 4 * MIB, "the client was not held"
    assert most < MIB
    world.answer = lambda ear: None
    world.agents[0].transport.resumeProducing()  # type: ignore[union-attr]
    most = await until(world, lambda: len(world.agents[0].heard.partition(b"\r\n\r\n")[2]) == size)
    assert most < MIB
    world.agents[0].transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")  # type: ignore[union-attr]
    await client.until(lambda ear: ear.heard.startswith(b"HTTP/1.1 200 "))


@pytest_twisted.ensureDeferred
async def test_a_chunked_download_is_held_too_and_arrives_whole(world: World) -> None:
    """Chunks do not change that a stalled reader stalls its agent; another client's request is not held by it."""
    piece = b"10000\r\n" + b"d" * 65536 + b"\r\n"
    body = piece * 256 + b"0\r\n\r\n"
    world.answer = saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
    client = await world.client(get(f"/{ID}/down", "Connection: close\r\n"))
    client.transport.pauseProducing()  # type: ignore[union-attr]
    await until(world, lambda: world.agents)
    most = await standstill(world, lambda: held(world.agents[0].transport) if world.agents else 0)
    assert held(world.agents[0].transport) > 4 * MIB, "the agent was not held"
    assert most < MIB
    world.answer = saying(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    other = await world.client(get(f"/{ID}/other", "Connection: close\r\n"))
    await other.until(lambda ear: ear.closed and ear.heard.endswith(b"ok"))
    client.transport.resumeProducing()  # type: ignore[union-attr]
    heard = await client.until(lambda ear: ear.closed)
    assert heard.partition(b"\r\n\r\n")[2] == body


@pytest_twisted.ensureDeferred
async def test_a_big_message_crosses_a_tunnel_both_ways(world: World) -> None:
    """Megabytes in one WebSocket frame are passed as they come, unchanged."""
    frame = bytes(range(256)) * (4 * MIB // 256)
    world.answer = saying(SWITCH)
    client = await world.client(get(f"/{ID}/ws", ASK))
    await client.until(lambda ear: ear.heard.endswith(b"\r\n\r\n"))
    world.answer = lambda ear: None
    client.transport.write(frame)  # type: ignore[union-attr]
    await world.agents[0].until(lambda ear: len(ear.heard) == len(frame))
    assert world.agents[0].heard == frame
    world.agents[0].transport.write(frame)  # type: ignore[union-attr]
    heard = await client.until(lambda ear: ear.heard.partition(b"\r\n\r\n")[2] == frame)
    assert heard.startswith(b"HTTP/1.1 101 ")


@pytest_twisted.ensureDeferred
async def test_what_was_sent_before_a_tunnel_ends_arrives(world: World) -> None:
    """A client that says goodbye and closes is heard to the end by an agent that reads late."""
    size = 8 * MIB
    world.answer = saying(SWITCH)
    client = await world.client(get(f"/{ID}/ws", ASK))
    await client.until(lambda ear: ear.heard.endswith(b"\r\n\r\n"))
    agent = world.agents[0]
    agent.heard = b""
    world.answer = lambda ear: None
    agent.transport.pauseProducing()  # type: ignore[union-attr]
    client.transport.write(b"w" * size)  # type: ignore[union-attr]
    client.transport.loseConnection()  # type: ignore[union-attr]
    await standstill(world, lambda: held(client.transport))
    agent.transport.resumeProducing()  # type: ignore[union-attr]
    await agent.until(lambda ear: ear.closed)
    assert len(agent.heard) == size


@pytest_twisted.ensureDeferred
async def test_what_an_agent_sent_before_it_ends_a_tunnel_arrives(world: World) -> None:
    """The last words of an agent reach a client that reads late."""
    size = 8 * MIB
    world.answer = saying(SWITCH)
    client = await world.client(get(f"/{ID}/ws", ASK))
    await client.until(lambda ear: ear.heard.endswith(b"\r\n\r\n"))
    agent = world.agents[0]
    client.transport.pauseProducing()  # type: ignore[union-attr]
    agent.transport.write(b"w" * size)  # type: ignore[union-attr]
    agent.transport.loseConnection()  # type: ignore[union-attr]
    await standstill(world, lambda: held(agent.transport))
    client.transport.resumeProducing()  # type: ignore[union-attr]
    heard = await client.until(lambda ear: ear.closed)
    assert len(heard.partition(b"\r\n\r\n")[2]) == size


@pytest_twisted.ensureDeferred
async def test_a_tunnel_half_closed_by_the_client_still_brings_the_answer(world: World) -> None:
    """A client that has said everything still hears what the agent has to say."""
    world.answer = saying(SWITCH)
    client = await world.client(get(f"/{ID}/ws", ASK))
    await client.until(lambda ear: ear.heard.endswith(b"\r\n\r\n"))
    agent = world.agents[0]
    world.answer = lambda ear: None
    client.transport.write(b"last words")  # type: ignore[union-attr]
    await agent.until(lambda ear: ear.heard.endswith(b"last words"))
    client.transport.getHandle().shutdown(socket.SHUT_WR)  # type: ignore[union-attr]
    agent.transport.write(b"goodbye")  # type: ignore[union-attr]
    await client.until(lambda ear: ear.heard.endswith(b"goodbye"))


@pytest_twisted.ensureDeferred
async def test_a_client_that_leaves_while_it_waits_is_noticed(world: World) -> None:
    """A start that nobody waits for any more is not waited for, even when the client is not read from."""
    from twisted.internet.defer import Deferred

    from agentproxy.gateway.routes import Waiting

    cancelled: list[object] = []
    asked: Deferred[Any] = Deferred(cancelled.append)
    directory: Any = world.front.relay.directory
    directory.find = lambda session_id, head: Waiting(lambda: asked)
    client = await world.client(
        f"POST /{ID}/x HTTP/1.1\r\nHost: us\r\nContent-Length: {MIB}\r\n\r\n".encode() + b"b" * 200_000
    )
    await until(world, lambda: any(one._held for one in world.front.connections))
    client.transport.abortConnection()  # type: ignore[union-attr]

    def noticed() -> bool:
        world.front.sweep()
        return bool(cancelled)

    await until(world, noticed)
