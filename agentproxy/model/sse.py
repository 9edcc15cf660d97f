"""A parser of Server-Sent Events: bytes in, events out, cut anywhere, bounded.

It obeys the event stream format of the HTML standard: LF, CR LF and CR end a line, one byte order mark at the start is
skipped, lines that start with a colon are comments, an event without data is not dispatched. Reconnection times are ignored.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_BOM = b"\xef\xbb\xbf"
_LINE_END = re.compile(rb"\r\n|\n|\r")


class EventTooLarge(Exception):  # noqa: N818 - it is a fact about the stream
    """One event of the stream is larger than the limit; the stream cannot be read on."""


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event: its type, its data (lines joined by LF) and the last id that the stream has given ("" when none)."""

    name: str
    data: str
    id: str = ""


class EventParser:
    """Turn the bytes of one stream into events.

    :param limit: bytes that one event may have, the unfinished line included.
    """

    def __init__(self, limit: int = 4 * 1024 * 1024) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._searched = 0
        self._at_start = True
        self._after_cr = False
        self._size = 0
        self._name = ""
        self._data: list[str] = []
        self._id = ""

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """Return the events that *data* completes.

        :raises EventTooLarge: one event is larger than the limit; the parser is of no use afterwards.
        """
        if self._after_cr and data:
            self._after_cr = False
            data = data.removeprefix(b"\n")
        self._buffer += data
        if self._at_start and not self._skip_mark():
            return []
        found: list[ServerSentEvent] = []
        start = 0
        for end in _LINE_END.finditer(self._buffer, self._searched):
            if event := self._take(bytes(self._buffer[start : end.start()])):
                found.append(event)
            start = end.end()
        self._after_cr = self._buffer.endswith(b"\r")
        self._buffer = self._buffer[start:]
        self._searched = len(self._buffer)
        if self._size + len(self._buffer) > self._limit:
            raise EventTooLarge
        return found

    def _skip_mark(self) -> bool:
        if len(self._buffer) < len(_BOM) and _BOM.startswith(self._buffer):
            return False
        if self._buffer.startswith(_BOM):
            del self._buffer[: len(_BOM)]
        self._at_start = False
        return True

    def _take(self, line: bytes) -> ServerSentEvent | None:
        if not line:
            return self._dispatch()
        self._size += len(line)
        if self._size > self._limit:
            raise EventTooLarge
        name, _, value = line.decode("utf-8", "replace").partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._name = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._id = value
        return None

    def _dispatch(self) -> ServerSentEvent | None:
        name, data = self._name or "message", self._data
        self._name, self._data, self._size = "", [], 0
        return ServerSentEvent(name, "\n".join(data), self._id) if data else None
