"""Nobody is let in: every route of the face and every way through the gateway refuses a stranger.

The routes are those of the classes that make the face; one test holds them against the tree of the daemon that is attacked, and the
ways against those of the listening protocol. A route with a field that this test cannot fill fails it: say in ``FIELDS`` what a
stranger would put there.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentproxy.gateway.connection import FrontProtocol
from agentproxy.web.routing import Route, routes_of
from tests.journeys.people import KEYS, GuardedDaemon
from tests.test_docs import parts
from tests.waiting import wait_for

UNKNOWN = "00000000-0000-4000-8000-000000000000"
ROUTES = sorted(
    {(one.method, one.path): one for part in parts() for one in routes_of(part)}.values(),
    key=lambda one: (one.path, one.method),
)
FIELDS = {
    "session_id": "",  # the session
    "token_id": "0123456789abcdef",
    "token": "0" * 32,
    "name": "alice",
    "login_id": "0123456789abcdef",
    "grantee": "user:bob",
    "rest": "status",
}
"""What a stranger puts into a path; ids that only their owner can know are guessed."""
GUESSED = "guessed-0123456789abcdef"
QUERIES = {"/sessions/status/wait": "?timeout=1", "/sessions/<session_id>/messages/wait": "?timeout=1"}
OPEN = {"/health", "/health/live", "/health/ready", "/auth/types", "/auth/status"}
"""What a logged-out front end and a load balancer may use. Nothing else may be open but the log-in itself."""
LOG_IN = re.compile(r"/oauth/|/oidc/|/auth/(login|callback)")
PAGES = {"/openapi.json", "/docs", "/docs/<name>", "/openapi.yaml"}
"""Documents that are the same for everybody."""


class ToldDaemon(GuardedDaemon):
    """A daemon that writes down its routes."""

    program = (str(Path(__file__).with_name("telling.py")),)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedDaemon]:
    """A daemon with a session of Alice's."""
    running = ToldDaemon(tmp_path_factory.mktemp("daemon"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def session_id(daemon: GuardedDaemon) -> str:
    """A running session of Alice's that says a word which nobody else may read."""
    return daemon.started("alice", message="xyzzy-secret", tags={"plugh": "xyzzy-secret"}, description="xyzzy-secret")


def filled(one: Route, session_id: str) -> str:
    """Return the path of a route with its fields filled."""

    def value(match: re.Match[str]) -> str:
        name = match[1].rpartition(":")[2]
        if name == "session_id":
            return session_id
        assert name in FIELDS or name.endswith("_id") or name in ("number", "key"), f"say in FIELDS what {name} is"
        return FIELDS.get(name, GUESSED)

    return re.sub(r"<([^>]+)>", value, one.path) + QUERIES.get(one.path, "")


def answered(
    daemon: GuardedDaemon, method: str, target: str, name: str | None, body: bytes = b"{}", **more: str
) -> tuple[int, bytes, str]:
    """Return status, body and content type; the body of a stream is left out, for it does not end."""
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **more}
    if name is not None:
        headers["X-API-Key"] = KEYS.get(name, name)
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=40)
    try:
        connection.request(method, target, body, headers)
        answer = connection.getresponse()
        kind = answer.headers.get("Content-Type", "")
        return answer.status, b"" if kind.startswith("text/event-stream") else answer.read(), kind
    finally:
        connection.close()


def is_fixed(one: Route) -> bool:
    """Return whether a route is there in every configuration, under a path without fields."""
    return "<" not in one.path and not LOG_IN.match(one.path)


def named(one: Route) -> str:
    """Return how a route is called in the list of tests."""
    return f"{one.method} {one.path}"


def test_there_are_routes_to_try() -> None:
    """The list is the whole face: it has what everybody knows of it."""
    assert {"POST /start", "GET /search", "DELETE /sessions/<session_id>", "GET /audit"} <= {
        named(one) for one in ROUTES
    }


def test_the_list_is_the_live_tree(daemon: GuardedDaemon) -> None:
    """What the running daemon answers is what is tried here, route by route, and the sessions' own paths."""
    path = daemon.log.with_name("routes.json")
    live = json.loads(wait_for("the routes are told", lambda: path.exists() and path.read_text()))
    wanted = {named(one) for one in ROUTES} | {"ANY /<session_id>/<path:rest>"}
    assert {f"{method} {path}" for method, path in live} == wanted


def test_every_way_of_the_listening_protocol_is_tried() -> None:
    """A request becomes an exchange with an agent server, perhaps a tunnel, or a turn of the site; each way is attacked here."""
    ways = set(FrontProtocol.__annotations__["_turn"].split(" | ")) - {"None"}
    tried = {
        "Exchange": test_the_gateway_refuses_strangers,
        "Tunnel": test_a_web_socket_refuses_strangers,
        "SiteTurn": test_somebody_without_a_key_gets_401,
    }
    assert ways == set(tried), "attack the new way too, and say here which test does"


@pytest.mark.parametrize("one", ROUTES, ids=named)
def test_somebody_without_a_key_gets_401(one: Route, daemon: GuardedDaemon, session_id: str) -> None:
    """Every route but the open ones says 401 and nothing else, before it looks at anything."""
    status, body, _kind = answered(daemon, one.method, filled(one, session_id), None)
    if one.open:
        assert one.path in OPEN | PAGES or LOG_IN.match(one.path), "an open route: is it meant to be?"
        assert b"xyzzy" not in body
        assert session_id.encode() not in body
    else:
        assert (status, b'"unauthenticated"' in body) == (401, True)


@pytest.mark.parametrize("one", [one for one in ROUTES if "<session_id>" in one.path], ids=named)
def test_a_strangers_session_is_like_one_that_does_not_exist(
    one: Route, daemon: GuardedDaemon, session_id: str
) -> None:
    """Another user gets the answer of an id that nobody has, byte for byte but for the id; the administrator gets further."""
    status, body, _kind = answered(daemon, one.method, filled(one, session_id), "bob")
    nowhere, missing, _kind = answered(daemon, one.method, filled(one, UNKNOWN), "bob")
    assert (status, body) == (nowhere, missing.replace(UNKNOWN.encode(), session_id.encode()))
    assert status in (400, 404), body
    # A body may be looked at first; what is wrong with it says nothing of the session.
    assert (b'"invalid_request"' if status == 400 else b'"session_not_found"') in body


@pytest.mark.parametrize("one", [one for one in ROUTES if "<session_id>" not in one.path and not one.open], ids=named)
def test_no_other_route_tells_of_a_strangers_session(one: Route, daemon: GuardedDaemon, session_id: str) -> None:
    """Lists, waits and reports for another user do not mention the session, its owner's words or its tags."""
    status, body, _kind = answered(daemon, one.method, filled(one, session_id), "bob")
    assert b"xyzzy" not in body
    assert session_id.encode() not in body
    assert status != 500
    if "_id>" in one.path or "<name>" in one.path or one.path.startswith(("/auth/accounts", "/audit", "/metrics")):
        assert status in (400, 403, 404), body


@pytest.mark.parametrize("one", [one for one in ROUTES if one.method == "GET" and is_fixed(one)], ids=named)
def test_the_routes_are_really_there(one: Route, daemon: GuardedDaemon) -> None:
    """The administrator does not get "no such route": what strangers were refused exists."""
    status, body, _kind = answered(daemon, one.method, one.path + QUERIES.get(one.path, ""), "root")
    assert b'"not_found"' not in body
    assert status < 500 or b'"push_unavailable"' in body, body  # no key for notifications is configured


READ = ("Accept", "Idempotency-Key", "Last-Event-ID", "Origin", "X-Session-ID", "X-Request-ID", "User-Agent", "Cookie")
"""Headers that routes read."""


@pytest.mark.parametrize("one", ROUTES, ids=named)
def test_bytes_that_are_no_text_break_no_route(one: Route, daemon: GuardedDaemon, session_id: str) -> None:
    """A header that is not UTF-8 is refused or goes unheard; it is no defect of the server."""
    for name in READ:
        status, body, _kind = answered(daemon, one.method, filled(one, session_id), "bob", **{name: "caf\xe9"})
        assert status != 500, (name, body)


FORWARDED = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"]
TARGETS = ["status", "messages", "events", "message", "internal/screen", "openapi.json", "", "%2e/status", "a//b"]


@pytest.mark.parametrize("method", FORWARDED)
@pytest.mark.parametrize("target", TARGETS)
def test_the_gateway_refuses_strangers(method: str, target: str, daemon: GuardedDaemon, session_id: str) -> None:
    """Whatever the method and path: 401 without a key; for another user what a missing session gets."""
    path = f"/{session_id}/{target}"
    assert answered(daemon, method, path, None)[0] == 401
    status, body, _kind = answered(daemon, method, path, "bob")
    nowhere, missing, _kind = answered(daemon, method, f"/{UNKNOWN}/{target}", "bob")
    assert (status, body) == (nowhere, missing.replace(UNKNOWN.encode(), session_id.encode()))
    assert status == 404


def shaken(daemon: GuardedDaemon, target: str, name: str | None, *headers: str) -> int:
    """Return the status that answers a handshake for a WebSocket, as somebody of :data:`KEYS` or with a secret."""
    key = [f"X-API-Key: {KEYS.get(name, name)}"] if name else []
    lines = [
        f"GET {target} HTTP/1.1", "Host: localhost", "Connection: Upgrade", "Upgrade: websocket",
        "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", *key, *headers, "", "",
    ]  # fmt: skip
    with socket.create_connection(("127.0.0.1", daemon.port), 40) as connection:
        connection.sendall("\r\n".join(lines).encode())
        return int(connection.recv(12)[9:12])


@pytest.mark.parametrize("target", ["ws", "terminal", "events", "%74erminal"])
def test_a_web_socket_refuses_strangers(target: str, daemon: GuardedDaemon, session_id: str) -> None:
    """The handshake is answered with the same refusal, not with 101."""
    assert shaken(daemon, f"/{session_id}/{target}", None) == 401
    assert shaken(daemon, f"/{session_id}/{target}", "bob") == 404


GETS = [one for one in ROUTES if one.method == "GET"]


@pytest.mark.parametrize("one", [one for one in GETS if not one.open], ids=named)
def test_our_own_web_sockets_refuse_strangers(one: Route, daemon: GuardedDaemon, session_id: str) -> None:
    """A handshake on any route opens nothing for nobody, and nothing of a session for another user or a foreign page."""
    path = filled(one, session_id)
    assert shaken(daemon, path, None) == 401
    if "<session_id>" in one.path:
        assert shaken(daemon, path, "bob") in (400, 404)
    foreign = shaken(daemon, path, "alice", "Origin: https://evil.example")
    assert foreign != 101, "a page of another origin has opened a WebSocket"


def test_a_limited_token_does_only_what_it_is_for(daemon: GuardedDaemon, session_id: str) -> None:
    """A token of Alice's for lists alone reads nothing, sends nothing and makes no tokens, on any route of her session."""
    wish = {"name": "lists", "scopes": ["session.list:own"]}
    made = daemon.ask("alice", "POST", "/auth/tokens", wish).json()["token"]
    wrong = {}
    for one in ROUTES:
        if "<session_id>" in one.path:
            status, _body, _kind = answered(daemon, one.method, filled(one, session_id), made)
            if status not in (400, 404):
                wrong[named(one)] = status
    assert wrong == {}
    assert [answered(daemon, method, f"/{session_id}/status", made)[0] for method in ("GET", "POST")] == [404, 404]
    assert shaken(daemon, f"/{session_id}/terminal", made) == 404
    assert daemon.ask(made, "POST", "/auth/tokens", {}).status == 403


BODIES = {
    "PATCH /sessions/<session_id>": b'{"description": "changed"}',
    "POST /sessions/<session_id>/messages": b'{"content": "changed"}',
    "PATCH /sessions/<session_id>/deliveries/<delivery_id>": b'{"content": "changed"}',
    "POST /sessions/<session_id>/keyboard": b'{"action": "take"}',
    "PUT /sessions/<session_id>/access/<path:grantee>": b'{"access": "write"}',
}
"""What would change something, where an empty body would not."""
READS = {"GET", "HEAD", "OPTIONS"}


def test_a_reader_changes_nothing(daemon: GuardedDaemon, session_id: str) -> None:
    """With whom Alice shares her session for reading reads it, and is refused whatever changes something, on every route."""
    path = f"/sessions/{session_id}/access/user:carl"
    assert daemon.ask("alice", "PUT", path, {"access": "read"}).status == 200
    try:
        assert answered(daemon, "GET", f"/sessions/{session_id}", "carl")[0] == 200
        later = {"content": "later"}
        said = daemon.ask("alice", "POST", f"/sessions/{session_id}/messages", later)
        assert said.status == 202, said.body
        delivery = said.json()["delivery_id"]
        wrong = {}
        for one in ROUTES:
            if "<session_id>" in one.path and one.method not in READS:
                target = filled(one, session_id).replace(GUESSED, delivery)
                status, body, _kind = answered(daemon, one.method, target, "carl", BODIES.get(named(one), b"{}"))
                if status != 403:
                    wrong[named(one)] = (status, body)
        assert wrong == {}
        for method in ("POST", "PUT", "PATCH", "DELETE", "PROPFIND"):
            assert answered(daemon, method, f"/{session_id}/message", "carl")[0] == 403
        assert shaken(daemon, f"/{session_id}/terminal", "carl") == 403
        assert daemon.ask("alice", "GET", f"/sessions/{session_id}").json()["phase"] == "ready"
    finally:
        assert daemon.ask("alice", "DELETE", path).status == 200


def test_a_link_for_reading_opens_nothing_else(daemon: GuardedDaemon, session_id: str) -> None:
    """Only the session's own paths, only for reading, and only with a key; no way out of it leads to another place."""
    other = daemon.started("alice")
    link = daemon.ask("alice", "POST", f"/sessions/{session_id}/share").json()["share_url"]
    assert answered(daemon, "GET", f"{link}status", "bob")[0] == 200
    assert answered(daemon, "GET", f"{link}status", None)[0] == 401
    for method in ("POST", "PUT", "PATCH", "DELETE", "PROPFIND"):
        assert answered(daemon, method, f"{link}message", "bob")[0] == 403
    assert shaken(daemon, f"{link}terminal", "bob") == 403
    for rest in (f"../{other}/status", f"..%2f{other}/status", f"%2e%2e/{other}/status", "../../search"):
        assert answered(daemon, "GET", link + rest, "bob")[0] in (400, 404), rest
    for path in (link.upper(), link[:-2] + "/status", "/s//status", f"/s/{session_id}/status"):
        assert answered(daemon, "GET", path, "bob")[0] in (308, 404), path
    assert answered(daemon, "GET", f"/sessions/{session_id}", "bob")[0] == 404
    assert daemon.ask("alice", "DELETE", f"/sessions/{session_id}/share").status == 200


@pytest.mark.parametrize("framing", ["Content-Length: 99999999999", "Transfer-Encoding: chunked"])
def test_a_stranger_fills_no_disk(framing: str, daemon: GuardedDaemon) -> None:
    """A body over the limit is refused while it comes, before anybody has asked who sends it."""
    chunks = b"" if "Length" in framing else (b"100000\r\n" + b"x" * 0x100000 + b"\r\n") * 17
    head = f"POST /start HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n".encode()
    assert daemon.client.raw(head + chunks).startswith(b"HTTP/1.1 413 ")


PEER_DEFECTS: dict[str, dict[str, str]] = {
    "a token that begins with user_": {"Authorization": "Bearer user_alice"},
    "an AWS key id without its secret": {"Authorization": "Basic QUtJQUlPU0ZPRE5ON0VYQU1QTEU6"},
    "a user name in a header": {"X-User-ID": "alice"},
    "an unknown log-in": {"X-Session-ID": "00000000-0000-4000-8000-000000000000"},
    "a prefix of a key": {"X-API-Key": KEYS["alice"][:-1]},
    "a key and more": {"X-API-Key": KEYS["alice"] + "0"},
    "the name of a key's user": {"X-API-Key": "alice"},
}


@pytest.mark.parametrize("headers", PEER_DEFECTS.values(), ids=list(PEER_DEFECTS))
def test_what_opened_agentapi_proxy_opens_nothing_here(headers: dict[str, str], daemon: GuardedDaemon) -> None:
    """The known back doors: one answer for all of them."""
    reply: Any = daemon.client.request("GET", "/search", headers=headers)
    assert reply.status in (401, 429)
    assert reply.json()["code"] in ("unauthenticated", "too_many_requests")
    assert "WWW-Authenticate" not in reply.headers


def test_a_preflight_and_health_need_no_key(daemon: GuardedDaemon, session_id: str) -> None:
    """A browser and a load balancer ask before they can show a key; what they learn is nothing."""
    ask = {"Origin": "http://localhost:3000", "Access-Control-Request-Method": "DELETE"}
    for path in (
        f"/sessions/{session_id}",
        f"/{session_id}/message",
        f"/{UNKNOWN}/message",
        f"/sessions/{session_id}/share",
    ):
        reply = daemon.client.request("OPTIONS", path, headers=ask)
        assert (reply.status, reply.body) == (204, b"")
        assert "X-API-Key" in reply.headers["Access-Control-Allow-Headers"]
    assert daemon.client.get("/health").json() == {"status": "ok"}


def test_a_stranger_hears_nothing_on_the_stream_of_everything(daemon: GuardedDaemon, session_id: str) -> None:
    """What happens to Alice's session is not told to Bob, whose own session's events come."""
    with daemon.client.events("/events", X_API_Key=KEYS["bob"], Accept="text/event-stream") as stream:
        assert (
            daemon.ask("alice", "PATCH", f"/sessions/{session_id}", {"description": "xyzzy-secret again"}).status == 200
        )
        bobs = daemon.started("bob")
        stream.until(lambda event: bobs in event.frame.decode())
        heard = b"".join(event.frame for event in stream.seen)
    assert session_id.encode() not in heard
    assert b"xyzzy" not in heard
