"""All of a server but its faces, with real processes, directories and database, that can die and be followed by another."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from agentproxy.features.adopting import Adopter
from agentproxy.features.incarnations import Incarnations
from agentproxy.features.making import Maker, Terms
from agentproxy.features.preparing import Kitchen
from agentproxy.features.roll import Roll
from agentproxy.features.sessions import Sessions
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


def _ports() -> Ports:
    """Return ports that begin anywhere, so that tests that run beside each other seldom try the same one."""
    first = random.randrange(24000, 24900)
    return Ports(first, first + 99)


@dataclass
class Server:
    """All of a server but its faces."""

    directory: Path
    writes: int = 1_000_000
    acknowledged: set[str] = field(default_factory=set)
    boot_id: str = field(default_factory=read_boot_id)

    async def open(self) -> None:
        """Open the store and take over."""
        self.store = DyingStore(reactor, None, self.directory, secrets=Sealer.from_directory(self.directory))
        await self.store.open()
        ground = Ground(reactor, _ports(), StartQueue(4, 10), self.boot_id)
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
        self.maker = Maker(kitchen, ground, terms, self.store, lambda living: self.incarnations.ended(living))
        self.incarnations = Incarnations(self.store, self.maker, Roll())
        self.sessions = Sessions(self.store, self.maker, self.incarnations)
        await Adopter(self.store, self.incarnations, self.maker, self.boot_id, adopting=True).take_over()
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


async def left_of(store: Store, session_id: str) -> list[int]:
    """Return the processes of a session's lives, by their markers."""
    found: list[int] = []
    for one in await store.incarnations(session_id):
        found += [seen.pid for seen in await deferToThread(orphans.find, one.marker) if not seen.zombie]
    return found
