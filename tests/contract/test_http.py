"""Routes, status codes, headers and JSON shapes of an agent server, on one that is stable and stays as it is."""

from __future__ import annotations

import re

import pytest

from tests.agent_servers import AgentServer
from tests.wire import Reply

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")


def problem(reply: Reply, status: int, detail: str) -> list[dict[str, object]]:
    """Check that *reply* is a problem document with *status* and *detail*; return its single errors."""
    body = reply.json()
    assert (reply.status, reply.media_type) == (status, "application/problem+json")
    assert reply.headers["Link"] == '</schemas/ErrorModel.json>; rel="describedBy"'
    assert (body["status"], body["detail"]) == (status, detail)
    assert body["$schema"].endswith("/schemas/ErrorModel.json")
    assert reply.body.endswith(b"\n")
    return body.get("errors", [])


def test_status(server: AgentServer) -> None:
    """The status names the agent's type and the transport, with a link to its schema."""
    reply = server.client.get("/status")
    assert (reply.status, reply.media_type) == (200, "application/json")
    assert reply.headers["Link"] == '</schemas/StatusResponseBody.json>; rel="describedBy"'
    assert reply.body.endswith(b"\n")
    body = reply.json()
    assert next(iter(body)) == "$schema"
    assert body["$schema"] == f"{server.url}/schemas/StatusResponseBody.json"
    assert (body["status"], body["agent_type"], body["transport"]) == ("stable", "custom", "pty")


def test_messages(server: AgentServer) -> None:
    """The first message is what the agent's screen shows at its start; a query is ignored."""
    reply = server.client.get("/messages?limit=1&after=0")
    assert (reply.status, reply.media_type) == (200, "application/json")
    (row,) = reply.json()["messages"]
    assert (row["id"], row["role"], row["content"].rstrip()) == (0, "agent", "hello from tui")
    assert TIME.fullmatch(row["time"])


@pytest.mark.parametrize("target", ["/nope", "/status/", "//status", "/Status"])
def test_unknown_paths(server: AgentServer, target: str) -> None:
    """A path that is not there is 404 as text."""
    reply = server.client.get(target)
    assert (reply.status, reply.media_type, reply.body) == (404, "text/plain", b"404 page not found\n")
    assert reply.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("method", "target", "allowed"),
    [
        ("HEAD", "/status", "GET"),
        ("POST", "/status", "GET"),
        ("DELETE", "/messages", "GET"),
        ("GET", "/message", "POST"),
        ("PUT", "/upload", "POST"),
        ("OPTIONS", "/events", "GET"),
    ],
)
def test_wrong_methods(server: AgentServer, method: str, target: str, allowed: str) -> None:
    """A wrong method is 405, says which one is right, and has no body."""
    reply = server.client.request(method, target)
    assert (reply.status, reply.headers["Allow"], reply.body) == (405, allowed, b"")


def test_root_leads_to_the_chat(server: AgentServer) -> None:
    """The root is a redirection."""
    reply = server.client.get("/")
    assert (reply.status, reply.headers["Location"]) == (307, "/chat/embed")


def test_unknown_schema_is_null(server: AgentServer) -> None:
    """A schema that is not there is the JSON null."""
    reply = server.client.get("/schemas/Nothing.json")
    assert (reply.status, reply.body.strip()) == (200, b"null")


def test_openapi(server: AgentServer) -> None:
    """The description of the API names its routes."""
    reply = server.client.get("/openapi.json")
    assert (reply.status, reply.media_type) == (200, "application/vnd.oai.openapi+json")
    assert {"/status", "/messages", "/message", "/upload", "/events"} <= set(reply.json()["paths"])


BODIES = [
    ("", 400, "request body is required", []),
    ('{"content":', 400, "validation failed", [("unexpected end of JSON input", "body")]),
    ("[]", 422, "validation failed", [("expected object", "body")]),
    ("null", 422, "validation failed", [("expected object", "body")]),
    (
        "{}",
        422,
        "validation failed",
        [
            ("expected required property content to be present", "body"),
            ("expected required property type to be present", "body"),
        ],
    ),
    ('{"content":"a","type":"raw","foo":1}', 422, "validation failed", [("unexpected property", "body.foo")]),
    ('{"content":"a","type":"bogus"}', 422, "validation failed", [(None, "body.type")]),
    ('{"content":5,"type":"raw"}', 422, "validation failed", [("expected string", "body.content")]),
    (
        '{"content":" ","type":"user"}',
        500,
        "unexpected error occurred",
        [("failed to send message: message must not be empty", None)],
    ),
]


@pytest.mark.parametrize(("body", "status", "detail", "errors"), BODIES)
def test_faulty_messages(
    server: AgentServer, body: str, status: int, detail: str, errors: list[tuple[str | None, str | None]]
) -> None:
    """Each fault of a message is told as a problem document, and where it is."""
    reply = server.client.request("POST", "/message", body, {"Content-Type": "application/json"})
    assert [(row.get("message"), row.get("location")) for row in problem(reply, status, detail)] == errors


@pytest.mark.parametrize("media_type", ["text/plain", "application/xml", "APPLICATION/JSON"])
def test_unknown_media_types(server: AgentServer, media_type: str) -> None:
    """A body of another type is 415 and named."""
    reply = server.client.request("POST", "/message", "{}", {"Content-Type": media_type})
    (error,) = problem(reply, 415, "validation failed")
    assert error == {"message": f"unknown content type: {media_type}", "location": "body", "value": "{}"}


@pytest.mark.parametrize("media_type", ["application/json; charset=utf-8", "application/foo+json", None])
def test_json_media_types(server: AgentServer, media_type: str | None) -> None:
    """JSON by any of its names, or by none, is taken; keys may have any case."""
    headers = {"Content-Type": media_type} if media_type else {}
    reply = server.client.request("POST", "/message", '{"$schema":1,"CONTENT":"","Type":"raw"}', headers)
    assert reply.status == 200
    assert reply.json()["ok"] is True


def test_too_large_message(server: AgentServer) -> None:
    """A message of one MiB is 413."""
    reply = server.client.request("POST", "/message", b" " * 1048576, {"Content-Type": "application/json"})
    problem(reply, 413, "request body is too large limit=1048576 bytes")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "localhost:99999", "127.0.0.1", "[::1]", "[::1]:80"])
def test_allowed_hosts(server: AgentServer, host: str) -> None:
    """The names of this machine are allowed, with any port."""
    assert server.client.get("/status", Host=host).status == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.", "127.0.0.2", "0.0.0.0", "::1"])
@pytest.mark.parametrize("target", ["/status", "/nope", "/"])
def test_foreign_hosts(server: AgentServer, host: str, target: str) -> None:
    """Any other name is refused on every path, before anything else."""
    reply = server.client.get(target, Host=host)
    assert (reply.status, reply.media_type) == (400, "text/plain")
    assert reply.body == b"Invalid host header. Allowed hosts: localhost, 127.0.0.1, ::1\n"
    assert reply.headers["Vary"] is None


def test_allowed_origin(server: AgentServer) -> None:
    """A page of an allowed origin may read answers."""
    reply = server.client.get("/status", Origin="http://localhost:3284")
    assert reply.headers["Access-Control-Allow-Origin"] == "http://localhost:3284"
    assert reply.headers["Access-Control-Allow-Credentials"] == "true"
    assert "Origin" in reply.headers["Vary"]


@pytest.mark.parametrize("origin", ["null", "https://evil.example"])
def test_foreign_origin(server: AgentServer, origin: str) -> None:
    """A page of another origin gets the answer without the headers that would let it read."""
    reply = server.client.get("/status", Origin=origin)
    assert reply.status == 200
    assert reply.headers["Access-Control-Allow-Origin"] is None


def test_preflight(server: AgentServer) -> None:
    """A browser that asks first is told what is allowed, on any path."""
    headers = {
        "Origin": "http://localhost:3000",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    reply = server.client.request("OPTIONS", "/message", headers=headers)
    assert (reply.status, reply.headers["Access-Control-Max-Age"]) == (200, "300")
    assert reply.headers["Access-Control-Allow-Methods"] == "POST"


def upload(server: AgentServer, *parts: tuple[str, str, bytes]) -> Reply:
    """POST *parts* (field, file name, content) as a form."""
    rows = [
        f'--b\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n\r\n'.encode() + data + b"\r\n"
        for field, name, data in parts
    ]
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    return server.client.request("POST", "/upload", b"".join([*rows, b"--b--\r\n"]), headers)


def test_upload(server: AgentServer) -> None:
    """An upload is kept under a name that its content decides, without the folders that it claims."""
    reply = upload(server, ("file", "../../a.txt", b"hello"))
    path = reply.json()["filePath"]
    assert reply.status == 200
    assert re.search(r"/agentapi-uploads-[^/]+/2cf24dba5fb0a30e/a\.txt$", path)
    assert path.startswith(str(server.directory))
    with open(path, "rb") as file:
        assert file.read() == b"hello"


def test_faulty_uploads(server: AgentServer) -> None:
    """No file, two files and no form are problems."""
    (error,) = problem(upload(server, ("other", "a", b"x")), 422, "validation failed")
    assert (error["message"], error["location"]) == ("File required", "file")
    (error,) = problem(upload(server, ("file", "a", b"x"), ("file", "b", b"y")), 422, "validation failed")
    assert error["message"] == "Multiple files received but only one was expected"
    reply = server.client.request("POST", "/upload", "{}", {"Content-Type": "application/json"})
    (error,) = problem(reply, 422, "validation failed")
    assert str(error["message"]).startswith("cannot read multipart form")


def test_event_stream_opens_with_everything(server: AgentServer) -> None:
    """A new reader gets all messages and then the status, whatever id it asks to go on from."""
    with server.client.events(Last_Event_ID="7") as events:
        events.until_stable()
        assert events.headers["Content-Type"] == "text/event-stream"
        assert events.headers["Cache-Control"] == "no-cache, no-store, must-revalidate"
        assert events.headers["X-Accel-Buffering"] == "no"
        first, last = events.seen
    assert first.name == "message_update"
    assert list(first.data) == ["id", "role", "message", "time"]
    assert first.data["message"].rstrip() == "hello from tui"
    assert {"status": "stable", "agent_type": "custom"}.items() <= last.data.items()
    assert first.frame.startswith(b'event: message_update\ndata: {"id":0,')


def test_screen_stream(server: AgentServer) -> None:
    """The screen as it is comes first; special characters are escaped."""
    with server.client.events("/internal/screen") as events:
        event = events.until(lambda event: event.name == "screen")
    assert [row.rstrip() for row in event.data["screen"].split("\n")][:2] == ["hello from tui", ">"]
    assert b"\\u003e" in event.frame


@pytest.mark.parametrize("target", ["/openapi.yaml", "/openapi-3.0.yaml"])
def test_openapi_as_yaml(server: AgentServer, target: str) -> None:
    """The description is there as YAML too, also in the older form."""
    reply = server.client.get(target)
    assert (reply.status, reply.media_type) == (200, "application/vnd.oai.openapi+yaml")
    assert b"/messages:" in reply.body


def test_older_openapi(server: AgentServer) -> None:
    """Tools that know OpenAPI 3.0 only are served."""
    reply = server.client.get("/openapi-3.0.json")
    assert (reply.status, reply.json()["openapi"]) == (200, "3.0.3")


def test_docs(server: AgentServer) -> None:
    """There is a page for people."""
    reply = server.client.get("/docs")
    assert (reply.status, reply.media_type) == (200, "text/html")


def test_a_body_that_stops_coming(server: AgentServer) -> None:
    """A body that does not come on is 408, and the connection is closed."""
    head = b"POST /message HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{"
    answer = server.client.raw(head)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"detail":"request body read timeout"' in answer


def test_connections_are_kept(server: AgentServer) -> None:
    """Several requests go over one connection, also in a row before the first is answered."""
    one = b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answer = server.client.raw(one + one + b"GET /nope HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert answer.count(b"HTTP/1.1 200 OK\r\n") == 2
    assert answer.count(b"HTTP/1.1 404 ") == 1
