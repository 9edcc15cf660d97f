"""What is added to, removed from and replaced in the heads that pass; pure."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from http import HTTPStatus

from agentproxy.errors import AMBIGUOUS_REQUEST, FORBIDDEN, Refusal
from agentproxy.gateway.head import CHUNKED, AnswerHead, Fields, Head, Headers
from agentproxy.gateway.origin import OUR_COOKIES, SANDBOX, WHOLE_ORIGIN, is_page
from agentproxy.gateway.target import agent_target
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
_DOOR = DOOR_HEADER.lower().encode("ascii")
_ID = HEADER.lower()
_NEVER_ANSWERED = HOP_BY_HOP | WHOLE_ORIGIN | {_DOOR, _ID}
_NEVER_NAMED = frozenset({b"host", b"cookie", b"content-type"})


@dataclass(frozen=True, slots=True)
class CredentialRules:
    """What opens our own door and therefore never reaches an agent; ``Authorization`` always belongs to it.

    :param headers: names of key headers, in lower case.
    :param cookies: names of our cookies.
    """

    headers: frozenset[bytes] = frozenset({b"x-api-key"})
    cookies: frozenset[bytes] = frozenset({b"agentproxy_session"})
    dropped: frozenset[bytes] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Derive every name that is not passed on."""
        dropped = HOP_BY_HOP | FORWARDED | self.headers | {b"host", b"authorization", _DOOR, _ID}
        object.__setattr__(self, "dropped", dropped)

    def strip_cookies(self, value: bytes) -> bytes:
        """Return the ``Cookie`` value without our cookies, empty when nothing is left."""
        kept = [part.strip() for part in value.split(b";") if part.partition(b"=")[0].strip() not in self.cookies]
        return b"; ".join(part for part in kept if part)


def expects(head: Head) -> bool:
    """Return whether the client waits for a word before it sends the body."""
    return b"expect" in head.fields.named


def wants_websocket(head: Head) -> bool:
    """Return whether the request asks for a WebSocket; any other upgrade is ignored and its headers dropped."""
    fields = head.fields
    return (
        fields.upgrades
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


def _forwarded(head: Head, trusted: bool) -> bytes:
    prefix = f"/{head.session_id}"  # also for a share link, whose token is nothing for an agent server
    host = head.fields.first(b"host")
    if not trusted:
        return _forwarded_lines(head.peer.encode("ascii", "replace"), host, head.secure, prefix)

    def told(name: bytes) -> bytes:
        return b", ".join(head.fields.values(name))

    peer, chain = head.peer.encode("ascii", "replace"), told(b"x-forwarded-for")
    known = chain + b", " + peer if chain and peer else chain or peer
    prefix = (told(b"x-forwarded-prefix").rstrip(b"/")).decode("latin-1") + prefix
    return _forwarded_lines(known, told(b"x-forwarded-host") or host, head.secure, prefix, told(b"x-forwarded-proto"))


@lru_cache(maxsize=1024)
def _forwarded_lines(known: bytes, host: bytes | None, secure: bool, prefix: str, scheme: bytes = b"") -> bytes:
    return b"%s%sX-Forwarded-Proto: %s\r\nX-Forwarded-Prefix: %s\r\n" % (
        b"X-Forwarded-For: %s\r\n" % known if known else b"",
        b"X-Forwarded-Host: %s\r\n" % host if host else b"",
        scheme or (b"https" if secure else b"http"),
        prefix.encode("latin-1"),
    )


def _passed(head: Head, credentials: CredentialRules) -> bytes:
    """Return the lines of a request that go on to the agent server."""
    fields = head.fields
    # What an upgrade passes on depends on the method too, so that only the rest is remembered.
    if fields.upgrades:
        return _lines_passed(head, credentials)
    if fields.passed is None or fields.passed[0] is not credentials:
        fields.passed = (credentials, _lines_passed(head, credentials))
    return fields.passed[1]


def _lines_passed(head: Head, credentials: CredentialRules) -> bytes:
    fields, dropped = head.fields, credentials.dropped
    named = fields.named
    if not (fields.repeated or fields.upgrades or b"cookie" in named or b"connection" in named):
        kept = [b"%s: %s\r\n" % pair for low, pair in zip(named, fields.pairs, strict=True) if low not in dropped]
        return b"".join(kept) + _framing(fields)
    if b"connection" in named:
        dropped |= fields.tokens(b"connection") - _NEVER_NAMED
    upgrade = wants_websocket(head)
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


def request_for_agent(head: Head, backend: Backend, credentials: CredentialRules, trusted: bool) -> bytes:
    """Return the head that the agent server gets.

    :param credentials: always the same ones for one ``head``, and so is ``trusted``: the peer's word about itself counts.
    :raises Refusal: AMBIGUOUS_REQUEST when the path leaves its session.
    """
    sent = head.sent
    if sent is None or sent[0] is not backend:
        start = b"%s %s HTTP/1.1\r\n%s%s%s%s: " % (
            head.method,
            agent_target(head.target),
            backend.lines,
            _passed(head, credentials),
            _forwarded(head, trusted),
            HEADER,
        )
        head.sent = sent = (backend, start)
    return b"%s%s\r\n\r\n" % (sent[1], head.id)


def answer_for_client(answer: AnswerHead, head: Head, cors: CorsRules, close: bool) -> bytes:
    """Return the head that the client gets.

    :param cors: always the same ones for one ``answer``.
    :param close: the connection ends after this answer.
    """
    key = (head.minor, head.fields.first(b"origin"), close)
    sent = answer.sent
    if sent is None or sent[0] != key:
        answer.sent = sent = (key, _answer_for_client(answer, head, cors, close))
    if answer.status < 200 and answer.status != 101:
        return sent[1] + b"\r\n"
    # Each answer has an id of its own, so the rest is what can be remembered.
    return b"%s%s: %s\r\n\r\n" % (sent[1], HEADER, head.id)


def _answer_for_client(answer: AnswerHead, head: Head, cors: CorsRules, close: bool) -> bytes:
    fields = answer.fields
    lines = [b"HTTP/1.1 %d %s\r\n" % (answer.status, answer.reason), *_answer_lines(answer)]
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
    return b"".join(lines)


def _answer_lines(answer: AnswerHead) -> Iterator[bytes]:
    fields = answer.fields
    dropped = _NEVER_ANSWERED
    if b"connection" in fields.named:
        dropped |= fields.tokens(b"connection") - {b"content-type"}
    for name, value in fields.pairs:
        low = name.lower()
        if low in dropped or low.startswith(b"access-control-"):
            continue
        if low == b"set-cookie" and value.lower().startswith(OUR_COOKIES):
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
