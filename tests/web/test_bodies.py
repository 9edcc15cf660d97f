"""A body is JSON, whatever its type says: nothing in it is taken for a parameter of the request."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from twisted.internet.testing import StringTransport
from twisted.web.http import Request

from agentproxy.model.principal import LOCAL, Principal
from agentproxy.web import wire
from agentproxy.web.access_log import LoggingSite
from agentproxy.web.answers import answer
from agentproxy.web.routing import Face, route


class Part:
    """A route that says what it was given."""

    @route("POST", "/said")
    async def said(self, request: Request, caller: Principal) -> bytes:
        """Repeat query and body."""
        assert request.content is not None
        return answer(request, {"query": wire.query(request), "body": request.content.read().decode()})


async def identify(_request: Request) -> Principal:
    """Know everybody."""
    return LOCAL


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data", "application/json"])
def test_a_body_is_no_form(kind: str) -> None:
    """curl calls what it sends a form; an address in a message must not become a parameter of the request."""
    body = '{"message": "look at http://a.test/?x=1&wait=5&user_id=bob&z=1"}'
    site = cast(Any, LoggingSite)(Face([Part()], identify).app.resource())
    channel, transport = site.buildProtocol(None), StringTransport()
    channel.callLater = lambda *_args, **_named: None
    channel.makeConnection(transport)
    head = f"POST /said?wait=none&tag.a=b%20c+d&empty= HTTP/1.0\r\nHost: proxy.test\r\nContent-Type: {kind}\r\n"
    channel.dataReceived(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
    answered = transport.value().partition(b"\r\n\r\n")
    assert answered[0].startswith(b"HTTP/1.0 200 "), answered
    assert json.loads(answered[2]) == {"query": {"wait": "none", "tag.a": "b c d", "empty": ""}, "body": body}
