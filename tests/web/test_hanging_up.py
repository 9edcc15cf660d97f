"""What becomes of a request whose client hangs up before it is answered."""

from __future__ import annotations

from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.http import Request
from twisted.web.server import Site

from agentproxy.model.principal import LOCAL, Principal
from agentproxy.web.answers import answer
from agentproxy.web.routing import Face, route


class Part:
    """Routes that need a moment, and what they have done then."""

    def __init__(self) -> None:
        self.moment: Deferred[None] = Deferred()
        self.done: list[str] = []

    async def _work(self, request: Request, name: str) -> bytes:
        await self.moment
        self.done.append(name)
        return answer(request, {})

    @route("GET", "/read")
    async def read(self, request: Request, caller: Principal) -> bytes:
        """Read."""
        return await self._work(request, "read")

    @route("POST", "/change")
    async def change(self, request: Request, caller: Principal) -> bytes:
        """Change."""
        return await self._work(request, "change")

    @route("POST", "/wait", waits=True)
    async def wait(self, request: Request, caller: Principal) -> bytes:
        """Wait."""
        return await self._work(request, "wait")


async def identify(_request: Request) -> Principal:
    """Know everybody."""
    return LOCAL


@pytest.mark.parametrize(
    ("request_line", "done"), [("GET /read", []), ("POST /change", ["change"]), ("POST /wait", [])]
)
def test_what_changes_something_goes_on(request_line: str, done: list[str]) -> None:
    """A reader that leaves costs nothing more; a change is not left halfway, unless its route says that it only waits."""
    part = Part()
    channel = cast(Any, Site(Face([part], identify).app.resource())).buildProtocol(None)
    channel.callLater = lambda *_args, **_named: None
    channel.makeConnection(StringTransport())
    channel.dataReceived(f"{request_line} HTTP/1.1\r\nHost: proxy.test\r\nContent-Length: 0\r\n\r\n".encode())
    channel.connectionLost(Failure(ConnectionLost()))
    part.moment.callback(None)
    assert part.done == done
