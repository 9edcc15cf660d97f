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
