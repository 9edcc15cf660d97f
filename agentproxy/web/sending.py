"""Long answers: written piece by piece, no faster than the client reads."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.web.http import Request
from zope.interface import implementer


@implementer(IPushProducer)
class Sender:
    """Writes on a request and waits while its client is slow. Use it in a ``with`` block."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._drained: Deferred[None] | None = None

    def __enter__(self) -> Sender:
        self._request.registerProducer(self, True)
        return self

    def __exit__(self, *_failure: object) -> None:
        if self._request.producer is self and self._request.channel is not None:
            self._request.unregisterProducer()

    async def write(self, data: bytes) -> None:
        """Send *data*; return when more may come."""
        if data:
            self._request.write(data)
        while self._drained is not None:
            await self._drained

    def pauseProducing(self) -> None:
        """The client reads slowly."""
        if self._drained is None:
            self._drained = Deferred()

    def resumeProducing(self) -> None:
        """The client has caught up."""
        drained, self._drained = self._drained, None
        if drained is not None:
            drained.callback(None)

    def stopProducing(self) -> None:
        """The client is gone; its request is cancelled."""
