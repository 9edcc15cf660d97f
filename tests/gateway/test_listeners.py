"""The front under other kinds of listener, and our own WebSockets behind it."""

from __future__ import annotations

import resource
from typing import Any

import pytest_twisted
from autobahn.twisted.resource import WebSocketResource
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet import reactor as _reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, serverFromString
from twisted.internet.protocol import Factory

from agentproxy.gateway.descriptors import make_room
from tests.gateway.test_relay import ID, OK, Ear, World, get, saying
from tests.gateway.test_relay import world as world

reactor: Any = _reactor


class Echo(WebSocketServerProtocol):  # type: ignore[misc]
    """Says back what it hears."""

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.sendMessage(payload, isBinary)


@pytest_twisted.ensureDeferred
async def test_our_own_websockets_work_behind_the_front(world: World) -> None:
    """A WebSocket of the site takes the connection over and is told of its end."""
    factory = WebSocketServerFactory()
    factory.protocol = Echo
    factory.startFactory()
    world.front.site.resource = WebSocketResource(factory)
    ask = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    ask += "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    frame = b"\x81\x82\0\0\0\0hi"
    client = await world.client(get("/own", ask) + frame)
    heard = await client.until(lambda ear: ear.heard.endswith(b"\x81\x02hi"))
    assert heard.startswith(b"HTTP/1.1 101 ")
    client.transport.write(b"\x88\x82\0\0\0\0\x03\xe8")  # type: ignore[union-attr]
    await client.until(lambda ear: ear.closed)


@pytest_twisted.ensureDeferred
async def test_the_proxy_protocol_names_the_client(world: World) -> None:
    """Behind haproxy the agent hears of the client that haproxy names."""
    seen: list[bytes] = []

    def note(ear: Ear) -> None:
        seen.append(ear.heard)
        saying(OK)(ear)

    world.answer = note
    port: Any = await serverFromString(reactor, "haproxy:tcp:0:interface=127.0.0.1").listen(world.front)
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
    client: Any = await endpoint.connect(Factory.forProtocol(Ear))
    client.transport.write(b"PROXY TCP4 8.7.6.5 127.0.0.1 1000 80\r\n" + get(f"/{ID}/x", "Connection: close\r\n"))
    try:
        await client.until(lambda ear: ear.closed)
    finally:
        await port.stopListening()
    assert b"X-Forwarded-For: 8.7.6.5\r\n" in b"".join(seen)


def test_there_is_room_for_many_connections() -> None:
    """A low soft limit of descriptors is raised as far as the system allows; a high one is left alone."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        raised = make_room()
        assert raised > 256
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (raised, hard)
        assert make_room() == raised
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
