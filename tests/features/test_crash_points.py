"""A server that dies between any two durable steps of a start, a stop and a delete: the next one tells the truth.

The store of the first server takes so many writes and then answers no more, which is how its death looks to everybody
else. Processes, directories and the database are real; a second server takes over.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor

from agentproxy.features.clearing import Clearing
from agentproxy.model.principal import LOCAL
from agentproxy.model.session import EndReason, Phase
from agentproxy.model.start import StartRequest, Wait
from agentproxy.store import Store
from tests.features.life_scene import Server, left_of

MOST = 24
"""More writes than a start, a stop and a delete need."""


async def life(server: Server) -> str | None:
    """Start a session, stop it and delete it, as far as the store goes; return its id if it was told."""
    wish = StartRequest(agent="demo", wait=Wait.NONE)
    view = await server.unless_dead("start", server.sessions.start(LOCAL, wish))
    session_id: str = view.session.id
    living = server.sessions.current(session_id)
    await server.unless_dead("ready", _until_ready(living))
    await server.unless_dead("stop", server.sessions.stop(LOCAL, session_id))
    await server.unless_dead("delete", server.sessions.delete(LOCAL, session_id))
    return session_id


async def _until_ready(living: Any) -> None:
    await living.decided()
    await living.written()


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")  # what the dead server was about to write
@pytest.mark.parametrize("writes", range(MOST))
@pytest_twisted.ensureDeferred
async def test_the_next_server_tells_the_truth(tmp_path: Path, writes: int) -> None:
    """What was answered is so, what runs is ready and known, what has ended has left nothing."""
    first = Server(tmp_path, writes)
    await first.open()
    try:
        await life(first)
    except BaseException as error:  # cancelled where the store died
        assert first.store.died.called, error
    await first.die()

    second = Server(tmp_path)
    await second.open()
    try:
        await _settled(second)
        await _is_true(first.acknowledged, second)
        if writes == MOST - 1:
            assert first.acknowledged == {"start", "ready", "stop", "delete"}
    finally:
        await second.incarnations.close()
        for session in await _all(second.store):
            assert await left_of(second.store, session.id) == []
        await second.store.close()


async def _settled(server: Server) -> None:
    for living in server.sessions.living():
        await living.decided().addTimeout(60, reactor)  # type: ignore[arg-type]
        await living.written()
    await Clearing(server.store, server.directories).clear()


async def _all(store: Store) -> list[Any]:
    events = await store.events(None, 0, 1000, ("session.queued",))
    return [await store.session(event.session_id) for event in events]


async def _is_true(acknowledged: set[str], server: Server) -> None:
    sessions = await _all(server.store)
    assert len(sessions) <= 1
    assert sessions or "start" not in acknowledged
    for session in sessions:
        running = await left_of(server.store, session.id)
        closed = [one.ended_at is not None for one in await server.store.incarnations(session.id)]
        if session.phase is Phase.ENDED:
            assert session.ending is not None
            assert (running, all(closed)) == ([], True)
            assert session.ending.reason in (EndReason.STOPPED, EndReason.LOST)
        else:
            assert (session.phase, bool(running), closed.count(False)) == (Phase.READY, True, 1)
        if "start" in acknowledged and "ready" not in acknowledged and session.ending is not None:
            assert session.ending.reason is EndReason.STOPPED, "a start that was answered is finished"
        if "stop" in acknowledged:
            assert (session.phase, session.ending.reason) == (Phase.ENDED, EndReason.STOPPED)
        assert (session.deleted_at is not None) or "delete" not in acknowledged
        if session.deleted_at is not None:
            assert not server.directories.of(session.id).root.exists()
