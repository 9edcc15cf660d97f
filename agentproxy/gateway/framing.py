"""Where the body of a message ends: bytes in, bytes to pass on and bytes left over, no I/O.

Bodies are passed on as they came, chunk sizes, extensions and trailers included; only an HTTP/1.0 client gets the bare
payload of a chunked answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from agentproxy.gateway.head import CHUNKED, UNTIL_CLOSE, HeadError, _fields

MAX_LINE = 4096
MAX_TRAILERS = 16384

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})((?:;[\t \x21-\x7e\x80-\xff]*)?)")


class LengthBody:
    """A body of a known number of bytes."""

    chunked = False
    between = True

    def __init__(self, length: int) -> None:
        self._left = length
        self.done = length == 0
        self.tail = b""

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """Return (bytes of the body, bytes after it)."""
        passed, rest = data[: self._left], data[self._left :]
        self._left -= len(passed)
        self.done = self._left == 0
        return passed, rest


class EndlessBody:
    """A body that ends with its connection."""

    chunked = False
    between = True
    done = False

    def __init__(self) -> None:
        self.tail = b""

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """Return all of it: (bytes of the body, nothing)."""
        self.tail = (self.tail + data[-4:])[-4:]
        return data, b""


class ChunkedBody:
    """A chunked body, checked while it passes.

    :param bare: pass on the payload alone, for a reader that does not know chunks.
    """

    def __init__(self, bare: bool = False) -> None:
        self.chunked = not bare
        self.done = False
        self.tail = b""
        self._bare = bare
        self._held = b""
        self._left = 0
        self._trailers: list[bytes] = []
        self._step: Callable[[bytes, list[bytes]], bytes | None] = self._size

    @property
    def between(self) -> bool:
        """Return whether the next byte starts a chunk, so that another chunk may be put before it."""
        return self._step == self._size and not self._held

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """Return (bytes to pass on, bytes after the body).

        :raises HeadError: the chunks are malformed; what was whole before the fault is lost with it.
        """
        data, self._held = self._held + data, b""
        passed: list[bytes] = []
        while data and not self.done:
            rest = self._step(data, passed)
            if rest is None:
                self._held = data
                data = b""
            else:
                data = rest
        return b"".join(passed), data

    def _line(self, data: bytes, limit: int) -> tuple[bytes, bytes] | None:
        end = data.find(b"\n")
        if end < 0:
            if len(data) > limit:
                raise HeadError("a line of the chunked body is too long")
            return None
        if end > limit or end == 0 or data[end - 1 : end] != b"\r":
            raise HeadError("a line of the chunked body is malformed")
        return data[: end - 1], data[end + 1 :]

    def _size(self, data: bytes, passed: list[bytes]) -> bytes | None:
        found = self._line(data, MAX_LINE)
        if found is None:
            return None
        match = _SIZE.fullmatch(found[0])
        if match is None:
            raise HeadError("a chunk size is malformed")
        self._left = int(match[1], 16)
        if not self._bare:
            passed.append(found[0] + b"\r\n")
        self._step = self._payload if self._left else self._trailer
        return found[1]

    def _payload(self, data: bytes, passed: list[bytes]) -> bytes | None:
        piece = data[: self._left]
        self._left -= len(piece)
        self.tail = (self.tail + piece[-4:])[-4:]
        passed.append(piece)
        if not self._left:
            self._step = self._end_of_chunk
        return data[len(piece) :]

    def _end_of_chunk(self, data: bytes, passed: list[bytes]) -> bytes | None:
        if data[:2] == b"\r\n":
            self._step = self._size
            if not self._bare:
                passed.append(b"\r\n")
            return data[2:]
        if data == b"\r":
            return None
        raise HeadError("a chunk is longer than its size")

    def _trailer(self, data: bytes, passed: list[bytes]) -> bytes | None:
        found = self._line(data, MAX_LINE)
        if found is None:
            return None
        line, rest = found
        if line:
            _fields([line])
            self._trailers.append(line)
            if sum(map(len, self._trailers)) > MAX_TRAILERS:
                raise HeadError("too many trailers")
        if not self._bare:
            passed.append(line + b"\r\n")
        self.done = not line
        return rest


Body = LengthBody | EndlessBody | ChunkedBody


def body_of(length: int, bare: bool = False) -> Body:
    """Return the reader of a body; ``length`` as in :class:`agentproxy.gateway.head.AnswerHead`."""
    if length == CHUNKED:
        return ChunkedBody(bare)
    return EndlessBody() if length == UNTIL_CLOSE else LengthBody(length)
