"""``GET /terminal``: the agent's terminal over a WebSocket.

Every message from here is binary: first what draws the present screen on a clean one, then the agent's bytes as they come.
Every message to here is keys, binary or text; they wait while a message is being typed, and the event ``keys_typed`` tells of
them. The size is asked with ``GET /screen`` and changed with ``POST /resize``. A
reader that falls behind misses bytes and gets the screen anew instead, so it costs bounded memory. Close code 1000: the agent
exited, or the server ends.
"""

from __future__ import annotations

from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory as _WebSocketServerFactory
from autobahn.twisted.websocket import WebSocketServerProtocol as _WebSocketServerProtocol
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from agentproxy.embedded.session import Session
from agentproxy.embedded.talk import EXITED, SendError

WebSocketServerFactory: Any = _WebSocketServerFactory
WebSocketServerProtocol: Any = _WebSocketServerProtocol

MOST_KEYS = 1024 * 1024
PING = 30.0


@implementer(IPushProducer)
class TerminalSocket(WebSocketServerProtocol):  # type: ignore[misc]
    """One attached reader."""

    def __init__(self, session: Session, attached: set[Any]) -> None:
        super().__init__()
        self._session, self._attached = session, attached
        self._behind = False
        self.names = frozenset([EXITED])

    def onOpen(self) -> None:
        """Begin with a clean screen."""
        self._attached.add(self)
        self.transport.registerProducer(self, True)
        self._session.listeners.add(self)
        self._session.taps.add(self._tap)
        self._draw()

    def _draw(self) -> None:
        self.sendMessage(self._session.screen.picture(), isBinary=True)

    def _tap(self, data: bytes) -> None:
        if data and not self._behind:
            self.sendMessage(data, isBinary=True)

    def pauseProducing(self) -> None:
        """Leave bytes out until the reader has caught up."""
        self._behind = True

    def resumeProducing(self) -> None:
        """Go on with the screen as it is now."""
        if self._behind:
            self._behind = False
            self._draw()

    def stopProducing(self) -> None:
        """Send nothing more: the connection is gone."""
        self._leave()

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: ARG002 - autobahn names its arguments
        """Press keys."""
        try:
            self._session.type_keys(payload)
        except SendError as refused:
            self.sendClose(1011, str(refused)[-120:])

    def __call__(self, _name: str, _data: dict[str, Any]) -> None:
        """Listen to the end of the agent."""
        self.end()

    def end(self) -> None:
        """Close in good order."""
        self._leave()
        self.sendClose(1000, "the agent exited" if self._session.exit is not None else "the server ends")

    def onClose(self, *_how: object, **_named: object) -> None:
        """Forget the reader."""
        self._leave()

    def _leave(self) -> None:
        self._attached.discard(self)
        self._session.listeners.discard(self)
        self._session.taps.discard(self._tap)


def attach(request: Any, session: Session, attached: set[Any], reactor: Any) -> None:
    """Turn the connection of a WebSocket handshake into an attached reader.

    :param attached: all readers, among which the new one is until it leaves.
    """
    factory = WebSocketServerFactory(reactor=reactor)
    factory.setProtocolOptions(maxMessagePayloadSize=MOST_KEYS, autoPingInterval=PING, autoPingTimeout=PING)
    protocol = TerminalSocket(session, attached)
    protocol.factory = factory
    channel = request.channel
    transport, channel.transport = channel.transport, None
    channel.setTimeout(None)
    transport.unregisterProducer()
    transport.protocol = protocol
    protocol.makeConnection(transport)
    transport.resumeProducing()
    lines = [request.method + b" " + request.uri + b" HTTP/1.1"]
    lines += [name + b": " + b",".join(values) for name, values in request.requestHeaders.getAllRawHeaders()]
    protocol.dataReceived(b"\r\n".join(lines) + b"\r\n\r\n")
