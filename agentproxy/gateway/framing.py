"""Where the body of a message ends: bytes in, bytes to pass on and bytes left over, no I/O.

Bodies are passed on as they came, chunk sizes, extensions and trailers included; only an HTTP/1.0 client gets the bare
payload of a chunked answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from agentproxy.gateway.head import CHUNKED, UNTIL_CLOSE, HeadError

MAX_LINE = 4096
MAX_TRAILERS = 16384

_SIZE_LINE, _PAYLOAD, _END_OF_CHUNK, _TRAILER = range(4)
_TRAILER_LINE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*")
_PLAIN_SIZE = re.compile(rb"[0-9A-Fa-f]{1,8}")
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})((?:;[\t \x21-\x7e\x80-\xff]*)?)")


class LengthBody:
    """A body of a known number of bytes."""

    __slots__ = ("_left", "done")
    chunked = False
    between = True
    tail = b""

    def __init__(self, length: int) -> None:
        self._left = length
        self.done = length == 0

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """Return (bytes of the body, bytes after it)."""
        if len(data) <= self._left:
            self._left -= len(data)
            self.done = self._left == 0
            return data, b""
        passed, rest = data[: self._left], data[self._left :]
        self._left -= len(passed)
        self.done = self._left == 0
        return passed, rest


class EndlessBody:
    """A body that ends with its connection."""

    __slots__ = ("tail",)
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

    __slots__ = ("_bare", "_held", "_left", "_step", "_trailers", "chunked", "done", "tail")

    def __init__(self, bare: bool = False) -> None:
        self.chunked = not bare
        self.done = False
        self.tail = b""
        self._bare = bare
        self._held = b""
        self._left = 0
        self._trailers = 0
        self._step = _SIZE_LINE

    @property
    def between(self) -> bool:
        """Return whether the next byte starts a chunk, so that another chunk may be put before it."""
        return self._step == _SIZE_LINE and not self._held

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """Return (bytes to pass on, bytes after the body).

        :raises HeadError: the chunks are malformed; what was whole before the fault is lost with it.
        """
        if not self._held and not self._bare:
            size = len(data)
            if self._step == _SIZE_LINE:
                if data[-2:] == b"\r\n" and self._is_one_chunk(data, size):
                    return data, b""
            elif self._step == _PAYLOAD and size < self._left:
                self._left -= size
                self.tail = data[-4:] if size > 3 else (self.tail + data)[-4:]
                return data, b""
        return self._walk(data)

    def _is_one_chunk(self, data: bytes, size: int) -> bool:
        """Return whether ``data`` is exactly one chunk, as most events are: it passes unread but for its size."""
        line = data.find(b"\r\n", 0, 12)
        if line < 1 or _PLAIN_SIZE.fullmatch(data, 0, line) is None:
            return False
        length = int(data[:line], 16)
        if size != line + length + 4 or length < 4:
            return False
        self.tail = data[-6:-2]
        return True

    def _walk(self, data: bytes) -> tuple[bytes, bytes]:
        if self._held:
            data, self._held = self._held + data, b""
        at, payload = 0, list[bytes]()
        while at < len(data) and not self.done:
            then = _STEPS[self._step](self, data, at, payload)
            if then < 0:
                self._held = data[at:]
                break
            at = then
        passed = b"".join(payload) if self._bare else data[:at]
        return passed, data[at:] if self.done else b""

    def _line(self, data: bytes, at: int) -> int:
        """Return where the line that begins at ``at`` has its CR LF, -1 when it is not complete."""
        end = data.find(b"\n", at)
        if end < 0:
            if len(data) - at > MAX_LINE:
                raise HeadError("a line of the chunked body is too long")
            return -1
        if end - at > MAX_LINE or end == at or data[end - 1] != 13:
            raise HeadError("a line of the chunked body is malformed")
        return end - 1

    def _size(self, data: bytes, at: int, payload: list[bytes]) -> int:  # noqa: ARG002
        end = self._line(data, at)
        if end < 0:
            return -1
        match = _SIZE.fullmatch(data, at, end)
        if match is None:
            raise HeadError("a chunk size is malformed")
        self._left = int(match[1], 16)
        self._step = _PAYLOAD if self._left else _TRAILER
        return end + 2

    def _payload(self, data: bytes, at: int, payload: list[bytes]) -> int:
        then = min(at + self._left, len(data))
        self._left -= then - at
        self.tail = data[then - 4 : then] if then - at > 3 else (self.tail + data[at:then])[-4:]
        if self._bare:
            payload.append(data[at:then])
        if not self._left:
            self._step = _END_OF_CHUNK
        return then

    def _end_of_chunk(self, data: bytes, at: int, payload: list[bytes]) -> int:  # noqa: ARG002
        if data[at : at + 2] == b"\r\n":
            self._step = _SIZE_LINE
            return at + 2
        if data[at:] == b"\r":
            return -1
        raise HeadError("a chunk is longer than its size")

    def _trailer(self, data: bytes, at: int, payload: list[bytes]) -> int:  # noqa: ARG002
        end = self._line(data, at)
        if end < 0:
            return -1
        if end > at:
            if _TRAILER_LINE.fullmatch(data, at, end) is None:
                raise HeadError("a trailer is malformed")
            self._trailers += end - at
            if self._trailers > MAX_TRAILERS:
                raise HeadError("too many trailers")
        else:
            self.done = True
        return end + 2


_STEPS: tuple[Callable[[ChunkedBody, bytes, int, list[bytes]], int], ...] = (
    ChunkedBody._size,
    ChunkedBody._payload,
    ChunkedBody._end_of_chunk,
    ChunkedBody._trailer,
)
_NOTHING = LengthBody(0)

Body = LengthBody | EndlessBody | ChunkedBody


def body_of(length: int, bare: bool = False) -> Body:
    """Return the reader of a body; ``length`` as in :class:`agentproxy.gateway.head.AnswerHead`."""
    if length == 0:
        return _NOTHING
    if length == CHUNKED:
        return ChunkedBody(bare)
    return EndlessBody() if length == UNTIL_CLOSE else LengthBody(length)
