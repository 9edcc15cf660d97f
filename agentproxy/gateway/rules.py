"""What is added to, removed from and replaced in the heads that pass; pure."""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from http import HTTPStatus

from agentproxy.errors import AMBIGUOUS_REQUEST, FORBIDDEN, Refusal
from agentproxy.gateway.head import CHUNKED, AnswerHead, Head, Headers, tokens, values
from agentproxy.gateway.routes import agent_target
from agentproxy.model.backend import DOOR_HEADER, Backend
from agentproxy.model.cors import CorsRules

HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-connection proxy-authenticate proxy-authorization te upgrade "
    b"transfer-encoding content-length".split()
)
FORWARDED = frozenset(
    b"forwarded x-real-ip x-forwarded-for x-forwarded-proto x-forwarded-host x-forwarded-prefix x-forwarded-port".split()
)
_DOOR = DOOR_HEADER.lower().encode("ascii")
_NEVER_NAMED = frozenset({b"host", b"cookie", b"content-type"})


@dataclass(frozen=True, slots=True)
class CredentialRules:
    """What opens our own door and therefore never reaches an agent; ``Authorization`` always belongs to it.

    :param headers: names of key headers, in lower case.
    :param cookies: names of our cookies.
    """

    headers: frozenset[bytes] = frozenset({b"x-api-key"})
    cookies: frozenset[bytes] = frozenset({b"agentproxy_session"})

    def strip_cookies(self, value: bytes) -> bytes:
        """Return the ``Cookie`` value without our cookies, empty when nothing is left."""
        kept = [part.strip() for part in value.split(b";") if part.partition(b"=")[0].strip() not in self.cookies]
        return b"; ".join(part for part in kept if part)


def wants_websocket(head: Head) -> bool:
    """Return whether the request asks for a WebSocket; any other upgrade is ignored and its headers dropped."""
    return (
        head.method == b"GET"
        and head.minor == 1
        and tokens(head.headers, b"upgrade") == {b"websocket"}
        and b"upgrade" in tokens(head.headers, b"connection")
    )


def check_websocket(head: Head, cors: CorsRules) -> None:
    """Check the handshake of RFC 6455 and that its page may speak to us.

    :raises Refusal: AMBIGUOUS_REQUEST for a bad handshake; FORBIDDEN for a foreign origin.
    """
    keys, versions = values(head.headers, b"sec-websocket-key"), values(head.headers, b"sec-websocket-version")
    try:
        good = len(keys) == 1 and len(base64.b64decode(keys[0], validate=True)) == 16
    except binascii.Error:
        good = False
    if not good or versions != [b"13"] or head.length != 0:
        raise Refusal(AMBIGUOUS_REQUEST, "a WebSocket handshake needs one key, version 13 and no body")
    origins = values(head.headers, b"origin")
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


def _forwarded(head: Head, session_id: str, trusted: bool) -> Headers:
    def told(name: bytes) -> bytes | None:
        return b", ".join(values(head.headers, name)) or None if trusted else None

    chain = told(b"x-forwarded-for")
    peer = head.peer.encode("ascii", "replace")
    known = [part for part in (chain, peer) if part]
    added: Headers = [(b"X-Forwarded-For", b", ".join(known))] if known else []
    host = told(b"x-forwarded-host") or head.get(b"host")
    if host:
        added.append((b"X-Forwarded-Host", host))
    added.append((b"X-Forwarded-Proto", told(b"x-forwarded-proto") or (b"https" if head.secure else b"http")))
    added.append(
        (b"X-Forwarded-Prefix", (told(b"x-forwarded-prefix") or b"").rstrip(b"/") + b"/" + session_id.encode())
    )
    return added


def request_for_agent(
    head: Head, session_id: str, backend: Backend, credentials: CredentialRules, trusted: bool
) -> bytes:
    """Return the head that the agent server gets.

    :raises Refusal: AMBIGUOUS_REQUEST when the path leaves its session.
    """
    upgrade = wants_websocket(head)
    named = tokens(head.headers, b"connection") - _NEVER_NAMED
    dropped = HOP_BY_HOP | FORWARDED | credentials.headers | named | {b"host", b"authorization", _DOOR}
    lines = [b"%s %s HTTP/1.1" % (head.method, agent_target(head.target)), b"Host: " + backend.authority.encode()]
    for name, value in head.headers:
        low = name.lower()
        if low in dropped and not (upgrade and low.startswith(b"sec-websocket-")):
            continue
        if low == b"cookie":
            value = credentials.strip_cookies(value)
            if not value:
                continue
        lines.append(name + b": " + value)
    if upgrade:
        lines += [b"Connection: Upgrade", b"Upgrade: websocket"]
    if head.length == CHUNKED:
        lines.append(b"Transfer-Encoding: chunked")
    elif values(head.headers, b"content-length"):
        lines.append(b"Content-Length: %d" % head.length)
    lines += [name + b": " + value for name, value in _forwarded(head, session_id, trusted)]
    if backend.door is not None:
        lines.append(b"%s: %s" % (DOOR_HEADER.encode(), backend.door.encode()))
    return b"\r\n".join(lines) + b"\r\n\r\n"


def is_event_stream(answer: AnswerHead) -> bool:
    """Return whether the answer is server-sent events, so that comments may be put between them."""
    kinds = values(answer.headers, b"content-type")
    return (
        len(kinds) == 1
        and kinds[0].partition(b";")[0].strip().lower() == b"text/event-stream"
        and answer.length < 0
        and not values(answer.headers, b"content-encoding")
    )


def answer_for_client(answer: AnswerHead, head: Head, cors: CorsRules, close: bool) -> bytes:
    """Return the head that the client gets; ``close``: the connection ends after this answer."""
    named = tokens(answer.headers, b"connection") - {b"content-type"}
    switched = answer.status == 101
    lines = [b"HTTP/1.1 %d %s" % (answer.status, answer.reason)]
    for name, value in answer.headers:
        low = name.lower()
        if low in HOP_BY_HOP or low in named or low.startswith(b"access-control-") or low == _DOOR:
            continue
        if low == b"vary":
            value = b", ".join(p.strip() for p in value.split(b",") if p.strip().lower() not in (b"origin", b""))
            if not value:
                continue
        if low == b"x-accel-buffering" and answer.length < 0:
            continue
        lines.append(name + b": " + value)
    if switched:
        lines += [b"Connection: Upgrade", b"Upgrade: websocket"]
    elif answer.status >= 200:
        if answer.length == CHUNKED and head.minor == 1:
            lines.append(b"Transfer-Encoding: chunked")
        lines += [b"Content-Length: " + v for v in values(answer.headers, b"content-length") if answer.status != 204]
        if answer.length < 0:
            lines.append(b"X-Accel-Buffering: no")
        lines += [name + b": " + value for name, value in cors.headers(head.get(b"origin"))]
        if close:
            lines.append(b"Connection: close")
    return b"\r\n".join(lines) + b"\r\n\r\n"


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
    return own_answer(refusal.kind.status, headers, body, head is not None and head.method == b"HEAD", close)
