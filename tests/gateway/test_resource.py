"""The resource of a session in a tree: same rules as the front."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as _reactor
from twisted.web.resource import Resource
from twisted.web.server import Site

from agentproxy.gateway.resource import SessionProxyResource
from tests.gateway.test_pressure import ASK, MIB, SWITCH, until
from tests.gateway.test_relay import ID, OK, World, get, saying
from tests.gateway.test_relay import world as world

reactor: Any = _reactor


@pytest.fixture
def tree(world: World) -> Iterator[World]:
    """A tree in a Site of somebody else, mounted at /at."""
    root = Resource()
    root.putChild(b"at", SessionProxyResource(world.front.relay))
    port = reactor.listenTCP(0, Site(root), interface="127.0.0.1")
    yield World(world.front, port, world.agents)
    pytest_twisted.blockon(port.stopListening())


@pytest_twisted.ensureDeferred
async def test_a_mounted_tree_relays(world: World, tree: World) -> None:
    """A request that reaches the resource is answered by the agent server."""
    world.answer = saying(OK)
    client = await tree.client(get(f"/at/{ID}/status", "Connection: close\r\n"))
    heard = await client.until(lambda ear: ear.closed)
    assert heard.startswith(b"HTTP/1.1 200 ")
    assert heard.endswith(b"ok")


@pytest_twisted.ensureDeferred
async def test_a_mounted_tree_refuses(tree: World) -> None:
    """A session that nobody knows is 404 as JSON here too."""
    client = await tree.client(get(f"/at/{ID[:-1]}7/status", "Connection: close\r\n"))
    heard = await client.until(lambda ear: ear.closed)
    assert heard.startswith(b"HTTP/1.1 404 ")
    assert b'"session_not_found"' in heard


@pytest_twisted.ensureDeferred
async def test_a_mounted_tree_relays_websockets(world: World, tree: World) -> None:
    """A WebSocket crosses somebody else's Site with early and big messages, and its end is told to both sides."""
    world.answer = saying(SWITCH + b"hello")
    client = await tree.client(get(f"/at/{ID}/ws", ASK) + b"early")
    heard = await client.until(lambda ear: ear.heard.endswith(b"hello"))
    assert heard.startswith(b"HTTP/1.1 101 ")
    world.answer = lambda ear: None
    agent = world.agents[0]
    await agent.until(lambda ear: ear.heard == b"early")
    client.transport.write(b"w" * MIB)  # type: ignore[union-attr]
    await agent.until(lambda ear: len(ear.heard) == MIB + 5)
    agent.transport.write(b"v" * MIB)  # type: ignore[union-attr]
    await client.until(lambda ear: ear.heard.endswith(b"v" * MIB))
    client.transport.loseConnection()  # type: ignore[union-attr]
    await agent.until(lambda ear: ear.closed)
    await until(world, lambda: world.front.relay.counts.tunnels == 0)


@pytest_twisted.ensureDeferred
async def test_a_mounted_tree_smuggles_nothing_behind_a_refused_upgrade(world: World, tree: World) -> None:
    """The agent's own answer comes, and bytes behind the upgrade are no request here either."""
    world.answer = saying(OK)
    client = await tree.client(get(f"/at/{ID}/ws", ASK) + get(f"/at/{ID}/smuggled"))
    heard = await client.until(lambda ear: ear.closed)
    assert heard.count(b"HTTP/1.1 ") == 1
    assert heard.endswith(b"ok")


@pytest_twisted.ensureDeferred
async def test_a_mounted_tree_ends_a_broken_answer_visibly(world: World, tree: World) -> None:
    """A truncated answer gets no clean end from twisted.web."""
    world.answer = saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", close=True)
    client = await tree.client(get(f"/at/{ID}/x"))
    heard = await client.until(lambda ear: ear.closed)
    assert b"0\r\n\r\n" not in heard
