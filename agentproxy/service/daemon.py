"""The daemon: what is opened at the start and closed at the end, each in its order."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThread
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized
from twisted.python.failure import Failure

from agentproxy import logs
from agentproxy.admission.guard import Guard
from agentproxy.config import Config, ConfigError, Loaded
from agentproxy.config.changes import changes
from agentproxy.errors import Refusal
from agentproxy.features import fencing
from agentproxy.features.adopting import Adopter
from agentproxy.features.clearing import Clearing
from agentproxy.features.evening import Evening
from agentproxy.features.fencing import Fence
from agentproxy.features.incarnations import Incarnations
from agentproxy.features.living import LivingSession
from agentproxy.features.making import Maker
from agentproxy.features.retaining import Keep, Retention
from agentproxy.features.roll import Roll
from agentproxy.features.sessions import Sessions
from agentproxy.runtime import cgroups, orphans
from agentproxy.runtime.agent_servers import AgentServer, EmbeddedServer
from agentproxy.runtime.fork_server import ForkServer
from agentproxy.runtime.fork_server_launching import Forking
from agentproxy.runtime.fork_server_process import own_argv
from agentproxy.runtime.launching import Launcher
from agentproxy.runtime.watching import read_boot_id
from agentproxy.service import recipes
from agentproxy.service.cannot_start import CannotStart
from agentproxy.service.faces import Faces
from agentproxy.service.memory import keep_what_is_there
from agentproxy.service.signals import take_signals
from agentproxy.store import Sealer, Store, StoreError
from agentproxy.store.claiming import claim
from agentproxy.web.attendance import Attendance

log = Logger()


class Daemon(Service):
    """Everything that runs between start and stop.

    :param load: reads the configuration again; blocks.
    """

    def __init__(
        self, load: Callable[[], Loaded], loaded: Loaded, reactor: Any, observer: logs.Log | None = None
    ) -> None:
        self._load = load
        self._loaded = loaded
        self._observer = observer
        self._config: Config = loaded.config
        self._reactor = reactor
        self._store: Store | None = None
        self._guard: Guard | None = None
        self._faces: Faces | None = None
        self._retention: Retention | None = None
        self._incarnations: Incarnations | None = None
        self._attendance: Attendance | None = None
        self._opening: Deferred[None] | None = None
        self._lock: IO[str] | None = None
        self._fork_server: ForkServer | None = None
        self._clearing: Clearing | None = None
        self._taken_over = False
        self._stopping = False

    def setServiceParent(self, parent: Any) -> None:
        """Join the application, and say how it logs; this comes before twistd begins to."""
        if self._observer is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._observer)
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]

    # -- start

    def startService(self) -> None:
        """Open everything in the background; a start that fails ends the process with a sentence and the status 1."""
        super().startService()  # type: ignore[no-untyped-call]
        self._reactor.callWhenRunning(take_signals, self._reactor, self._kill_all, self._reload)
        self._opening = Deferred.fromCoroutine(self._open())
        self._opening.addErrback(self._give_up)

    def _give_up(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            return  # stopped before it had started
        if failure.check(CannotStart, StoreError, Refusal, OSError):
            sentence = str(failure.value)
        else:
            log.failure("The start failed", failure)
            sentence = f"the start failed: {failure.getErrorMessage()}"
        print(f"agentproxy: {sentence}", file=sys.__stderr__)
        if sys.__stderr__ is None or os.path.samestat(os.fstat(sys.__stderr__.fileno()), os.stat(os.devnull)):
            # Nobody reads that: twistd is in the background.
            log.critical("The start failed: {sentence}", sentence=sentence)
        # twistd knows no failed start: end with our own status when everything has been stopped.
        self._reactor.addSystemEventTrigger("after", "shutdown", os._exit, 1)
        if self._reactor.running:
            self._reactor.stop()
        else:
            self._reactor.callWhenRunning(self._reactor.stop)

    async def _open(self) -> None:
        config = self._config
        for warning in self._loaded.warnings:
            log.warn("{warning}", warning=warning)
        self._lock = _take(config.data_dir)
        server = recipes.agent_server(config)
        fence = await self._put_up_fence(server)
        orphans.become_subreaper()
        launcher = self._start_fork_server(server)
        store = await self._open_store()
        ground = recipes.ground(config, fence, launcher, self._reactor)
        kitchen = recipes.kitchen(config, os.environ, self._reactor)
        maker = Maker(kitchen, ground, recipes.terms(config, fence.sockets), store, self._session_ended)
        self._guard = guard = Guard(self._loaded, store, self._reactor)
        self._incarnations = incarnations = Incarnations(store, maker, Roll())
        sessions = Sessions(store, maker, incarnations, guard.permits, Evening(self._reactor))
        attendance = await self._open_attendance(store, sessions, guard)
        maker.house = attendance.house
        sessions.attention = attendance.house.attention
        keep_what_is_there()
        await self._take_over(store, incarnations, maker)
        self._taken_over = True
        if self._stopping:
            raise CancelledError
        attendance.start()
        self._start_retention(store, maker)
        self._faces = faces = Faces(config, store, sessions, guard, self._reactor)
        await faces.listen(attendance, self._agent_server_trouble)
        self._clearing = Clearing(store, recipes.session_directories(config))
        self._clearing.start()

    async def _put_up_fence(self, server: AgentServer) -> Fence:
        try:
            fence = await fencing.put_up(self._config, self._loaded.path, server.has_door)
        except ValueError as error:
            raise CannotStart(str(error)) from error
        if not server.has_door:
            log.warn("agentapi listens on all interfaces and asks nobody: fence its ports from {port} on by a firewall "
                     "or a container", port=self._config.start_port)  # fmt: skip
        return fence

    def _start_fork_server(self, server: AgentServer) -> Launcher:
        forked = server.program if isinstance(server, EmbeddedServer) else ()
        self._fork_server = ForkServer(self._reactor, argv=own_argv(bare=not forked))
        self._fork_server.start()
        return Forking(self._fork_server, forked)

    async def _open_store(self) -> Store:
        config = self._config
        self._store = store = Store(
            self._reactor,
            config.store.url,
            config.data_dir,
            synchronous=config.store.synchronous,
            secrets=Sealer.from_directory(config.data_dir),
        )
        await store.open()
        return store

    async def _open_attendance(self, store: Store, sessions: Sessions, guard: Guard) -> Attendance:
        try:
            self._attendance = attendance = Attendance(self._config, store, sessions, guard.permits, self._reactor)
        except ValueError as error:
            raise CannotStart(str(error)) from error
        await attendance.open()
        return attendance

    async def _take_over(self, store: Store, incarnations: Incarnations, maker: Maker) -> None:
        """Go on with the sessions of the server before this one."""
        adopting = self._config.sessions.adopt
        root = cgroups.find_root()
        swept = await deferToThread(cgroups.Cgroups(root).sweep, time.time()) if root is not None else 0
        if swept:
            log.info("Removed {count} empty cgroups that earlier servers have left", count=swept)
        await Adopter(store, incarnations, maker, read_boot_id(), adopting).take_over()

    def _start_retention(self, store: Store, maker: Maker) -> None:
        wanted = self._config.store.retention
        keep = Keep(wanted.events_days, wanted.journal_bytes, wanted.ended_days, wanted.deleted_days)
        self._retention = Retention(store, keep, maker.clear, self._reactor)
        self._retention.start()

    # -- while it runs

    def _session_ended(self, living: LivingSession) -> None:
        assert self._incarnations is not None
        self._incarnations.ended(living)
        if self._faces is not None:
            self._faces.cut(living.record.id)

    def _agent_server_trouble(self) -> str | None:
        try:
            recipes.agent_server(self._config)
        except Refusal as refusal:
            return str(refusal)
        return None

    def _kill_all(self) -> None:
        if self._incarnations is not None:
            self._incarnations.kill_all()

    def _reload(self) -> None:
        """Read the configuration again and put into force what can be, with a report."""
        Deferred.fromCoroutine(self._reloaded()).addErrback(
            lambda failure: log.failure("The configuration could not be read again", failure)
        )

    async def _reloaded(self) -> None:
        try:
            after = (await deferToThread(self._load)).config
        except ConfigError as error:
            log.error("The changed configuration is not used: {error}", error=str(error))
            return
        found = changes(self._config, after)
        for change in found:
            log.info("Reload: {change}", change=str(change))
        log.info("Reload: {count} options have changed", count=len(found))
        if self._observer is not None:
            self._observer.set_level(after.log.level)
        if self._guard is not None:
            await self._guard.identity.reload()

    # -- stop

    def stopService(self) -> Deferred[None]:
        """End every session in parallel, then the streams, then the store."""
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        self._stopping = True
        if self._opening is not None:
            if self._taken_over:  # else sessions that nobody has taken over yet would be left running
                self._opening.cancel()
            await self._opening
        if self._faces is not None:
            await self._faces.stop_listening()
        if self._clearing is not None:
            await self._clearing.stop()
        if self._incarnations is not None:
            await self._end_sessions(self._incarnations)
        if self._attendance is not None:
            self._attendance.stop()
        if self._fork_server is not None:
            await self._fork_server.close()
        if self._retention is not None:
            self._retention.stop()
        if self._faces is not None:
            await self._faces.close()
        if self._guard is not None:
            await self._guard.stop()
        if self._store is not None:
            await self._store.close()
        if self._lock is not None:
            self._lock.close()

    async def _end_sessions(self, incarnations: Incarnations) -> None:
        killing = self._reactor.callLater(self._config.sessions.shutdown_grace, incarnations.kill_all)
        if self._config.sessions.on_shutdown == "keep" and self._config.sessions.adopt:
            left = await incarnations.let_go()
            log.info("{count} sessions run on without a server: {ids}", count=len(left), ids=" ".join(left) or "none")
        else:
            await incarnations.close()
        if killing.active():
            killing.cancel()


def _take(directory: Path) -> IO[str]:
    """Make the server's directory and lock it.

    :raises CannotStart: it cannot be used.
    :raises StoreError: another server has it, and would lose its sessions to this one.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return claim(directory / "lock", f"another agentproxy uses data_dir {directory}; give this one its own")
    except OSError as error:
        advice = "name another with data_dir or AGENTPROXY_DATA_DIR"
        raise CannotStart(f"data_dir {directory} cannot be used: {error.strerror}; {advice}") from error
