"""A server that dies between any two durable steps of a start, a stop and a delete: the next one tells the truth.

The store of the first server takes so many writes and then answers no more, which is how its death looks to everybody
else. Processes, directories and the database are real; a second server takes over.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from agentproxy.features.adopting import Adopter
from agentproxy.features.clearing import Clearing
from agentproxy.features.making import Maker, Terms
from agentproxy.features.preparing import Kitchen
from agentproxy.features.sessions import Sessions
from agentproxy.model.principal import LOCAL
from agentproxy.model.session import EndReason, Phase
from agentproxy.model.start import StartRequest, Wait
from agentproxy.runtime import catalogue, orphans
from agentproxy.runtime.clone import Cloner, CloneRules
from agentproxy.runtime.directories import Directories
from agentproxy.runtime.env_files import EnvFiles
from agentproxy.runtime.homes import Homes
from agentproxy.runtime.limits import Limits
from agentproxy.runtime.ports import Ports
from agentproxy.runtime.scripts import Scripts
from agentproxy.runtime.start_queue import StartQueue
from agentproxy.runtime.starting import Ground
from agentproxy.runtime.watching import read_boot_id
from agentproxy.store import Sealer, Store
from tests.runtime.test_supervisor import Script

ANSWERING = """
import socket, subprocess, sys
subprocess.Popen(["setsid", "sleep", "600"])
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    with server.accept()[0] as one:
        one.recv(65536)
        one.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\n{}")
"""
MOST = 24
"""More writes than a start, a stop and a delete need."""


class DyingStore(Store):
    """A store that takes ``left`` writes and then answers no more; ``died`` fires when the first one is not taken."""

    left = 1_000_000

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.died: Deferred[None] = Deferred()

    def _open_writer(self) -> Any:
        writer = super()._open_writer()
        if self.left <= 0:
            if not self.died.called:
                self.died.callback(None)
            return _Dead()
        self.left -= 1
        return writer


class _Dead:
    """What is written to it is never answered."""

    def write(self, _work: Any) -> Deferred[Any]:
        return Deferred()

    def append(self, _entries: Any) -> Deferred[Any]:
        return Deferred()


@dataclass
class Server:
    """All of a server but its faces."""

    directory: Path
    writes: int = 1_000_000
    acknowledged: set[str] = field(default_factory=set)

    async def open(self) -> None:
        """Open the store and take over."""
        self.store = DyingStore(reactor, None, self.directory, secrets=Sealer.from_directory(self.directory))
        await self.store.open()
        ground = Ground(reactor, Ports(24000, 24999), StartQueue(4, 10), read_boot_id())
        self.directories = Directories(self.directory / "sessions")
        kitchen = Kitchen(
            catalogue=catalogue.load({}),
            directories=self.directories,
            homes=Homes(self.directory / "homes"),
            scripts=Scripts({}, lambda _name: None),
            env_files=EnvFiles(None),
            cloner=Cloner(reactor, reactor, ("git",), CloneRules(), {}),  # type: ignore[arg-type]
            server_environment=lambda _needs: {"PATH": "/usr/bin:/bin"},
        )
        terms = Terms(lambda: Script(ANSWERING), 30, 30, None, 30, 80, 24, Limits(), stop_grace=5)
        self.maker = Maker(kitchen, ground, terms, self.store, lambda living: self.sessions.ended(living))
        self.sessions = Sessions(self.store, self.maker)
        await Adopter(self.store, self.sessions, self.maker, read_boot_id(), adopting=True).take_over()
        self.store.left = self.writes

    async def unless_dead(self, what: str, steps: Any) -> Any:
        """Return the result of *steps*, and note that they were answered; give up when the store has died."""
        done = Deferred.fromCoroutine(steps)
        done.addCallback(lambda result: (self.acknowledged.add(what), result)[1])
        self.store.died.addCallback(lambda _none: None if done.called else done.cancel())
        return await done

    async def die(self) -> None:
        """Leave everything as it is, as ``kill -9`` does."""
        for living in self.sessions.living():
            assert living.supervisor is not None
            living.supervisor.let_go()
            if living.observer is not None:
                living.observer.close()
            if living.driver is not None:
                await living.driver.close()
        await self.store.close()


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


async def left_of(store: Store, session_id: str) -> list[int]:
    """Return the processes of a session's lives, by their markers."""
    found: list[int] = []
    for one in await store.incarnations(session_id):
        found += [seen.pid for seen in await deferToThread(orphans.find, one.marker) if not seen.zombie]
    return found


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
        await second.sessions.close()
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
