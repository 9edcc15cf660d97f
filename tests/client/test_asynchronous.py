"""The treq client against a whole daemon, and that it has every name that the blocking one has."""

from __future__ import annotations

import inspect
from contextlib import aclosing

import pytest
import pytest_twisted

from agentproxy.client import Client, Refused
from agentproxy.client.asynchronous import AsyncClient
from tests.daemon import Daemon


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
    assert set(blocking) - set(asynchronous) == {"follow_log", "stream"}
    assert {name: blocking[name] for name in asynchronous} == asynchronous
