"""Bodies of ``POST /message``: which are taken, and how each fault is told, to the letter."""

from __future__ import annotations

from typing import Any

import pytest

from tests.agent_servers import AgentServer
from tests.contract.test_http import problem

JSON = {"Content-Type": "application/json"}


def at(message: str | None, value: Any = None, location: str = "body") -> dict[str, Any]:
    """Return one item of ``errors``."""
    item = {"message": message, "location": location, "value": value}
    return {name: part for name, part in item.items() if part is not None}


UNPARSED = [
    ('{"content":', "unexpected end of JSON input"),
    ("   ", "unexpected end of JSON input"),
    ('"abc', "unexpected end of JSON input"),
    ("{content:1}", "invalid character 'c' looking for beginning of object key string"),
    ('{"content":"","type":"raw",}', "invalid character '}' looking for beginning of object key string"),
    ("hello", "invalid character 'h' looking for beginning of value"),
    ('\ufeff{"content":"a","type":"raw"}', "invalid character 'ï' looking for beginning of value"),
    ("[NaN]", "invalid character 'N' looking for beginning of value"),
    ("\0", "invalid character '\\x00' looking for beginning of value"),
    ('{"content":"","type":"raw"}x', "invalid character 'x' after top-level value"),
    ('{"a" 1}', "invalid character '1' after object key"),
    ('{"a":1 "b":2}', "invalid character '\"' after object key:value pair"),
    ("[1 2]", "invalid character '2' after array element"),
    ('{"content":"\\x","type":"raw"}', "invalid character 'x' in string escape code"),
    ('{"content":"a\nb","type":"raw"}', "invalid character '\\n' in string literal"),
    ("nul", "invalid character ' ' in literal null (expecting 'l')"),
    ('{"a":tru}', "invalid character '}' in literal true (expecting 'e')"),
    ("-", "invalid character ' ' in numeric literal"),
]


@pytest.mark.parametrize(("body", "message"), UNPARSED)
def test_what_is_no_json(server: AgentServer, body: str, message: str) -> None:
    """400 with the sentence of the parser and the whole body."""
    reply = server.client.request("POST", "/message", body.encode(), JSON)
    assert problem(reply, 400, "validation failed") == [at(message, body)]


REQUIRED = "expected required property {} to be present"
FAULTY = [
    ("[]", [at("expected object", [])]),
    ("null", [at("expected object")]),
    ('"x"', [at("expected object", "x")]),
    ("5", [at("expected object", 5)]),
    ("true", [at("expected object", True)]),
    ("{}", [at(REQUIRED.format(name), {}) for name in ("content", "type")]),
    ('{"content":"a"}', [at(REQUIRED.format("type"), {"content": "a"})]),
    (
        '{"content":"a","type":"raw","foo":1}',
        [at("unexpected property", {"content": "a", "type": "raw", "foo": 1}, "body.foo")],
    ),
    ('{"content":"a","type":"bogus"}', [at(None, "bogus", "body.type")]),
    ('{"content":"a","type":5}', [at("expected string", 5, "body.type")]),
    ('{"content":5,"type":"raw"}', [at("expected string", 5, "body.content")]),
    ('{"content":["a"],"type":"raw"}', [at("expected string", ["a"], "body.content")]),
    (
        '{"content":null,"type":null}',
        [at("expected string", location="body.content"), at("expected string", location="body.type")],
    ),
    (
        '{"content":5,"type":"bogus","zz":1}',
        [
            at("expected string", 5, "body.content"),
            at(None, "bogus", "body.type"),
            at("unexpected property", {"content": 5, "type": "bogus", "zz": 1}, "body.zz"),
        ],
    ),
]


@pytest.mark.parametrize(("body", "errors"), FAULTY)
def test_what_is_no_message(server: AgentServer, body: str, errors: list[dict[str, Any]]) -> None:
    """422 with all faults, each with its place and the value there."""
    reply = server.client.request("POST", "/message", body, JSON)
    assert problem(reply, 422, "validation failed") == errors
    assert reply.json()["title"] == "Unprocessable Entity"


def test_no_body(server: AgentServer) -> None:
    """A message without a body is 400, without errors."""
    reply = server.client.request("POST", "/message", b"", JSON)
    assert problem(reply, 400, "request body is required") == []


@pytest.mark.parametrize("content", ["", " ", " \n\t "])
def test_nothing_to_say(server: AgentServer, content: str) -> None:
    """A user message without words is 500, as every message that cannot be sent."""
    errors = problem(server.client.send(content), 500, "unexpected error occurred")
    assert errors == [{"message": "failed to send message: message must not be empty"}]


TAKEN = [
    '{"Content":"","TYPE":"raw"}',
    '{"content":"a","content":"","type":"raw"}',
    '{"$schema":{"a":[1]},"content":"","type":"raw"}',
    ' {"content":"","type":"raw"} \n',
]


@pytest.mark.parametrize("body", TAKEN)
def test_what_is_taken(server: AgentServer, body: str) -> None:
    """Keys have any case, the last of two counts, a schema may be named."""
    reply = server.client.request("POST", "/message", body, JSON)
    assert reply.json() == {"$schema": f"{server.url}/schemas/MessageResponseBody.json", "ok": True}


def test_other_ways_to_send_a_body(server: AgentServer) -> None:
    """In chunks, after ``100-continue``, with bytes that are no UTF-8, with a coding that is not looked at."""
    body = b'{"content":"","type":"raw"}'
    head = b"POST /message HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n1b\r\n" + body + b"\r\n0\r\n\r\n"
    assert server.client.raw(chunked).startswith(b"HTTP/1.1 200 ")
    waiting = head + b"Expect: 100-continue\r\nContent-Length: 27\r\n\r\n" + body
    assert server.client.raw(waiting).startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ")
    assert server.client.request("POST", "/message", body, {"Content-Encoding": "gzip"}).status == 200
    reply = server.client.request("POST", "/message", b'{"content":"\xff","type":"bogus"}', JSON)
    assert problem(reply, 422, "validation failed") == [at(None, "bogus", "body.type")]


@pytest.mark.parametrize("media_type", ["text/plain", "application/xml", "application/cbor", "APPLICATION/JSON"])
def test_unknown_media_types(server: AgentServer, media_type: str) -> None:
    """A body of another type is 415 and named."""
    reply = server.client.request("POST", "/message", "{}", {"Content-Type": media_type})
    errors = [at(f"unknown content type: {media_type}", "{}")]
    assert problem(reply, 415, "validation failed") == errors


@pytest.mark.parametrize("media_type", ["application/json; charset=utf-8", "application/foo+json", "", None])
def test_json_media_types(server: AgentServer, media_type: str | None) -> None:
    """JSON by any of its names, or by none, is taken."""
    headers = {} if media_type is None else {"Content-Type": media_type}
    assert server.client.request("POST", "/message", '{"content":"","type":"raw"}', headers).status == 200
