"""The tree of a listener: who asks, what a browser may read, and the headers of every answer of ours."""

from __future__ import annotations

import json
from typing import Any

import pytest
from treq.testing import StubTreq
from twisted.internet.defer import ensureDeferred
from twisted.web.http import Request

from agentproxy.errors import UNAUTHENTICATED, Refusal
from agentproxy.model.cors import CorsRules
from agentproxy.model.principal import Principal
from agentproxy.web.answers import answer
from agentproxy.web.routing import Face, route
from agentproxy.web.site import Root


class Part:
    """A part with an open route and one for known callers."""

    @route("GET", "/open", open=True)
    async def open_to_all(self, request: Request, caller: Principal) -> bytes:
        """Say who asked."""
        return answer(request, {"caller": caller.user_id})

    @route("GET", "/things/<thing>")
    async def thing(self, request: Request, caller: Principal, thing: str) -> bytes:
        """Say who asked for what."""
        return answer(request, {"caller": caller.user_id, "thing": thing})


async def identify(request: Request) -> Principal:
    """Know ann by her key and nobody else."""
    if request.getHeader("x-api-key") != "ann's":
        raise Refusal(UNAUTHENTICATED)
    return Principal("ann")


@pytest.fixture
def client() -> StubTreq:
    """Return a client of the tree, without a socket."""
    cors = CorsRules(frozenset({"https://ui.example.org"}))
    return StubTreq(Root(Face([Part()], identify).app.resource(), lambda _uri: False, cors))


async def ask(client: StubTreq, method: str, path: str, **headers: str) -> tuple[int, Any, dict[str, str]]:
    """Return status, JSON body and headers of an answer."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    asking = client.request(method, f"http://proxy.test{path}", headers=sent)
    client.flush()
    answered = await asking
    reading = client.content(answered)
    client.flush()
    text = await reading
    found = {k.decode().lower(): v[0].decode() for k, v in answered.headers.getAllRawHeaders()}
    return answered.code, json.loads(text) if text else None, found


def test_a_route_is_answered_for_a_known_caller_only(client: StubTreq) -> Any:
    """Without an identity a route is 401 in our shape; an open one answers everybody."""

    async def steps() -> None:
        assert (await ask(client, "GET", "/things/a%20b", x_api_key="ann's"))[1] == {"caller": "ann", "thing": "a b"}
        code, body, _headers = await ask(client, "GET", "/things/x")
        assert (code, body["code"]) == (401, "unauthenticated")
        assert (await ask(client, "GET", "/open"))[1] == {"caller": ""}

    return ensureDeferred(steps())


def test_answers_and_refusals_say_who_may_read_them(client: StubTreq) -> Any:
    """An allowed origin is echoed on answers and on refusals; another one gets no permission."""

    async def steps() -> None:
        for path in ("/open", "/things/x", "/nowhere"):
            headers = (await ask(client, "GET", path, origin="https://ui.example.org"))[2]
            assert headers["access-control-allow-origin"] == "https://ui.example.org"
            assert headers["x-content-type-options"] == "nosniff"
            stranger = (await ask(client, "GET", path, origin="https://ui.example.org.evil"))[2]
            assert "access-control-allow-origin" not in stranger
            assert stranger["vary"] == "Origin"

    return ensureDeferred(steps())


def test_a_preflight_is_answered_without_an_identity(client: StubTreq) -> Any:
    """A browser asks before it sends a key: 204, with the methods and headers for an allowed origin."""

    async def steps() -> None:
        code, body, headers = await ask(client, "OPTIONS", "/things/x", origin="https://ui.example.org")
        assert (code, body) == (204, None)
        assert "DELETE" in headers["access-control-allow-methods"]
        assert "Idempotency-Key" in headers["access-control-allow-headers"]
        code, _body, headers = await ask(client, "OPTIONS", "/things/x", origin="https://evil.example")
        assert code == 204
        assert "access-control-allow-methods" not in headers

    return ensureDeferred(steps())


def test_a_wrong_method_names_the_right_ones(client: StubTreq) -> Any:
    """405 lists what the path takes."""

    async def steps() -> None:
        code, body, headers = await ask(client, "POST", "/open")
        assert (code, body["code"], headers["allow"]) == (405, "method_not_allowed", "GET")

    return ensureDeferred(steps())


def test_every_answer_has_the_id_of_its_request(client: StubTreq) -> Any:
    """The client's own where it is a good one; else a new one; on refusals too."""

    async def steps() -> None:
        assert (await ask(client, "GET", "/open", x_request_id="mine"))[2]["x-request-id"] == "mine"
        assert (await ask(client, "GET", "/nowhere", x_request_id="mine"))[2]["x-request-id"] == "mine"
        made = [(await ask(client, "GET", "/things/x", x_request_id="not good"))[2]["x-request-id"] for _ in range(2)]
        assert "not good" not in made
        assert made[0] != made[1]

    return ensureDeferred(steps())
