"""Sending on one connection: straight to the socket while nothing waits, through the transport's buffer else.

Twisted's own way costs four ``epoll_ctl`` for each answer; a socket that takes the bytes at once needs none. Only plain
TCP and UNIX sockets are sent to directly: under TLS the bytes are not the socket's. Who owns the wire hears when too
much waits.
"""

from __future__ import annotations

import select
from typing import Any
from typing import Protocol as Shape

from twisted.internet import tcp, unix
from twisted.internet.interfaces import IPullProducer, IPushProducer
from zope.interface import implementer

HIGH_WATER = 1 << 17
_PLAIN = (tcp.Server, tcp.Client, unix.Server, unix.Client)


class WireOwner(Shape):
    """Whose connection it is."""

    def wire_full(self) -> None:
        """Much waits to be sent: slow down whoever makes it."""

    def wire_drained(self) -> None:
        """All has been sent after :meth:`wire_full`."""


@implementer(IPushProducer, IPullProducer)
class Wire:
    """One connection's way out.

    :param transport: the connection, whose producer is the wire.
    """

    __slots__ = ("_direct", "_full", "_half_closing", "_owner", "_queued", "_streaming", "_transport", "_waiting")

    def __init__(self, transport: Any, owner: WireOwner) -> None:
        self._transport = transport
        self._owner: WireOwner | None = owner
        self._queued = 0
        self._waiting = self._full = self._half_closing = False
        plain = type(transport) in _PLAIN and not getattr(transport, "TLS", False)
        self._direct: Any = transport.getHandle().send if plain else None
        self._streaming = not plain
        if plain and isinstance(transport, tcp.Connection) and not isinstance(transport, (unix.Server, unix.Client)):
            transport.setTcpNoDelay(True)  # an event must not wait for the client's acknowledgement of the one before
        if not plain:
            transport.registerProducer(self, True)

    def send(self, data: bytes) -> None:
        """Send bytes, now if the socket takes them."""
        if self._waiting or self._direct is None:
            self.queue(data)
            return
        try:
            sent = self._direct(data)
        except OSError:
            sent = 0  # full, or broken: then the transport finds out by itself
        if sent != len(data):
            self.queue(data[sent:])

    def queue(self, data: bytes) -> None:
        """Send bytes with the reactor's next round, together with what else comes until then."""
        self._transport.write(data)
        if self._streaming:
            return
        self._queued += len(data)
        if not self._waiting and self._direct is not None:
            self._transport.registerProducer(self, False)  # calls resumeProducing at once: nothing waits for that yet
            self._waiting = True
        if self._queued > HIGH_WATER:
            self.pauseProducing()

    def hold(self, held: bool) -> None:
        """Stop reading, or go on."""
        (self._transport.pauseProducing if held else self._transport.resumeProducing)()

    def close(self) -> None:
        """End the connection when all has been sent."""
        self._direct = None
        if self._streaming:
            self._transport.unregisterProducer()
        self._transport.loseConnection()

    def half_close(self) -> None:
        """Say that no more will be sent, when all has been."""
        self._direct = None
        if self._waiting:
            self._half_closing = True
        else:
            self._transport.loseWriteConnection()

    def abort(self) -> None:
        """End the connection now."""
        self._direct = None
        self._transport.abortConnection()

    def lost(self) -> None:
        """The connection is gone."""
        self._direct = self._owner = None

    def peer_has_ended(self) -> bool:
        """Return whether the peer has closed its side, seen without reading; False where that cannot be seen."""
        if self._streaming:
            return False
        look = select.poll()
        look.register(self._transport.fileno(), select.POLLRDHUP)
        return bool(look.poll(0))

    def pauseProducing(self) -> None:
        """Too much waits."""
        if not self._full and self._owner is not None:
            self._full = True
            self._owner.wire_full()

    def resumeProducing(self) -> None:
        """All has been sent."""
        if self._waiting:
            self._waiting = False
            self._queued = 0
            self._transport.unregisterProducer()
            if self._half_closing:
                self._transport.loseWriteConnection()
        if self._full and self._owner is not None:
            self._full = False
            self._owner.wire_drained()

    def stopProducing(self) -> None:
        """The connection is going; its protocol hears of it."""
