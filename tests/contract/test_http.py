"""Routes, status codes, headers and JSON shapes of an agent server, on one that is stable and stays as it is."""

from __future__ import annotations

import re
import stat
from pathlib import Path

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
    reply = server.client.get("/?x=1")
    assert (reply.status, reply.headers["Location"]) == (307, "/chat/embed")
    assert (reply.media_type, b'href="/chat/embed"' in reply.body) == ("text/html", True)
    posted = server.client.request("POST", "/", b"")
    assert (posted.status, posted.body, posted.headers["Content-Type"]) == (307, b"", None)


def test_there_is_no_chat(server: AgentServer) -> None:
    """The pages of the chat are not in this program, which says so."""
    for target in ("/chat", "/chat/embed"):
        reply = server.client.get(target)
        assert (reply.status, reply.media_type) == (404, "text/plain")
        assert b"chat" in reply.body


def test_a_method_that_nobody_knows(server: AgentServer) -> None:
    """It is 405 on any path, and nothing is offered instead."""
    for target in ("/status", "/nope", "/"):
        reply = server.client.request("FOO", target)
        assert (reply.status, reply.headers["Allow"], reply.body) == (405, None, b"")


def test_known_schemas(server: AgentServer) -> None:
    """What ``$schema`` and ``Link`` name is there."""
    for name in (
        "StatusResponseBody",
        "MessagesResponseBody",
        "MessageResponseBody",
        "UploadResponseBody",
        "ErrorModel",
    ):
        reply = server.client.get(f"/schemas/{name}.json")
        assert (reply.status, reply.media_type, reply.json()["type"]) == (200, "application/json", "object")


def test_unknown_schema_is_null(server: AgentServer) -> None:
    """A schema that is not there is the JSON null."""
    reply = server.client.get("/schemas/Nothing.json")
    assert (reply.status, reply.body.strip()) == (200, b"null")


def test_openapi(server: AgentServer) -> None:
    """The description of the API names its routes."""
    reply = server.client.get("/openapi.json")
    assert (reply.status, reply.media_type) == (200, "application/vnd.oai.openapi+json")
    assert {"/status", "/messages", "/message", "/upload", "/events"} <= set(reply.json()["paths"])


def test_too_large_message(server: AgentServer) -> None:
    """A message of one MiB is 413."""
    reply = server.client.request("POST", "/message", b" " * 1048576, {"Content-Type": "application/json"})
    problem(reply, 413, "request body is too large limit=1048576 bytes")


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST", "localhost:99999", "127.0.0.1", "127.0.0.1:", "[::1]", "[::1]:80"]
)
def test_allowed_hosts(server: AgentServer, host: str) -> None:
    """The names of this machine are allowed, with any port; the schema is http for two spellings only."""
    reply = server.client.get("/status", Host=host)
    scheme = "http" if host.startswith(("localhost", "127.0.0.1")) else "https"
    assert (reply.status, reply.json()["$schema"]) == (200, f"{scheme}://{host}/schemas/StatusResponseBody.json")


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.",
        "127.0.0.2",
        "0.0.0.0",
        "::1",
        "",
        "localhost:abc",
        "127.0.0.1:80:80",
        "[::1",
        "[::1]x",
    ],
)
@pytest.mark.parametrize("target", ["/status", "/nope", "/"])
def test_foreign_hosts(server: AgentServer, host: str, target: str) -> None:
    """Any other name is refused on every path, before anything else."""
    reply = server.client.get(target, Host=host)
    assert (reply.status, reply.media_type) == (400, "text/plain")
    assert reply.body == b"Invalid host header. Allowed hosts: localhost, 127.0.0.1, ::1\n"
    assert reply.headers["Vary"] is None


@pytest.mark.parametrize("lines", [b"", b"Host: localhost\r\nHost: localhost\r\n", b"Host: user@localhost/x\r\n"])
def test_a_request_without_one_good_host(server: AgentServer, lines: bytes) -> None:
    """None, two, or a malformed one: refused before anything is looked at, and the connection is closed."""
    answer = server.client.raw(b"GET /status HTTP/1.1\r\n" + lines + b"\r\n")
    head = answer.partition(b"\r\n\r\n")[0]
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"\r\nConnection: close" in head


def test_the_request_line_names_the_host_too(server: AgentServer) -> None:
    """A request for a whole URL goes by the host in it."""
    answer = server.client.raw(b"GET http://localhost:1/nope HTTP/1.1\r\nHost: evil\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 404 ")


def test_old_http(server: AgentServer) -> None:
    """HTTP/1.0 needs a host as well, and its connection is closed after the answer."""
    assert server.client.raw(b"GET /status HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.0 400 ")
    assert server.client.raw(b"GET /status HTTP/1.0\r\nHost: localhost\r\n\r\n").startswith(b"HTTP/1.0 200 ")


def test_headers_of_an_answer(server: AgentServer) -> None:
    """Nothing but these, whatever is accepted: no compression, no negotiation, no name of a product."""
    reply = server.client.get("/status", Accept="application/xml", Accept_Encoding="gzip")
    assert sorted(reply.headers) == ["Content-Length", "Content-Type", "Date", "Link", "Vary"]
    assert reply.headers["Vary"] == "Origin"


def test_allowed_origin(server: AgentServer) -> None:
    """A page of an allowed origin may read answers."""
    reply = server.client.get("/status", Origin="http://localhost:3284")
    assert reply.headers["Access-Control-Allow-Origin"] == "http://localhost:3284"
    assert reply.headers["Access-Control-Allow-Credentials"] == "true"
    assert "Origin" in reply.headers["Vary"]


@pytest.mark.parametrize("origin", ["null", "https://evil.example", "http://localhost:3002"])
def test_foreign_origin(server: AgentServer, origin: str) -> None:
    """A page of another origin gets the answer without the headers that would let it read."""
    reply = server.client.get("/status", Origin=origin)
    assert reply.status == 200
    assert reply.headers["Access-Control-Allow-Origin"] is None


@pytest.mark.parametrize("target", ["/message", "/nope"])
def test_preflight(server: AgentServer, target: str) -> None:
    """A browser that asks first is told what is allowed, on any path."""
    reply = preflight(server, target, "http://localhost:3000", "POST", "content-type")
    assert (reply.status, reply.headers["Access-Control-Max-Age"]) == (200, "300")
    assert reply.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
    assert reply.headers["Access-Control-Allow-Credentials"] == "true"
    assert reply.headers["Access-Control-Allow-Methods"] == "POST"
    assert reply.headers["Access-Control-Allow-Headers"] == "Content-Type"
    assert (reply.headers["Access-Control-Expose-Headers"], reply.body) == (None, b"")


@pytest.mark.parametrize(
    ("origin", "method", "headers"),
    [
        ("https://evil.example", "GET", ""),
        ("http://localhost:3000", "PATCH", ""),
        ("http://localhost:3000", "GET", "x-own"),
    ],
)
def test_preflight_of_what_is_not_allowed(server: AgentServer, origin: str, method: str, headers: str) -> None:
    """The answer is 200 and allows nothing."""
    reply = preflight(server, "/status", origin, method, headers)
    assert reply.status == 200
    assert not [name for name in reply.headers if name.startswith("Access-Control-")]
    assert reply.headers.get_all("Vary") == [
        "Origin",
        "Access-Control-Request-Method",
        "Access-Control-Request-Headers",
    ]


def preflight(server: AgentServer, target: str, origin: str, method: str, headers: str) -> Reply:
    """Ask as a browser does before it sends."""
    asked = {"Origin": origin, "Access-Control-Request-Method": method}
    if headers:
        asked["Access-Control-Request-Headers"] = headers
    return server.client.request("OPTIONS", target, headers=asked)


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


def test_names_and_sizes_of_uploads(server: AgentServer) -> None:
    """The folders of a name go, backslashes and foreign letters stay; 10 MiB are taken, one byte more is not."""
    for given, kept in [
        ("../../etc/x", "x"),
        ("c:\\x\\y.txt", "c:\\x\\y.txt"),
        ("\u00e9\u65e5.txt", "\u00e9\u65e5.txt"),
    ]:
        path = Path(upload(server, ("file", given, b"hello")).json()["filePath"])
        assert (path.name, path.read_bytes()) == (kept, b"hello")
    modes = [stat.S_IMODE(each.stat().st_mode) for each in (path, path.parent, path.parent.parent)]
    assert modes == [0o644, 0o755, 0o700]
    assert upload(server, ("file", "big", b"x" * 10_485_760)).status == 200
    problem(upload(server, ("file", "big", b"x" * 10_485_761)), 400, "file size exceeds 10MB limit")


HALF_A_FORM = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhalf'


@pytest.mark.parametrize(
    ("media_type", "body", "told"),
    [
        ("multipart/form-data", b"", "no multipart boundary param in Content-Type"),
        ("multipart/form-data; boundary=b", b"", "multipart: NextPart: EOF"),
        ("multipart/form-data; boundary=b", HALF_A_FORM, "unexpected EOF"),
        ("text/plain", b"x", "request Content-Type isn't multipart/form-data"),
    ],
)
def test_forms_that_cannot_be_read(server: AgentServer, media_type: str, body: bytes, told: str) -> None:
    """What is wrong with a form is said; half a form is no form."""
    reply = server.client.request("POST", "/upload", body, {"Content-Type": media_type})
    (error,) = problem(reply, 422, "validation failed")
    assert error["location"] == "body"
    assert str(error["message"]).startswith("cannot read multipart form: ")
    assert told in str(error["message"])


def test_an_upgrade_is_not_taken(server: AgentServer) -> None:
    """There is no WebSocket at the routes of agentapi: the request is answered as any other."""
    assert server.client.get("/status", Upgrade="websocket", Connection="Upgrade").status == 200


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
