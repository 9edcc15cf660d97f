"""A fork server for tests, and agent servers launched by it; everything is ended at the end."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import uuid
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThread

from agentproxy.model.backend import Backend
from agentproxy.runtime import orphans
from agentproxy.runtime.agent_servers import EmbeddedServer, Serving
from agentproxy.runtime.fork_server import ForkServer
from agentproxy.runtime.fork_server_launching import Forking
from agentproxy.runtime.launching import Launch, Launcher
from agentproxy.runtime.limits import Limits
from agentproxy.runtime.probe import until_answering
from agentproxy.runtime.watching import Watch
from tests.agent_servers import free_port

DOOR = "open sesame"
_PR_SET_CHILD_SUBREAPER = 36


class Forked:
    """One agent server: ``watch``, ``backend``, ``directory`` (log, end.json, out) and ``marker``."""

    def __init__(self, watch: Watch, backend: Backend, directory: Path, marker: str) -> None:
        self.watch = watch
        self.backend = backend
        self.directory = directory
        self.marker = marker

    @property
    def log(self) -> str:
        """Return what it has printed."""
        return (self.directory / "log").read_text()

    async def answers(self) -> None:
        """Wait until it answers; it fails when it ends instead."""
        asking = Deferred.fromCoroutine(until_answering(reactor, self.backend, lambda: None))
        ended = self.watch.when_ended()
        ended.addCallbacks(lambda _status: asking.cancel(), lambda _cancelled: None)
        try:
            await asking
        except CancelledError:
            raise AssertionError(f"it ended with {self.watch.exit}: {self.log}") from None
        ended.cancel()


class Forks:
    """A running fork server and what was launched with it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.server = ForkServer(reactor, {**os.environ, "AGENTPROXY_AUTH_KEY": "our secret"})
        self.launcher: Launcher = Forking(self.server, EmbeddedServer().program)
        self._all: list[Forked] = []
        orphans.become_subreaper()
        self.server.start()

    async def launch(
        self,
        *command: str,
        environment: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        **changes: object,
    ) -> Forked:
        """Launch an agent server around a program.

        :param changes: fields of :class:`Launch` that differ.
        """
        directory = self.directory / f"{len(self._all)}-{random.randrange(10**9)}"
        directory.mkdir()
        (directory / "door").write_text(DOOR)
        marker, port = uuid.uuid4().hex, free_port()
        serving = Serving(port, "custom", directory / "door", directory / "end.json", 80, 24)
        argv = (*EmbeddedServer(grace=2).command(serving), *command)
        values = {"PATH": "/usr/bin:/bin", orphans.MARKER_VARIABLE: marker, **(environment or {})}
        wanted = Launch(
            argv, values, directory, directory / "log", limits=limits or Limits(), title="agentproxy session s1"
        )
        wanted = replace(wanted, **changes)  # type: ignore[arg-type]
        pid = await self.launcher.launch(wanted)
        forked = Forked(
            Watch(reactor, pid, directory / "end.json"), Backend("127.0.0.1", port, door=DOOR), directory, marker
        )
        self._all.append(forked)
        return forked

    async def close(self) -> None:
        """End everything."""
        await self.server.close()
        for one in self._all:
            assert await deferToThread(orphans.end_all, one.marker, one.watch.pid) == []
            await one.watch.when_ended()
            one.watch.reap()
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)

    async def kill(self) -> None:
        """Kill the fork server, as a crash would."""
        assert self.server.pid is not None
        os.kill(self.server.pid, signal.SIGKILL)
