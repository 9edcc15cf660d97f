"""Heads of HTTP/1 messages: bytes in, values out, strict where two readers could disagree.

Everything ambiguous is a refusal before a byte is passed on: bare CR or LF, NUL, folded lines, white space before the
colon, Content-Length with Transfer-Encoding, lengths that are doubled, signed or spaced, codings other than ``chunked``,
``Host`` missing, doubled or malformed. The rules are those of RFC 9112, read without its leniencies.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from agentproxy.errors import AMBIGUOUS_REQUEST, HEAD_TOO_LARGE, Refusal

Headers = list[tuple[bytes, bytes]]

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([\x21-\x22\x24-\x7e]+) HTTP/1\.([01])")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: ([\t \x21-\x7e\x80-\xff]*))?")
_FIELD = re.compile(
    rb"(" + _TOKEN + rb"):[ \t]*((?:[\x21-\x7e\x80-\xff](?:[\t \x21-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)[ \t]*"
)
_LENGTH = re.compile(rb"[0-9]{1,18}")
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._~\-]+)(?::[0-9]{1,5})?")

CHUNKED = -1
UNTIL_CLOSE = -2


class HeadError(ValueError):
    """An answer's head that cannot be trusted; the text says why."""


@dataclass(frozen=True, slots=True)
class Head:
    """One request head.

    :param method: as sent, case counts.
    :param target: origin form (``/path?query``) or ``*``, byte for byte as sent; absolute form of the own host is cut.
    :param headers: (name as sent, value without surrounding white space) in order.
    :param minor: 0 or 1, of HTTP/1.x.
    :param peer: address of the client, "" for a UNIX socket.
    :param secure: the client speaks TLS to us.
    :param length: bytes of body, 0 for none, or :data:`CHUNKED`.
    """

    method: bytes
    target: bytes
    headers: Headers
    minor: int = 1
    peer: str = ""
    secure: bool = False
    length: int = 0

    def get(self, name: bytes) -> bytes | None:
        """Return the first value of the header; ``name`` is in lower case."""
        return first(self.headers, name)

    @property
    def keep_alive(self) -> bool:
        """Return whether the client wants to send another request."""
        return self.minor == 1 and b"close" not in tokens(self.headers, b"connection")


@dataclass(frozen=True, slots=True)
class AnswerHead:
    """The head of an agent server's answer: see :class:`Head`; ``length`` may be :data:`UNTIL_CLOSE`."""

    status: int
    reason: bytes
    headers: Headers
    minor: int
    length: int

    @property
    def keep_alive(self) -> bool:
        """Return whether the connection can serve another request afterwards."""
        return self.minor == 1 and self.length != UNTIL_CLOSE and b"close" not in tokens(self.headers, b"connection")


def first(headers: Headers, name: bytes) -> bytes | None:
    """Return the first value of the header called ``name`` (lower case), or None."""
    for key, value in headers:
        if key.lower() == name:
            return value
    return None


def values(headers: Headers, name: bytes) -> list[bytes]:
    """Return every value of the header called ``name`` (lower case)."""
    return [value for key, value in headers if key.lower() == name]


def tokens(headers: Headers, name: bytes) -> set[bytes]:
    """Return the members of a comma list, in lower case, over all headers of that name."""
    return {part.strip(b" \t").lower() for value in values(headers, name) for part in value.split(b",")} - {b""}


def head_end(data: bytes, limit: int) -> int:
    """Return where the head in ``data`` ends (after its empty line), -1 when it is not complete.

    :raises Refusal: HEAD_TOO_LARGE beyond ``limit`` bytes; AMBIGUOUS_REQUEST for a bare line feed.
    """
    end = data.find(b"\r\n\r\n")
    if (end if end >= 0 else len(data)) > limit:
        raise Refusal(HEAD_TOO_LARGE, f"the head is longer than {limit} bytes")
    seen = data[: end if end >= 0 else len(data)]
    if seen.count(b"\n") != seen.count(b"\r\n") or b"\0" in seen:
        raise Refusal(AMBIGUOUS_REQUEST, "a line ends without CR LF, or the head has a NUL")
    return end + 4 if end >= 0 else -1


def _fields(lines: list[bytes]) -> Headers:
    fields: Headers = []
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match is None:
            raise HeadError("a header line is malformed")
        fields.append((match[1], match[2]))
    return fields


def _body_length(headers: Headers, minor: int) -> int | None:
    lengths = values(headers, b"content-length")
    codings = values(headers, b"transfer-encoding")
    if lengths and codings:
        raise HeadError("Content-Length together with Transfer-Encoding")
    if codings:
        if len(codings) != 1 or codings[0].lower() != b"chunked" or minor == 0:
            raise HeadError("Transfer-Encoding must be exactly chunked, in HTTP/1.1")
        return CHUNKED
    if lengths:
        if len(lengths) != 1 or _LENGTH.fullmatch(lengths[0]) is None:
            raise HeadError("Content-Length must be one plain number")
        return int(lengths[0])
    return None


def _origin_form(target: bytes, host: bytes | None) -> bytes:
    if target.startswith(b"/") or target == b"*":
        return target
    match = re.fullmatch(rb"https?://([^/?]*)(/.*)?", target, re.IGNORECASE)
    if match is None or host is None or match[1].lower() != host.lower():
        raise HeadError("the request target is not a path of this host")
    return match[2] or b"/"


def parse_request(raw: bytes, max_headers: int, peer: str = "", secure: bool = False) -> Head:
    """Return the request whose complete head is ``raw`` (with its empty line).

    :raises Refusal: AMBIGUOUS_REQUEST with the rule that it breaks; HEAD_TOO_LARGE for too many headers.
    """
    lines = raw[:-4].split(b"\r\n")
    if len(lines) - 1 > max_headers:
        raise Refusal(HEAD_TOO_LARGE, f"more than {max_headers} header fields")
    match = _REQUEST_LINE.fullmatch(lines[0])
    if match is None:
        raise Refusal(AMBIGUOUS_REQUEST, "the request line is malformed")
    minor = int(match[3])
    try:
        headers = _fields(lines[1:])
        hosts = values(headers, b"host")
        if len(hosts) > 1 or (minor == 1 and not hosts) or (hosts and _HOST.fullmatch(hosts[0]) is None):
            raise HeadError("Host must be there once and be a host name with an optional port")
        length = _body_length(headers, minor) or 0
        target = _origin_form(match[2], hosts[0] if hosts else None)
    except HeadError as error:
        raise Refusal(AMBIGUOUS_REQUEST, str(error)) from None
    return Head(match[1], target, headers, minor, peer, secure, length)


def parse_answer(raw: bytes, method: bytes, max_headers: int) -> AnswerHead:
    """Return the answer to a ``method`` request whose complete head is ``raw``.

    :raises HeadError: it is malformed or ambiguous.
    """
    lines = raw[:-4].split(b"\r\n")
    match = _STATUS_LINE.fullmatch(lines[0])
    if match is None or len(lines) - 1 > max_headers:
        raise HeadError("the status line is malformed" if match is None else "too many header fields")
    status, minor = int(match[2]), int(match[1])
    headers = _fields(lines[1:])
    length = _body_length(headers, minor)
    if method == b"HEAD" or status < 200 or status in (204, 304):
        length = 0
    elif length is None:
        length = UNTIL_CLOSE
    return AnswerHead(status, match[3] or b"", headers, minor, length)
