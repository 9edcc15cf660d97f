"""Heads, bodies, targets and origins: the pure rules of the gateway."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentproxy.errors import Refusal
from agentproxy.gateway.framing import ChunkedBody
from agentproxy.gateway.head import CHUNKED, HeadError, head_end, parse_request
from agentproxy.gateway.remembering import Memory
from agentproxy.gateway.rules import CredentialRules, request_for_agent
from agentproxy.gateway.target import agent_target, session_id_of
from agentproxy.model.backend import Backend
from agentproxy.model.cors import CorsRules

ID = "0b5a1f6e-1111-4222-8333-444455556666"

BAD = [
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    b"GET / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nA: b\rc\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nA: b\0\r\n\r\n",
    b"GET / HTTP/1.1\nHost: a\r\n\r\n",
    b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
    b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"NOSUCHTHING / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n@: b\r\n\r\n",
    b"GET / HTTP/1.1\r\n folded\r\nHost: a\r\n\r\n",
]


@pytest.mark.parametrize("raw", BAD)
def test_an_ambiguous_head_is_refused(raw: bytes) -> None:
    """What two readers could read differently is answered with 400."""
    with pytest.raises(Refusal) as caught:
        parse_request(raw[: head_end(raw, 1000)], 50)
    assert caught.value.kind.status == 400


def test_a_head_beyond_the_limits_is_431() -> None:
    """Too long a head and too many fields have their own status."""
    for raw, size, count in [(b"GET /" + b"a" * 99, 50, 5), (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n\r\n", 99, 1)]:
        with pytest.raises(Refusal) as caught:
            parse_request(raw[: head_end(raw, size)], count)
        assert caught.value.kind.status == 431


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=5), st.data())
def test_chunks_pass_unchanged_however_they_are_cut(chunks: list[bytes], data: st.DataObject) -> None:
    """A chunked body passes byte for byte, its end is found, and what follows is left over."""
    wire = b"".join(b"%x;x=y\r\n%s\r\n" % (len(c), c) for c in chunks) + b"0\r\nT: v\r\n\r\n"
    body, bare, passed, payload, rest = ChunkedBody(), ChunkedBody(bare=True), b"", b"", b""
    whole = wire + b"NEXT"
    while whole:
        cut = data.draw(st.integers(1, len(whole)))
        piece, whole = whole[:cut], whole[cut:]
        if body.done:
            rest += piece
            continue
        more, left = body.take(piece)
        passed, rest = passed + more, rest + left
        payload += bare.take(piece)[0]
    assert (passed, payload, rest) == (wire, b"".join(chunks), b"NEXT")


@pytest.mark.parametrize(
    "wire", [b"0x5\r\n", b"+5\r\n", b"5 \r\n", b"5\n", b"1\r\nab\r\n", b"f" * 17 + b"\r\n", b"0\r\nA : b\r\n"]
)
def test_malformed_chunks_are_found(wire: bytes) -> None:
    """A chunk that another reader could read differently is a fault."""
    with pytest.raises(HeadError):
        ChunkedBody().take(wire)


def test_a_path_cannot_leave_its_session() -> None:
    """Dots, plain or encoded, that climb above the session are refused; others pass unchanged."""
    assert session_id_of(f"/{ID}/a?b".encode()) == ID
    assert session_id_of(f"/{ID.upper()}/a".encode()) is None
    assert agent_target(f"/{ID}/a/%2e%2e/b%2F?x=..".encode()) == b"/a/%2e%2e/b%2F?x=.."
    for path in ("/../x", "/%2e%2E/x", "/a/..%2f../x", "/a/..%5c..%5c.."):
        with pytest.raises(Refusal):
            agent_target(f"/{ID}{path}".encode())


def test_credentials_and_the_door_stay_with_us() -> None:
    """An agent gets its door's secret, never the caller's key, bearer, or session cookie."""
    raw = (
        f"POST /{ID}/message HTTP/1.1\r\nHost: us\r\nAuthorization: Bearer x\r\nX-API-Key: k\r\nX-Agentproxy-Door: no\r\n"
        "Cookie: a=1; agentproxy_session=s\r\nX-Request-ID: r1\r\n"
        "X-Forwarded-For: 9.9.9.9\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n"
        "Content-Length: 2\r\n\r\n"
    ).encode()
    head = parse_request(raw, 50, "1.2.3.4")
    sent = request_for_agent(head, Backend("127.0.0.1", 7, door="d"), CredentialRules(), False)
    assert (
        sent
        == (
            f"POST /message HTTP/1.1\r\nHost: 127.0.0.1:7\r\nX-Agentproxy-Door: d\r\nCookie: a=1\r\nContent-Length: 2\r\n"
            "X-Forwarded-For: 1.2.3.4\r\n"
            f"X-Forwarded-Host: us\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Prefix: /{ID}\r\n"
            "X-Request-ID: r1\r\n\r\n"
        ).encode()
    )


def test_only_exact_local_origins_are_allowed_by_default() -> None:
    """A page of this machine may read answers; a look-alike host may not."""
    rules = CorsRules()
    assert rules.allows("http://localhost:3000")
    assert rules.allows("https://[::1]")
    assert not rules.allows("http://localhost.evil.example")
    assert not CorsRules(frozenset({"https://a"})).allows("http://localhost")
    assert parse_request(b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n", 9).length == CHUNKED


FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*")
"""A field line of RFC 9112, written down once more."""

LINES = st.lists(
    st.one_of(
        st.sampled_from(["Content-Length: 3", "content-length: 03", "Transfer-Encoding: chunked", "X:", "A:b "]),
        st.text(st.sampled_from("aZ-:; \t\r\n\x00,=\x7f\xff"), max_size=8),
    ),
    max_size=4,
)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(["GET", "POST", "M-SEARCH"]), st.text("/a%?.=&~", min_size=1, max_size=9), LINES)
def test_a_head_is_let_in_exactly_when_its_grammar_is_right(method: str, target: str, lines: list[str]) -> None:
    """The fields that are let in are those of the grammar; what it does not describe, or frames twice, is refused."""
    raw = "\r\n".join([f"{method} /{target} HTTP/1.1", "Host: us", *lines, "", ""]).encode("latin-1")
    end = raw.index(b"\r\n\r\n") + 4
    read = [FIELD.fullmatch(line) for line in raw[: end - 4].split(b"\r\n")[1:]]
    framing = [
        match[1].lower() for match in read if match and match[1].lower() in (b"content-length", b"transfer-encoding")
    ]
    try:
        head = parse_request(raw[: head_end(raw, 9999)], 50)
    except Refusal:
        assert None in read or len(framing) > 1
        return
    assert len(framing) < 2
    assert [match and match.groups() for match in read] == head.headers
    assert head.target == f"/{target}".encode()


def test_a_remembered_head_is_read_as_the_first_one() -> None:
    """What is remembered of a block is not taken for another method, peer, session or version."""
    memory = Memory()
    raw = b"%s /%s/x HTTP/1.%d\r\nHost: us\r\nX-Api-Key: k\r\nA: b\r\n\r\n"
    rules, backend = CredentialRules(), Backend("127.0.0.1", 9)
    other = ID[:-1] + "7"
    for _ in range(3):
        for method, session, minor, peer in [
            (b"GET", ID, 1, "1.1.1.1"),
            (b"PUT", other, 1, "2.2.2.2"),
            (b"GET", ID, 0, "1.1.1.1"),
        ]:
            head = parse_request(raw % (method, session.encode(), minor), 50, peer, False, memory)
            sent = request_for_agent(head, backend, rules, False)
            assert sent.startswith(method + b" /x HTTP/1.1\r\nHost: 127.0.0.1:9\r\nA: b\r\n")
            assert b"X-Forwarded-For: %s\r\n" % peer.encode() in sent
            assert b"X-Forwarded-Prefix: /%s\r\n" % session.encode() in sent
            assert b"Key" not in sent
            assert head.keep_alive == bool(minor)
