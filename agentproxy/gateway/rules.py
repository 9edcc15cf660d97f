"""What is added to, removed from and replaced in the heads that pass; pure."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus

from agentproxy.errors import AMBIGUOUS_REQUEST, FORBIDDEN, Refusal
from agentproxy.gateway.head import CHUNKED, AnswerHead, Fields, Head, Headers, Memory
from agentproxy.gateway.origin import OUR_COOKIES, SANDBOX, WHOLE_ORIGIN, is_page
from agentproxy.gateway.routes import agent_target
from agentproxy.model.backend import DOOR_HEADER, Backend
from agentproxy.model.cors import CorsRules
from agentproxy.model.request_id import HEADER, request_id

HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-connection proxy-authenticate proxy-authorization te upgrade "
    b"transfer-encoding content-length".split()
)
FORWARDED = frozenset(
    b"forwarded x-real-ip x-forwarded-for x-forwarded-proto x-forwarded-host x-forwarded-prefix x-forwarded-port".split()
)
_PLAIN_CONNECTION = frozenset({b"keep-alive", b"close"})
_DOOR = DOOR_HEADER.lower().encode("ascii")
_ID = HEADER.lower()
_NEVER_NAMED = frozenset({b"host", b"cookie", b"content-type"})


def _lines_of(names: Iterable[bytes], more: bytes = b"") -> re.Pattern[bytes]:
    """Return the pattern of whole header lines with one of the names, for blocks whose grammar has been checked."""
    wanted = b"|".join([re.escape(name) for name in sorted(names)])
    return re.compile(rb"^(?:" + wanted + more + rb"):[^\r]*\r\n", re.IGNORECASE | re.MULTILINE)


_NEVER_ANSWERED = HOP_BY_HOP | WHOLE_ORIGIN | {_DOOR, _ID}
_NOT_ANSWERED = _lines_of(_NEVER_ANSWERED, rb"|access-control-[^:]*")


@dataclass(frozen=True, slots=True)
class CredentialRules:
    """What opens our own door and therefore never reaches an agent; ``Authorization`` always belongs to it.

    :param headers: names of key headers, in lower case.
    :param cookies: names of our cookies.
    """

    headers: frozenset[bytes] = frozenset({b"x-api-key"})
    cookies: frozenset[bytes] = frozenset({b"agentproxy_session"})
    dropped: frozenset[bytes] = field(init=False, repr=False)
    removed: re.Pattern[bytes] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Derive every name that is not passed on, and the pattern of their lines."""
        dropped = HOP_BY_HOP | FORWARDED | self.headers | {b"host", b"authorization", _DOOR, _ID}
        object.__setattr__(self, "dropped", dropped)
        object.__setattr__(self, "removed", _lines_of(dropped))

    def strip_cookies(self, value: bytes) -> bytes:
        """Return the ``Cookie`` value without our cookies, empty when nothing is left."""
        kept = [part.strip() for part in value.split(b";") if part.partition(b"=")[0].strip() not in self.cookies]
        return b"; ".join(part for part in kept if part)


def expects(head: Head) -> bool:
    """Return whether the client waits for a word before it sends the body."""
    return any(name.lower() == b"expect" for name, _value in head.headers)


def wants_websocket(head: Head) -> bool:
    """Return whether the request asks for a WebSocket; any other upgrade is ignored and its headers dropped."""
    fields = head.fields
    return (
        b"upgrade" in fields
        and head.method == b"GET"
        and head.minor == 1
        and fields.tokens(b"upgrade") == {b"websocket"}
        and b"upgrade" in fields.tokens(b"connection")
    )


def check_websocket(head: Head, cors: CorsRules) -> None:
    """Check the handshake of RFC 6455 and that its page may speak to us.

    :raises Refusal: AMBIGUOUS_REQUEST for a bad handshake; FORBIDDEN for a foreign origin.
    """
    keys, versions = head.fields.values(b"sec-websocket-key"), head.fields.values(b"sec-websocket-version")
    try:
        good = len(keys) == 1 and len(base64.b64decode(keys[0], validate=True)) == 16
    except binascii.Error:
        good = False
    if not good or versions != [b"13"] or head.length != 0:
        raise Refusal(AMBIGUOUS_REQUEST, "a WebSocket handshake needs one key, version 13 and no body")
    origins = head.fields.values(b"origin")
    own = {b"%s://%s" % (scheme, (head.get(b"host") or b"").lower()) for scheme in (b"http", b"https")}
    if len(origins) > 1 or any(o.lower() not in own and not cors.allows(o.decode("latin-1")) for o in origins):
        raise Refusal(FORBIDDEN, "the page's origin may not open WebSockets here")


def is_preflight(head: Head) -> bool:
    """Return whether a browser asks before a request: such a question needs no credentials."""
    return (
        head.method == b"OPTIONS"
        and head.get(b"origin") is not None
        and head.get(b"access-control-request-method") is not None
    )


def _forwarded(head: Head, session_id: str, trusted: bool) -> bytes:
    def told(name: bytes) -> bytes:
        return b", ".join(head.fields.values(name)) if trusted else b""

    peer = head.peer.encode("ascii", "replace")
    chain = told(b"x-forwarded-for")
    known = chain + b", " + peer if chain and peer else chain or peer
    host = told(b"x-forwarded-host") or head.fields.first(b"host")
    prefix = f"/{session_id}"  # also for a share link, whose token is nothing for an agent server
    return b"%s%sX-Forwarded-Proto: %s\r\nX-Forwarded-Prefix: %s%s\r\n" % (
        b"X-Forwarded-For: %s\r\n" % known if known else b"",
        b"X-Forwarded-Host: %s\r\n" % host if host else b"",
        told(b"x-forwarded-proto") or (b"https" if head.secure else b"http"),
        told(b"x-forwarded-prefix").rstrip(b"/"),
        prefix.encode(),
    )


def _names_nothing(fields: Fields) -> bool:
    """Return whether ``Connection`` names no header to remove."""
    return b"connection" not in fields or fields.tokens(b"connection") <= _PLAIN_CONNECTION


def _passed(head: Head, credentials: CredentialRules, upgrade: bool) -> bytes:
    """Return the lines of a request that go on to the agent server."""
    fields = head.fields
    if fields.block and not upgrade and b"cookie" not in fields and _names_nothing(fields):
        return credentials.removed.sub(b"", fields.block) + _framing(fields)
    dropped = credentials.dropped
    if b"connection" in fields:
        dropped |= fields.tokens(b"connection") - _NEVER_NAMED
    lines = []
    for name, value in fields.pairs:
        low = name.lower()
        if low in dropped and not (upgrade and low.startswith(b"sec-websocket-")):
            continue
        if low == b"cookie":
            value = credentials.strip_cookies(value)
            if not value:
                continue
        lines.append(b"%s: %s\r\n" % (name, value))
    if upgrade:
        lines.append(b"Connection: Upgrade\r\nUpgrade: websocket\r\n")
    lines.append(_framing(fields))
    return b"".join(lines)


def _framing(fields: Fields) -> bytes:
    if fields.framing is None:
        return b""
    return (
        b"Transfer-Encoding: chunked\r\n" if fields.framing == CHUNKED else b"Content-Length: %d\r\n" % fields.framing
    )


def request_for_agent(
    head: Head, session_id: str, backend: Backend, credentials: CredentialRules, trusted: bool
) -> bytes:
    """Return the head that the agent server gets.

    :raises Refusal: AMBIGUOUS_REQUEST when the path leaves its session.
    """
    fields = head.fields
    # What an upgrade passes on depends on the method too, so that only the rest is remembered.
    key = (credentials, session_id, head.share, head.peer, head.secure, trusted)
    upgrade = wants_websocket(head)
    if fields.passed is not None and not upgrade and fields.passed[0] == key:
        rest = fields.passed[1]
    else:
        rest = _passed(head, credentials, upgrade) + _forwarded(head, session_id, trusted)
        if not upgrade:
            fields.passed = (key, rest)
    return b"%s %s HTTP/1.1\r\nHost: %s\r\n%s%s: %s\r\n%s\r\n" % (
        head.method,
        agent_target(head.target),
        backend.authority.encode(),
        rest,
        HEADER,
        head.id,
        b"" if backend.door is None else b"%s: %s\r\n" % (DOOR_HEADER.encode(), backend.door.encode()),
    )


def is_event_stream(answer: AnswerHead) -> bool:
    """Return whether the answer is server-sent events, so that comments may be put between them."""
    if answer.length >= 0:
        return False
    kinds = answer.fields.values(b"content-type")
    return (
        len(kinds) == 1
        and kinds[0].partition(b";")[0].strip().lower() == b"text/event-stream"
        and not answer.fields.values(b"content-encoding")
    )


def answer_for_client(
    answer: AnswerHead, head: Head, cors: CorsRules, close: bool, memory: Memory | None = None
) -> bytes:
    """Return the head that the client gets.

    :param close: the connection ends after this answer.
    :param memory: of heads made before; only for one ``cors``.
    """
    if answer.status < 200 and answer.status != 101:
        return _answer_for_client(answer, head, cors, close)
    # Each answer has an id of its own, so the rest is what can be remembered.
    return b"%s%s: %s\r\n\r\n" % (_known_answer(answer, head, cors, close, memory)[:-2], HEADER, head.id)


def _known_answer(answer: AnswerHead, head: Head, cors: CorsRules, close: bool, memory: Memory | None) -> bytes:
    if memory is None or not answer.raw:
        return _answer_for_client(answer, head, cors, close)
    origin = head.fields.first(b"origin")
    key = (answer.raw, answer.length, head.minor, origin, close)
    made: bytes | None = memory.get(key)
    if made is None:
        made = _answer_for_client(answer, head, cors, close)
        memory.keep(key, len(answer.raw) + len(origin or b""), made)
    return made


def _answer_for_client(answer: AnswerHead, head: Head, cors: CorsRules, close: bool) -> bytes:
    fields = answer.fields
    lines = [b"HTTP/1.1 %d %s\r\n" % (answer.status, answer.reason)]
    if fields.block and _names_nothing(fields) and b"vary" not in fields and b"x-accel-buffering" not in fields:
        block = _NOT_ANSWERED.sub(b"", fields.block)
        lines.append(OUR_COOKIES.sub(b"", block) if b"set-cookie" in fields else block)
    else:
        lines += _answer_lines(answer)
    if answer.status == 101:
        lines.append(b"Connection: Upgrade\r\nUpgrade: websocket\r\n")
    elif answer.status >= 200:
        if answer.length == CHUNKED and head.minor == 1:
            lines.append(b"Transfer-Encoding: chunked\r\n")
        lines += [b"Content-Length: %s\r\n" % v for v in fields.values(b"content-length") if answer.status != 204]
        if answer.length < 0:
            lines.append(b"X-Accel-Buffering: no\r\n")
        lines += [b"%s: %s\r\n" % pair for pair in cors.headers(head.fields.first(b"origin"))]
        if not cors.trust_agents and answer.length != 0 and is_page(fields):
            lines.append(SANDBOX)
        if close:
            lines.append(b"Connection: close\r\n")
    lines.append(b"\r\n")
    return b"".join(lines)


def _answer_lines(answer: AnswerHead) -> Iterator[bytes]:
    fields = answer.fields
    dropped = _NEVER_ANSWERED | (fields.tokens(b"connection") - {b"content-type"})
    for name, value in fields.pairs:
        low = name.lower()
        if low in dropped or low.startswith(b"access-control-"):
            continue
        if low == b"set-cookie" and value.lower().startswith(b"agentproxy_"):
            continue
        if low == b"vary":
            value = b", ".join(p.strip() for p in value.split(b",") if p.strip().lower() not in (b"origin", b""))
            if not value:
                continue
        if low == b"x-accel-buffering" and answer.length < 0:
            continue
        yield b"%s: %s\r\n" % (name, value)


def refusal_headers(refusal: Refusal, cors_headers: Headers) -> Headers:
    """Return the headers of a refusal's JSON answer, its length excepted."""
    headers = [(b"Content-Type", b"application/json"), (b"Cache-Control", b"no-store"), *cors_headers]
    if refusal.retry_after is not None:
        headers.append((b"Retry-After", b"%d" % max(1, round(refusal.retry_after))))
    return headers


def own_answer(status: int, headers: Headers, body: bytes, head_only: bool, close: bool) -> bytes:
    """Return a whole answer of ours as bytes."""
    lines = [b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode())]
    lines += [name + b": " + value for name, value in headers]
    if status != 204:
        lines.append(b"Content-Length: %d" % len(body))
    if close:
        lines.append(b"Connection: close")
    return b"\r\n".join(lines) + b"\r\n\r\n" + (b"" if head_only else body)


def refusal_answer(refusal: Refusal, head: Head | None, cors: CorsRules, close: bool) -> bytes:
    """Return the whole answer that says a refusal; ``head`` is None when no head could be read."""
    body = json.dumps(refusal.body()).encode()
    headers = refusal_headers(refusal, cors.headers(head.get(b"origin") if head else None))
    headers.append((HEADER, head.id if head else request_id(None)))
    return own_answer(refusal.kind.status, headers, body, head is not None and head.method == b"HEAD", close)
