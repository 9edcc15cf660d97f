"""Heads of HTTP/1 messages: bytes in, values out, strict where two readers could disagree.

Everything ambiguous is a refusal before a byte is passed on: bare CR or LF, NUL, folded lines, white space before the
colon, Content-Length with Transfer-Encoding, lengths that are doubled, signed or spaced, codings other than ``chunked``,
``Host`` missing, doubled or malformed. The rules are those of RFC 9112, read without its leniencies.
"""

from __future__ import annotations

import re
from typing import Any

from agentproxy.errors import AMBIGUOUS_REQUEST, HEAD_TOO_LARGE, Refusal
from agentproxy.model.request_id import request_id

Headers = list[tuple[bytes, bytes]]

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb"+) ([\x21-\x22\x24-\x7e]+) HTTP/1\.([01])")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: ([\t \x21-\x7e\x80-\xff]*))?")
_BLOCK = re.compile(rb"(?:" + _TOKEN + rb"++:[\t\x20-\x7e\x80-\xff]*+\r\n)*+")
_FIELD = re.compile(rb"([^:]+):[ \t]*([^\r]*)\r\n")  # only for what _BLOCK has accepted
_LENGTH = re.compile(rb"[0-9]{1,18}")
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._~\-]+)(?::[0-9]{1,5})?")
_REMEMBERED, _SEEN = 512, 4096
_REMEMBERED_BYTES = 2048

CHUNKED = -1
UNTIL_CLOSE = -2


class HeadError(ValueError):
    """An answer's head that cannot be trusted; the text says why."""


class Fields:
    """The header fields of one message: read once, shared by all messages that repeat them, never changed.

    :ivar pairs: (name as sent, value without surrounding white space) in order.
    :ivar block: the lines as they came, "" when they were made and not read.
    :ivar framing: :data:`CHUNKED`, bytes of body, or None when the fields do not say.
    :ivar closes: the sender ends the connection after this message.
    :ivar passed: for the gateway's rules to remember what they pass on of these fields; not of interest to others.
    :ivar shown: for whoever tells callers apart to remember which secrets stand in these fields.
    """

    __slots__ = ("_last", "_repeated", "block", "closes", "framing", "pairs", "passed", "shown")

    def __init__(self, pairs: Headers, block: bytes = b"") -> None:
        self.pairs = pairs
        self.block = block
        self._last = last = {name.lower(): value for name, value in pairs}
        self._repeated = _grouped(pairs) if len(last) != len(pairs) else None
        self.framing = None
        if b"content-length" in last or b"transfer-encoding" in last:
            self.framing = _framing(self.values(b"content-length"), self.values(b"transfer-encoding"))
        self.closes = b"connection" in last and b"close" in self.tokens(b"connection")
        self.passed: tuple[object, bytes] | None = None
        self.shown: Any = None

    def __contains__(self, name: bytes) -> bool:
        """Return whether there is a header called ``name`` (lower case)."""
        return name in self._last

    def values(self, name: bytes) -> list[bytes]:
        """Return every value of the header called ``name`` (lower case)."""
        if self._repeated is not None:
            return self._repeated.get(name, [])
        value = self._last.get(name)
        return [] if value is None else [value]

    def first(self, name: bytes) -> bytes | None:
        """Return the first value of the header called ``name`` (lower case), or None."""
        if self._repeated is None:
            return self._last.get(name)
        found = self._repeated.get(name)
        return found[0] if found else None

    def tokens(self, name: bytes) -> set[bytes]:
        """Return the members of a comma list, in lower case, over all headers of that name."""
        return {part.strip(b" \t").lower() for value in self.values(name) for part in value.split(b",")} - {b""}


def _grouped(pairs: Headers) -> dict[bytes, list[bytes]]:
    grouped: dict[bytes, list[bytes]] = {}
    for name, value in pairs:
        grouped.setdefault(name.lower(), []).append(value)
    return grouped


class Head:
    """One request head.

    :ivar method: as sent, case counts.
    :ivar target: origin form (``/path?query``) or ``*``, byte for byte as sent; absolute form of the own host is cut.
    :ivar headers: (name as sent, value without surrounding white space) in order.
    :ivar minor: 0 or 1, of HTTP/1.x.
    :ivar peer: address of the client, "" for a UNIX socket.
    :ivar secure: the client speaks TLS to us.
    :ivar length: bytes of body, 0 for none, or :data:`CHUNKED`.
    :ivar share: token of the share link that led here, "" without one.
    :ivar fields: the headers once more, by name.
    :ivar share: token of the share link that the request came by, whose session stands in ``target``; else empty.
    """

    # Not a frozen dataclass: making one would cost more than the rest of the parser.
    __slots__ = ("_id", "fields", "length", "method", "minor", "peer", "secure", "share", "target")

    def __init__(
        self,
        method: bytes,
        target: bytes,
        headers: Headers | Fields,
        minor: int = 1,
        peer: str = "",
        secure: bool = False,
        length: int = 0,
        share: str = "",
    ) -> None:
        self._id: bytes | None = None
        self.share = share
        self.method = method
        self.target = target
        self.fields = headers if isinstance(headers, Fields) else Fields(headers)
        self.minor = minor
        self.peer = peer
        self.secure = secure
        self.length = length
        self.share = share

    @property
    def headers(self) -> Headers:
        """Return the headers in order."""
        return self.fields.pairs

    def get(self, name: bytes) -> bytes | None:
        """Return the first value of the header; ``name`` is in lower case."""
        return self.fields.first(name)

    @property
    def id(self) -> bytes:
        """Return the id of the request, the client's or one of ours."""
        if self._id is None:
            self._id = request_id(self.fields.first(b"x-request-id"))
        return self._id

    @property
    def keep_alive(self) -> bool:
        """Return whether the client wants to send another request."""
        return self.minor == 1 and not self.fields.closes


class AnswerHead:
    """The head of an agent server's answer: see :class:`Head`; ``length`` may be :data:`UNTIL_CLOSE`.

    It may be shared by answers whose heads are equal. ``keep_alive``: the connection can serve another request afterwards.
    """

    __slots__ = ("fields", "keep_alive", "length", "minor", "raw", "reason", "status")

    def __init__(self, status: int, reason: bytes, fields: Fields, minor: int, length: int, raw: bytes = b"") -> None:
        self.status = status
        self.reason = reason
        self.fields = fields
        self.minor = minor
        self.length = length
        self.raw = raw
        self.keep_alive = minor == 1 and length != UNTIL_CLOSE and not fields.closes

    @property
    def headers(self) -> Headers:
        """Return the headers in order."""
        return self.fields.pairs


class Memory:
    """What was made of the latest heads, for those that come again; bounded, and forgotten as a whole when full.

    Clients and agent servers repeat their heads. Only what is seen a second time is kept, so that heads which all differ
    cost next to nothing here, and a long head is not kept at all.
    """

    __slots__ = ("_made", "_seen", "get")

    def __init__(self) -> None:
        self._made: dict[Any, Any] = {}
        self._seen: set[int] = set()
        self.get = self._made.get

    def keep(self, key: Any, size: int, made: Any) -> None:
        """Remember ``made`` of a head of ``size`` bytes, if this is not the first time."""
        if size > _REMEMBERED_BYTES:
            return
        mark = hash(key)
        if mark in self._seen:
            if len(self._made) >= _REMEMBERED:
                self._made.clear()
            self._made[key] = made
        else:
            if len(self._seen) >= _SEEN:
                self._seen.clear()
            self._seen.add(mark)


def head_end(data: bytes, limit: int) -> int:
    """Return where the head in ``data`` ends (after its empty line), -1 when it is not complete.

    :raises Refusal: HEAD_TOO_LARGE beyond ``limit`` bytes; AMBIGUOUS_REQUEST for a bare line feed.
    """
    end = data.find(b"\r\n\r\n")
    if 0 <= end <= limit:
        return end + 4  # what else is wrong with a complete head its grammar finds
    if (end if end >= 0 else len(data)) > limit:
        raise Refusal(HEAD_TOO_LARGE, f"the head is longer than {limit} bytes")
    seen = data[: end if end >= 0 else len(data)]
    if seen.count(b"\n") != seen.count(b"\r\n") or b"\0" in seen:
        raise Refusal(AMBIGUOUS_REQUEST, "a line ends without CR LF, or the head has a NUL")
    return end + 4 if end >= 0 else -1


def check_line(line: bytes) -> None:
    """Check one header or trailer line, without its end.

    :raises HeadError: it is malformed.
    """
    if _BLOCK.fullmatch(line + b"\r\n") is None:
        raise HeadError("a header line is malformed")


def _framing(lengths: list[bytes], codings: list[bytes]) -> int | None:
    if codings:
        if lengths:
            raise HeadError("Content-Length together with Transfer-Encoding")
        if len(codings) != 1 or codings[0].lower() != b"chunked":
            raise HeadError("Transfer-Encoding must be exactly chunked, in HTTP/1.1")
        return CHUNKED
    if len(lengths) != 1 or _LENGTH.fullmatch(lengths[0]) is None:
        raise HeadError("Content-Length must be one plain number")
    return int(lengths[0])


def _fields(block: bytes, max_headers: int) -> Fields:
    if _BLOCK.fullmatch(block) is None:
        raise HeadError("a header line is malformed")
    pairs = _FIELD.findall(block)
    if b" \r\n" in block or b"\t\r\n" in block:
        pairs = [(name, value.rstrip(b" \t")) for name, value in pairs]
    if len(pairs) > max_headers:
        raise Refusal(HEAD_TOO_LARGE, f"more than {max_headers} header fields")
    return Fields(pairs, block)


def _check_host(fields: Fields, minor: int) -> None:
    hosts = fields.values(b"host")
    if not hosts and not minor:
        return
    if len(hosts) != 1 or _HOST.fullmatch(hosts[0]) is None:
        raise HeadError("Host must be there once and be a host name with an optional port")


def _origin_form(target: bytes, host: bytes | None) -> bytes:
    if target.startswith(b"/") or target == b"*":
        return target
    match = re.fullmatch(rb"https?://([^/?]*)(/.*)?", target, re.IGNORECASE)
    if match is None or host is None or match[1].lower() != host.lower():
        raise HeadError("the request target is not a path of this host")
    return match[2] or b"/"


def parse_request(
    raw: bytes, max_headers: int, peer: str = "", secure: bool = False, memory: Memory | None = None
) -> Head:
    """Return the request whose complete head is ``raw`` (with its empty line).

    :param memory: of header fields that were accepted before.
    :raises Refusal: AMBIGUOUS_REQUEST with the rule that it breaks; HEAD_TOO_LARGE for too many headers.
    """
    line = raw.find(b"\r\n")
    match = _REQUEST_LINE.fullmatch(raw, 0, line)
    if match is None:
        raise Refusal(AMBIGUOUS_REQUEST, "the request line is malformed")
    method, target, version = match.groups()
    minor = 1 if version == b"1" else 0
    block = raw[line + 2 : -2]
    try:
        fields = memory.get(block) if memory is not None and minor else None
        if fields is None:
            fields = _fields(block, max_headers)
            _check_host(fields, minor)
            if fields.framing == CHUNKED and not minor:
                raise HeadError("Transfer-Encoding must be exactly chunked, in HTTP/1.1")
            if memory is not None and minor:
                memory.keep(block, len(block), fields)
        if target[0] != 47:
            target = _origin_form(target, fields.first(b"host"))
    except HeadError as error:
        raise Refusal(AMBIGUOUS_REQUEST, str(error)) from None
    return Head(method, target, fields, minor, peer, secure, fields.framing or 0)


def parse_answer(raw: bytes, method: bytes, max_headers: int) -> AnswerHead:
    """Return the answer to a ``method`` request whose complete head is ``raw``.

    :raises HeadError: it is malformed or ambiguous.
    """
    line = raw.find(b"\r\n")
    match = _STATUS_LINE.fullmatch(raw, 0, line)
    if match is None:
        raise HeadError("the status line is malformed")
    status, minor = int(match[2]), int(match[1])
    try:
        fields = _fields(raw[line + 2 : -2], max_headers)
    except Refusal as refusal:
        raise HeadError(refusal.details) from None
    length = fields.framing
    if length == CHUNKED and not minor:
        raise HeadError("Transfer-Encoding must be exactly chunked, in HTTP/1.1")
    if method == b"HEAD" or status < 200 or status in (204, 304):
        length = 0
    elif length is None:
        length = UNTIL_CLOSE
    return AnswerHead(status, match[3] or b"", fields, minor, length, raw)
