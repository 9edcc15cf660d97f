"""A WebSocket that reached the resource in somebody else's tree: the connection is taken from twisted.web and relayed."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from agentproxy.gateway.tunnel import Tunnel
from agentproxy.gateway.wire import Wire


@implementer(IHalfCloseableProtocol)
class MountedTunnel(Protocol):
    """The client's connection after the switch of protocols.

    :param ended: called once when the connection is gone.
    """

    def __init__(self, tunnel: Tunnel, ended: Any) -> None:
        self._tunnel = tunnel
        self._ended = ended
        self._held = False
        self._wire: Any = None

    def take(self, request: Any) -> None:
        """Take the connection of a request that twisted.web will not finish, with what the client sent early."""
        channel = request.channel
        transport, channel.transport = channel.transport, None
        channel.setTimeout(None)
        transport.unregisterProducer()
        transport.protocol = self
        self.makeConnection(transport)  # type: ignore[no-untyped-call]
        early = b"".join(channel._dataBuffer)
        channel._dataBuffer = []
        if early:
            self.dataReceived(early)
        transport.resumeProducing()  # twisted.web reads no further while it serves a request

    def connectionMade(self) -> None:
        """Send by a wire from now on."""
        self._wire = Wire(self.transport, self)

    def dataReceived(self, data: bytes) -> None:
        """Pass bytes to the agent server."""
        self._tunnel.client_data(data)

    def readConnectionLost(self) -> None:
        """The client sends no more."""
        self._tunnel.client_ended()

    def writeConnectionLost(self) -> None:
        """Our side is shut; nothing to do."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002
        """Tell the tunnel and whoever made this."""
        self._wire.lost()
        self._tunnel.client_lost()
        self._ended()

    def send(self, data: bytes) -> None:
        """Send bytes to the client."""
        if data:
            self._wire.send(data)

    def hold(self, held: bool) -> None:
        """Stop reading, or go on."""
        if held != self._held:
            self._held = held
            self._wire.hold(held)

    def end_writing(self) -> None:
        """Say that no more comes."""
        self._wire.half_close()

    def close(self) -> None:
        """End the connection when all has been sent."""
        self._wire.close()

    def abort(self) -> None:
        """End the connection now."""
        self._wire.abort()

    def wire_full(self) -> None:
        """The client reads slowly."""
        self._tunnel.client_full()

    def wire_drained(self) -> None:
        """The client has caught up."""
        self._tunnel.client_drained()
