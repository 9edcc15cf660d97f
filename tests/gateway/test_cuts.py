"""Messages cut anywhere: what is legal arrives unchanged, what is not moves no later message."""

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.gateway.memory import ID, Gateway, get

TOKEN = st.text("abcdefghijklmnopqrstuvwxyzABC-_0123456789", min_size=1, max_size=12)
VALUE = st.text('abc XYZ09;,=\t"/:()', max_size=20).map(str.strip)
HEADERS = st.lists(st.tuples(TOKEN.map("X-T-".__add__), VALUE), max_size=4)
BODY = st.binary(max_size=60)


def _framed(
    body: bytes, sizes: list[int], chunked: bool, extension: str, trailers: list[tuple[str, str]]
) -> tuple[str, bytes]:
    if not chunked:
        return f"Content-Length: {len(body)}\r\n", body
    out, at = b"", 0
    for size in sizes:
        piece = body[at : at + size]
        at += len(piece)
        if piece:
            out += b"%x%s\r\n%s\r\n" % (len(piece), extension.encode(), piece)
    rest = body[at:]
    out += b"%X\r\n%s\r\n" % (len(rest), rest) if rest else b""
    lines = "".join(f"{name}: {value}\r\n" for name, value in trailers)
    return "Transfer-Encoding: chunked\r\n", out + b"0\r\n" + lines.encode() + b"\r\n"


@st.composite
def messages(draw: st.DrawFn) -> tuple[str, str, bytes]:
    """Draw (header lines, framing line, body as framed)."""
    lines = "".join(f"{name}:{draw(st.sampled_from(['', ' ', '  ']))}{value}\r\n" for name, value in draw(HEADERS))
    sizes = draw(st.lists(st.integers(1, 20), max_size=5))
    extension = draw(st.sampled_from(["", ";a", ';a="b c"', "; x=1"]))
    framing, body = _framed(draw(BODY), sizes, draw(st.booleans()), extension, draw(HEADERS))
    return lines, framing, body


def _pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[begin:end] for begin, end in pairwise(places)]


CUTS = st.lists(st.integers(0, 100_000), max_size=12)


def _field_lines(head: bytes, prefix: bytes) -> list[tuple[bytes, bytes]]:
    found = re.findall(rb"(?m)^(" + prefix + rb"[^:\r\n]*):[ \t]*([^\r\n]*?)[ \t]*\r$", head)
    return [(name, value) for name, value in found]


@settings(max_examples=150, deadline=None)
@given(st.lists(messages(), min_size=1, max_size=3), CUTS)
def test_any_legal_requests_arrive_unchanged_however_they_are_cut(
    given_messages: list[tuple[str, str, bytes]], cuts: list[int]
) -> None:
    """Pipelined requests with bodies of every framing: the agent server gets each one whole, in order, and nothing else."""
    gateway = Gateway()
    raw = b"".join(
        f"POST /{ID}/path{n}?q={n} HTTP/1.1\r\nHost: us\r\n{lines}{framing}\r\n".encode() + body
        for n, (lines, framing, body) in enumerate(given_messages)
    )
    client = gateway.client()
    for piece in _pieces(raw, cuts):
        client.hear(piece)
    agent = gateway.agent()
    for n, (lines, framing, body) in enumerate(given_messages):
        got = agent.value()
        head, _, rest = got.partition(b"\r\n\r\n")
        assert head.startswith(f"POST /path{n}?q={n} HTTP/1.1\r\nHost: 127.0.0.1:9000\r\n".encode())
        assert framing.strip().encode() in head
        assert _field_lines(head + b"\r\n", b"X-T-") == _field_lines(lines.encode(), b"X-T-")
        assert rest == body
        agent.clear()
        agent.hear(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % n)
    assert agent.value() == b""
    assert gateway.connects == 1
    assert re.findall(rb"\r\n\r\n(\d)", client.value()) == [b"%d" % n for n in range(len(given_messages))]


@settings(max_examples=150, deadline=None)
@given(messages(), CUTS, st.sampled_from([200, 404, 500]))
def test_any_legal_answer_arrives_unchanged_however_it_is_cut(
    message: tuple[str, str, bytes], cuts: list[int], status: int
) -> None:
    """The client gets the status, the headers and the framed body byte for byte, and the connections live on."""
    lines, framing, body = message
    gateway = Gateway()
    client = gateway.client(get("/x"))
    agent = gateway.agent()
    for piece in _pieces(f"HTTP/1.1 {status} Some Reason\r\n{lines}{framing}\r\n".encode() + body, cuts):
        agent.hear(piece)
    head, _, rest = client.value().partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} Some Reason\r\n".encode())
    assert framing.strip().encode() in head
    assert _field_lines(head + b"\r\n", b"X-T-") == _field_lines(lines.encode(), b"X-T-")
    assert rest == body
    client.hear(get("/next"))
    assert agent.value().count(b"GET /next ") == 1


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 1000), st.binary(max_size=40), CUTS)
def test_an_answer_that_breaks_off_anywhere_is_never_whole(where: int, body: bytes, cuts: list[int]) -> None:
    """However early the agent server dies, the client sees 502 or a reset, never a clean shorter answer."""
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body) + 1, body + b"!")
    part = raw[: where % len(raw)]
    gateway = Gateway()
    client = gateway.client(get("/x"))
    agent = gateway.agent()
    for piece in _pieces(part, cuts):
        agent.hear(piece)
    agent.protocol.readConnectionLost()
    assert client.value().startswith(b"HTTP/1.1 502 ") or (
        client.aborted and not client.value().endswith(b"\r\n0\r\n\r\n")
    )


SPOILT = [
    "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
    "Content-Length: 1\r\nContent-Length: 1\r\n",
    "Content-Length: +1\r\n",
    "Content-Length: 1 1\r\n",
    "Content-Length: 0x1\r\n",
    "Content-Length:\r\n",
    "Transfer-Encoding: xchunked\r\n",
    "Transfer-Encoding: chunked, identity\r\n",
    "Transfer-Encoding: \x0bchunked\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "Host: us\r\n",
    "A : b\r\n",
    "A: b\r\n c\r\n",
    "A: b\rc\r\n",
    "A: b\nc\r\n",
    "A\x00: b\r\n",
    "A: \x00\r\n",
    "no colon\r\n",
    ": no name\r\n",
]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(SPOILT), BODY, CUTS, st.booleans())
def test_no_spoilt_request_moves_the_next_one(
    spoilt: str, body: bytes, cuts: list[int], after_a_good_one: bool
) -> None:
    """It gets one refusal and the end of the connection; not a byte of it or of what follows is forwarded."""
    gateway = Gateway()
    bad = f"POST /{ID}/bad HTTP/1.1\r\nHost: us\r\n{spoilt}\r\n".encode("latin-1") + body + get("/after")
    client = gateway.client()
    for piece in _pieces((get("/good") if after_a_good_one else b"") + bad, cuts):
        client.hear(piece)
    if after_a_good_one:
        agent = gateway.agent()
        agent.hear(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        assert agent.value().startswith(b"GET /good ")
        assert agent.value().count(b"\r\n\r\n") == 1
    assert gateway.connects == int(after_a_good_one)
    statuses = re.findall(rb"HTTP/1\.1 (\d{3}) ", client.value())
    assert statuses == ([b"200"] if after_a_good_one else []) + [b"400"]
    assert client.half_closed


CHUNKS = [
    b"+5\r\nhello",
    b"0x5\r\nhello",
    b"5 \r\nhello\r\n",
    b"5\nhello\r\n",
    b"-1\r\n",
    b"\r\n",
    b"5\r\nhelloX",
    b"ffffffffffffffff1\r\n",
    b"5;\x00\r\n",
]


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(CHUNKS), CUTS)
def test_no_spoilt_chunk_moves_the_next_request(chunk: bytes, cuts: list[int]) -> None:
    """A malformed chunk ends both connections; what follows it is nobody's request."""
    gateway = Gateway()
    client = gateway.client(get("/good"))
    agent = gateway.agent()
    agent.hear(b"HTTP/1.1 204 No Content\r\n\r\n")
    bad = get("/bad", "Transfer-Encoding: chunked\r\n", "POST") + chunk + b"0\r\n\r\n"
    for piece in _pieces(bad + get("/after"), cuts):
        client.hear(piece)
    assert agent.aborted
    assert b"/after" not in agent.value()
    assert re.findall(rb"HTTP/1\.1 (\d{3}) ", client.value()) == [b"204", b"400"]
    assert gateway.connects == 1
