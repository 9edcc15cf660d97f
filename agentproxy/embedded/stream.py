"""Server-Sent Events to one reader.

A reader that does not keep up costs bounded memory: while its connection takes nothing, only the newest event of each thing (one
message, the status, the screen) waits for it; after :data:`STALLED` seconds it is cut off.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

import msgspec
from twisted.internet.interfaces import IPushProducer
from twisted.web.http import datetimeToString
from zope.interface import implementer

from agentproxy.embedded.talk import ERROR, MESSAGE, ROWS

KEEP_ALIVE = 15.0
"""Seconds between comments on a silent stream."""
STALLED = 60.0
MOST_ERRORS = 100

HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache, no-store, must-revalidate",
    "Connection": "keep-alive",
    "Expires": "0",
    "Pragma": "no-cache",
    "X-Accel-Buffering": "no",
    "X-Proxy-Buffering": "no",
}
_ESCAPED = [(c.encode()[:1], c.encode(), f"\\u{ord(c):04x}".encode()) for c in "<>&\u2028\u2029"]
"""First byte, bytes and escape: one byte is looked for much faster than three."""


def frame(name: str, data: dict[str, Any]) -> bytes:
    """Return one event as bytes; ``<``, ``>`` and ``&`` are escaped as agentapi does."""
    try:
        text = msgspec.json.encode(data)
    except UnicodeEncodeError:  # half of a pair of surrogates, which JSON lets a user send
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    for first, character, escaped in _ESCAPED:
        if first in text:
            text = text.replace(character, escaped)
    return b"event: %s\ndata: %s\n\n" % (name.encode(), text)


class Frames:
    """Makes frames; one event that many readers are told is made into bytes once."""

    def __init__(self) -> None:
        self._last: tuple[str, dict[str, Any], bytes] = ("", {}, b"")

    def frame(self, name: str, data: dict[str, Any]) -> bytes:
        """Return the frame of one event."""
        last_name, last_data, made = self._last
        if last_data is not data or last_name != name:
            made = frame(name, data)
            self._last = (name, data, made)
        return made


@implementer(IPushProducer)
class Stream:
    """One open event stream on a twisted.web request: a listener of an agent.

    :param wanted: the names of the events that its reader gets.
    """

    def __init__(self, request: Any, clock: Any, wanted: Collection[str], frames: Frames) -> None:
        self._request, self._clock, self.names, self._frames = request, clock, frozenset(wanted), frames
        self._full = False
        self._pending: dict[tuple[str, int], tuple[str, dict[str, Any]]] = {}
        self._count = 0
        for name, value in HEADERS.items():
            request.setHeader(name, value)
        request.setHeader("Date", datetimeToString().decode("ascii"))
        self.open = True
        self._alive = clock.callLater(KEEP_ALIVE, self._keep_alive)
        self._stalled: Any = None
        request.registerProducer(self, True)

    def __call__(self, name: str, data: dict[str, Any]) -> None:
        """Send an event, unless its name is not wanted."""
        if not self.open or name not in self.names:
            return
        if self._full:
            self._hold(name, data)
        else:
            self._request.write(self._frames.frame(name, data))

    def _hold(self, name: str, data: dict[str, Any]) -> None:
        self._count += 1
        key = (name, data["id"] if name == MESSAGE else self._count % MOST_ERRORS if name == ERROR else 0)
        _name, earlier = self._pending.pop(key, (name, None))
        if name == ROWS and earlier is not None and not data["whole"]:
            data = {**data, "whole": earlier["whole"], "rows": {**earlier["rows"], **data["rows"]}}
        self._pending[key] = (name, data)

    def _keep_alive(self) -> None:
        self._alive = self._clock.callLater(KEEP_ALIVE, self._keep_alive)
        if not self._full:
            self._request.write(b": keep-alive\n\n")

    def pauseProducing(self) -> None:
        """Hold events back: the connection takes nothing."""
        self._full = True
        if self._stalled is None:
            self._stalled = self._clock.callLater(STALLED, self._cut_off)

    def resumeProducing(self) -> None:
        """Send what was held back."""
        self._full = False
        if self._stalled is not None and self._stalled.active():
            self._stalled.cancel()
        self._stalled = None
        while self._pending and not self._full and self.open:
            name, data = self._pending.pop(next(iter(self._pending)))
            self._request.write(self._frames.frame(name, data))

    def stopProducing(self) -> None:
        """Send nothing more: the connection is gone."""
        self.closed()

    def _cut_off(self) -> None:
        transport = getattr(self._request.channel, "transport", None)
        self.closed()
        if transport is not None:
            transport.abortConnection()

    def closed(self) -> None:
        """Forget the stream (its connection is gone); twice does no harm."""
        self.open = False
        self._pending.clear()
        for call in (self._alive, self._stalled):
            if call is not None and call.active():
                call.cancel()

    def finish(self) -> None:
        """End the stream in good order."""
        if self.open:
            self.resumeProducing()
            self.closed()
            self._request.unregisterProducer()
            self._request.finish()
