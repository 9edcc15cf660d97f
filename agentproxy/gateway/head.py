"""Heads of HTTP/1 messages: bytes in, values out, strict where two readers could disagree.

Header fields are parsed by httptools (llhttp), which is given one whole head at a time and no byte of a body, so that it decides
neither where a message ends nor what an upgrade is. What it leaves open is decided here: the request line, ``Host`` missing,
doubled or malformed, codings other than ``chunked``, lengths, sizes. Everything ambiguous is a refusal before a byte is
passed on. The rules are those of RFC 9112, read without its leniencies.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser, HttpResponseParser

from agentproxy.errors import AMBIGUOUS_REQUEST, HEAD_TOO_LARGE, Refusal
from agentproxy.gateway.remembering import Memory
from agentproxy.gateway.target import session_id_of
from agentproxy.model.backend import Backend
from agentproxy.model.request_id import request_id

Headers = list[tuple[bytes, bytes]]

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb"+) ([\x21-\x22\x24-\x7e]+) HTTP/1\.([01])")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: ([\t \x21-\x7e\x80-\xff]*))?")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._~\-]+)(?::[0-9]{1,5})?")

CHUNKED = -1
UNTIL_CLOSE = -2


class HeadError(ValueError):
    """An answer's head that cannot be trusted; the text says why."""


class Fields:
    """The header fields of one message: read once, shared by all messages that repeat them, never changed.

    :ivar pairs: (name as sent, value without surrounding white space) in order.
    :ivar named: lower-case name to value, the last one when a name is repeated.
    :ivar repeated: a name occurs more than once.
    :ivar first: returns the first value of the header called so (lower case), or None.
    :ivar framing: :data:`CHUNKED`, bytes of body, or None when the fields do not say.
    :ivar closes: the sender ends the connection after this message.
    :ivar upgrades: an upgrade is asked for, whatever kind.
    :ivar passed: for the gateway's rules to remember what they pass on of these fields; not of interest to others.
    :ivar shown: for whoever tells callers apart to remember which secrets stand in these fields.
    """

    __slots__ = ("_values", "closes", "first", "framing", "named", "pairs", "passed", "repeated", "shown", "upgrades")

    def __init__(self, pairs: Headers) -> None:
        self.pairs = pairs
        self.named = named = {name.lower(): value for name, value in pairs}
        self.repeated = len(named) != len(pairs)
        self.first: Callable[[bytes], bytes | None] = named.get
        self._values: dict[bytes, list[bytes]] = {}
        if self.repeated:
            for name, value in pairs:
                self._values.setdefault(name.lower(), []).append(value)
            self.first = {name: values[0] for name, values in self._values.items()}.get
        self.framing = None
        if b"content-length" in named or b"transfer-encoding" in named:
            self.framing = _framing(self.values(b"content-length"), self.values(b"transfer-encoding"))
        self.closes = b"connection" in named and b"close" in self.tokens(b"connection")
        self.upgrades = b"upgrade" in named
        self.passed: tuple[object, bytes] | None = None
        self.shown: Any = None

    def values(self, name: bytes) -> list[bytes]:
        """Return every value of the header called ``name`` (lower case)."""
        if self.repeated:
            return self._values.get(name, [])
        value = self.named.get(name)
        return [] if value is None else [value]

    def tokens(self, name: bytes) -> set[bytes]:
        """Return the members of a comma list, in lower case, over all headers of that name."""
        return {part.strip(b" \t").lower() for value in self.values(name) for part in value.split(b",")} - {b""}


class Head:
    """One request head.

    :ivar method: as sent, case counts.
    :ivar target: origin form (``/path?query``) or ``*``, byte for byte as sent; absolute form of the own host is cut.
    :ivar session_id: the session whose path ``target`` names, None when it is nobody's.
    :ivar fields: the headers.
    :ivar get: returns the first value of a header (lower case), or None.
    :ivar minor: 0 or 1, of HTTP/1.x.
    :ivar peer: address of the client, "" for a UNIX socket.
    :ivar secure: the client speaks TLS to us.
    :ivar length: bytes of body, 0 for none, or :data:`CHUNKED`.
    :ivar share: token of the share link that the request came by, whose session stands in ``target``; else empty.
    :ivar keep_alive: the client wants to send another request.
    :ivar sent: for the gateway's rules to remember what an agent server is sent for it; not of interest to others.
    """

    # Not a frozen dataclass: making one would cost more than the rest of the parser.
    __slots__ = (
        "_id",
        "fields",
        "get",
        "keep_alive",
        "length",
        "method",
        "minor",
        "peer",
        "secure",
        "sent",
        "session_id",
        "share",
        "target",
    )

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
        self.session_id = session_id_of(target)
        self.fields = fields = headers if isinstance(headers, Fields) else Fields(headers)
        self.get = fields.first
        self.minor = minor
        self.peer = peer
        self.secure = secure
        self.length = length
        self.keep_alive = minor == 1 and not fields.closes
        self.sent: tuple[Backend, bytes] | None = None

    @property
    def headers(self) -> Headers:
        """Return the headers in order."""
        return self.fields.pairs

    @property
    def id(self) -> bytes:
        """Return the id of the request, the client's or one of ours."""
        if self._id is None:
            self._id = request_id(self.fields.first(b"x-request-id"))
        return self._id

    def again(self) -> Head:
        """Return the head of the next request of the same connection that came byte for byte the same."""
        self._id = None
        return self


class AnswerHead:
    """The head of an agent server's answer: see :class:`Head`; ``length`` may be :data:`UNTIL_CLOSE`.

    It may be shared by answers whose heads are equal.

    :ivar keep_alive: the connection can serve another request afterwards.
    :ivar is_event_stream: it is server-sent events, so that comments may be put between them.
    :ivar sent: for the gateway's rules to remember what a client is sent for it; not of interest to others.
    """

    __slots__ = ("fields", "is_event_stream", "keep_alive", "length", "minor", "reason", "sent", "status")

    def __init__(self, status: int, reason: bytes, fields: Fields, minor: int, length: int) -> None:
        self.status = status
        self.reason = reason
        self.fields = fields
        self.minor = minor
        self.length = length
        self.keep_alive = minor == 1 and length != UNTIL_CLOSE and not fields.closes
        self.is_event_stream = length < 0 and _says_events(fields)
        self.sent: tuple[object, bytes] | None = None

    @property
    def headers(self) -> Headers:
        """Return the headers in order."""
        return self.fields.pairs


def _says_events(fields: Fields) -> bool:
    kinds = fields.values(b"content-type")
    return (
        len(kinds) == 1
        and kinds[0].partition(b";")[0].strip().lower() == b"text/event-stream"
        and b"content-encoding" not in fields.named
    )


def head_end(data: bytes, limit: int) -> int:
    """Return where the head in ``data`` ends (after its empty line), -1 when it is not complete.

    :raises Refusal: HEAD_TOO_LARGE beyond ``limit`` bytes; AMBIGUOUS_REQUEST for a bare line feed.
    """
    end = data.find(b"\r\n\r\n")
    if 0 <= end <= limit:
        return end + 4  # what else is wrong with a complete head its grammar finds
    if (end if end >= 0 else len(data)) > limit:
        raise Refusal(HEAD_TOO_LARGE, f"the head is longer than {limit} bytes")
    if data.count(b"\n") != data.count(b"\r\n") or b"\0" in data:
        raise Refusal(AMBIGUOUS_REQUEST, "a line ends without CR LF, or the head has a NUL")
    return -1


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


class _Ear:
    """What the parser tells its fields to."""

    __slots__ = ("on_header",)


def _parse(kind: Any, raw: bytes, on_header: Callable[[bytes, bytes], object]) -> None:
    ear = _Ear()
    ear.on_header = on_header  # type: ignore[attr-defined]
    try:
        kind(ear).feed_data(raw)
    except HttpParserUpgrade:
        pass  # whether a protocol is switched is not decided here
    except HttpParserError as error:
        raise HeadError(f"the head is malformed: {error}") from None


def _fields(kind: Any, raw: bytes, block: bytes, max_headers: int) -> Fields:
    """Return the fields of the head ``raw``, whose lines after the first are ``block``."""
    count = block.count(b"\r\n")
    if count > max_headers:
        raise Refusal(HEAD_TOO_LARGE, f"more than {max_headers} header fields")
    seen: dict[bytes, bytes] = {}
    _parse(kind, raw, seen.__setitem__)
    pairs = list(seen.items())
    if len(pairs) != count:
        pairs = []
        _parse(kind, raw, lambda name, value: pairs.append((name, value)))
        if len(pairs) != count:
            raise HeadError("a header line is malformed")
    if b" \r\n" in block or b"\t\r\n" in block:
        pairs = [(name, value.rstrip(b" \t")) for name, value in pairs]
    return Fields(pairs)


def _check_host(fields: Fields, minor: int) -> None:
    hosts = fields.values(b"host")
    if not hosts and not minor:
        return
    if len(hosts) != 1 or _HOST.fullmatch(hosts[0]) is None:
        raise HeadError("Host must be there once and be a host name with an optional port")


def _origin_form(target: bytes, host: bytes | None) -> bytes:
    if target == b"*":
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
    if method == b"CONNECT":
        raise Refusal(AMBIGUOUS_REQUEST, "CONNECT asks for a tunnel, and there is none")
    minor = 1 if version == b"1" else 0
    block = raw[line + 2 : -2]
    key = (method, block)
    try:
        fields = memory.get(key) if memory is not None and minor else None
        if fields is None:
            fields = _fields(HttpRequestParser, raw, block, max_headers)
            _check_host(fields, minor)
            if fields.framing == CHUNKED and not minor:
                raise HeadError("Transfer-Encoding must be exactly chunked, in HTTP/1.1")
            if memory is not None and minor:
                memory.keep(key, len(block), fields)
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
        block = raw[line + 2 : -2]
        fields = _fields(HttpResponseParser, b"HTTP/1.1 200 OK\r\n%s\r\n" % block, block, max_headers)
    except Refusal as refusal:
        raise HeadError(refusal.details) from None
    length = fields.framing
    if length == CHUNKED and not minor:
        raise HeadError("Transfer-Encoding must be exactly chunked, in HTTP/1.1")
    if method == b"HEAD" or status < 200 or status in (204, 304):
        length = 0
    elif length is None:
        length = UNTIL_CLOSE
    return AnswerHead(status, match[3] or b"", fields, minor, length)
