"""How an agent server is reached: over a UNIX socket too, with its door and its Host."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest_twisted
from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from agentproxy.agents.agentapi import AgentapiDriver
from agentproxy.model.backend import DOOR_HEADER, Backend
from agentproxy.model.session import AgentStatus


class Status(Resource):
    """Answers every request as a stable agent would, and keeps the heads."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.heads: list[tuple[str | None, str | None]] = []

    def render_GET(self, request: Request) -> bytes:
        self.heads.append((request.getHeader("host"), request.getHeader(DOOR_HEADER)))
        return b'{"status": "stable"}'


@pytest_twisted.ensureDeferred
async def test_a_unix_socket_with_a_door() -> None:
    """The same requests, a local Host and the secret of the door; nothing stays connected after close."""
    resource = Status()
    with tempfile.TemporaryDirectory() as directory:
        path = str(Path(directory) / "s")
        port = reactor.listenUNIX(path, Site(resource))  # type: ignore[attr-defined]
        driver = AgentapiDriver(reactor, Backend("127.0.0.1", None, unix_path=path, door="s3cret"))
        assert await driver.status() is AgentStatus.STABLE
        assert await driver.answers()
        await driver.close()
        await port.stopListening()
    assert resource.heads == [("localhost", "s3cret")] * 2
