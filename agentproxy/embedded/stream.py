"""Server-Sent Events to one reader. A reader that does not read is cut off at :data:`MOST_BUFFERED` bytes."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

MOST_BUFFERED = 4 * 1024 * 1024
KEEP_ALIVE = 15.0
"""Seconds between comments on a silent stream."""

HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache, no-store, must-revalidate",
    "Connection": "keep-alive",
    "Expires": "0",
    "Pragma": "no-cache",
    "X-Accel-Buffering": "no",
    "X-Proxy-Buffering": "no",
}


def frame(name: str, data: dict[str, Any]) -> bytes:
    """Return one event as bytes; ``<``, ``>`` and ``&`` are escaped as agentapi does."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return f"event: {name}\ndata: {text}\n\n".encode("utf-8", "replace")


class Stream:
    """One open event stream on a twisted.web request.

    :param wanted: the names of the events that its reader gets.
    """

    def __init__(self, request: Any, clock: Any, wanted: Collection[str]) -> None:
        self._request, self._clock, self._wanted = request, clock, wanted
        for name, value in HEADERS.items():
            request.setHeader(name, value)
        self.open = True
        self._alive = clock.callLater(KEEP_ALIVE, self._keep_alive)

    def tell(self, name: str, data: dict[str, Any]) -> None:
        """Send an event, unless its name is not wanted."""
        if name in self._wanted:
            self._write(frame(name, data))

    def _keep_alive(self) -> None:
        self._alive = self._clock.callLater(KEEP_ALIVE, self._keep_alive)
        self._write(b": keep-alive\n\n")

    def _write(self, data: bytes) -> None:
        if not self.open:
            return
        self._request.write(data)
        transport = getattr(self._request.channel, "transport", None)
        waiting = sum(map(len, getattr(transport, "_tempDataBuffer", []))) + len(getattr(transport, "dataBuffer", b""))
        if waiting > MOST_BUFFERED and transport is not None:
            self.closed()
            transport.abortConnection()

    def closed(self) -> None:
        """Forget the stream (its connection is gone); twice does no harm."""
        self.open = False
        if self._alive.active():
            self._alive.cancel()

    def finish(self) -> None:
        """End the stream in good order."""
        if self.open:
            self.closed()
            self._request.finish()
