"""The treq client against a whole daemon, and that it has every name that the blocking one has."""

from __future__ import annotations

import inspect
import re
from contextlib import aclosing
from typing import Any

import pytest
import pytest_twisted

from agentproxy.client import AsyncClient, Client, Refused, calls, people
from agentproxy.client.call import Call
from tests.daemon import Daemon
from tests.web.test_openapi import routes


@pytest_twisted.ensureDeferred
async def test_a_session_from_start_to_delete(daemon: Daemon) -> None:
    """Start, ask, follow the events, be refused, delete; nothing is left on the reactor."""
    client = AsyncClient(f"http://127.0.0.1:{daemon.port}")
    steps: list[str] = []
    session = await client.start(lambda event: steps.append(event.type), wait="listening")
    assert steps[-1] == "session.ready"
    assert "You said: hello" in await client.ask(session.session_id, "hello")
    kinds = []
    async with aclosing(client.events(session.session_id)) as events:
        async for event in events:
            kinds.append(event.type)
            if event.type == "delivery" and event.data["state"] == "answered":
                break
    assert kinds[0] == "session.queued"
    await client.delete(session.session_id)
    with pytest.raises(Refused) as caught:
        await client.get(session.session_id)
    assert caught.value.code == "session_not_found"


def test_both_clients_have_the_same_names() -> None:
    """What one can do, the other can, with the same arguments."""

    def names(kind: type) -> dict[str, list[str]]:
        found = inspect.getmembers(kind, inspect.isfunction)
        return {name: list(inspect.signature(one).parameters) for name, one in found if not name.startswith("_")}

    blocking, asynchronous = names(Client), names(AsyncClient)
    assert blocking == asynchronous


def test_every_route_has_a_call() -> None:
    """Whatever the API can do, the client can, but for what only a browser or a scraper asks."""
    made = [one for module in (calls, people) for one in vars(module).values() if inspect.isfunction(one)]
    asked = {shown(example(one)) for one in made if one.__module__ == module_of(one)}
    others = "oauth|docs|openapi|metrics|s/|health$|health/live|auth/status|sessions/status"
    wanted = {
        f"{one.method} {re.sub(r'<[^>]+>', 'X', one.path)}"
        for one in routes()
        if not re.match(rf"/({others})", one.path)
    }
    missing = wanted - asked - {f"POST /sessions/X/deliveries/X/{how}" for how in ("retry", "discard")}  # settle
    assert not missing


def module_of(one: Any) -> str:
    """Return the module that defined a function, when it is one of ours."""
    return one.__module__ if one.__module__ in (calls.__name__, people.__name__) else ""


def example(one: Any) -> Call[Any]:
    """Return a call with X for all that must be given."""
    wanted = [p for p in inspect.signature(one).parameters.values() if p.default is p.empty]
    given = {p.name: 1 if p.name in ("after", "amount") else "X" for p in wanted}
    found: Call[Any] = one(**given)
    return found


def shown(call: Call[Any]) -> str:
    """Return method and path."""
    return f"{call.method} {call.path}"
