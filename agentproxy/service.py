"""The daemon put together: the only file that knows everybody."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import fields
from ipaddress import ip_network
from pathlib import Path
from typing import IO, Any

from twisted.application.service import IService, Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized
from twisted.python.failure import Failure

from agentproxy import logs
from agentproxy.admission.guard import Guard
from agentproxy.config import Config, ConfigError, Loaded
from agentproxy.config.changes import changes
from agentproxy.config.options import AgentOptions
from agentproxy.config.overlay import overlay_of
from agentproxy.errors import Refusal
from agentproxy.features import fencing
from agentproxy.features.adopting import Adopter
from agentproxy.features.clearing import Clearing
from agentproxy.features.evening import Evening
from agentproxy.features.fencing import Fence
from agentproxy.features.living import LivingSession
from agentproxy.features.making import Maker, Terms
from agentproxy.features.measuring import Measures
from agentproxy.features.preparing import Kitchen
from agentproxy.features.push_services import PushServices
from agentproxy.features.pushing import Pushing
from agentproxy.features.pushing import Terms as PushTerms
from agentproxy.features.retaining import Keep, Retention
from agentproxy.features.sessions import Sessions
from agentproxy.gateway.front import FrontFactory
from agentproxy.gateway.listening import endpoint_of
from agentproxy.gateway.options import GatewayCounts, GatewayOptions
from agentproxy.gateway.resource import SessionProxyResource
from agentproxy.gateway.target import session_id_of
from agentproxy.model.cors import CorsRules
from agentproxy.model.environment import clean
from agentproxy.model.push import Vapid, vapid_of
from agentproxy.model.repository import GITHUB, github_host
from agentproxy.runtime import agent_servers, catalogue, cgroups, orphans
from agentproxy.runtime.clone import Cloner, CloneRules
from agentproxy.runtime.directories import Directories
from agentproxy.runtime.env_files import EnvFiles
from agentproxy.runtime.fork_server import ForkServer
from agentproxy.runtime.fork_server_launching import Forking
from agentproxy.runtime.fork_server_process import own_argv
from agentproxy.runtime.homes import Homes
from agentproxy.runtime.launching import Executing, Launcher
from agentproxy.runtime.limits import Limits
from agentproxy.runtime.ports import Ports
from agentproxy.runtime.scripts import Scripts
from agentproxy.runtime.start_queue import StartQueue
from agentproxy.runtime.starting import Ground
from agentproxy.runtime.watching import read_boot_id
from agentproxy.store import Sealer, Store, StoreError
from agentproxy.store.claiming import claim
from agentproxy.web.access_log import LoggingSite
from agentproxy.web.attendance import Attendance
from agentproxy.web.documents import Documents
from agentproxy.web.history import History
from agentproxy.web.operations import Operations
from agentproxy.web.push import PushRoutes
from agentproxy.web.routing import Face
from agentproxy.web.site import Root
from agentproxy.web.xapi import Xapi

log = Logger()

LAST_BYTES = 0.1
"""Seconds in which streams that were ended say so to their readers, before their connections are cut."""


class CannotStart(Exception):  # noqa: N818 - a sentence for the operator, not a defect
    """The daemon cannot start; the text says why and what helps."""


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
        self._history: History | None = None
        self._retention: Retention | None = None
        self._sessions: Sessions | None = None
        self._attendance: Attendance | None = None
        self._front: FrontFactory | None = None
        self._measures: Measures | None = None
        self._ports: list[Any] = []
        self._opening: Deferred[None] | None = None
        self._lock: IO[str] | None = None
        self._launcher: Launcher = Executing()
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
        self._reactor.callWhenRunning(self._take_signals)
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
        server = self._agent_server()
        try:
            fence = await fencing.put_up(config, self._loaded.path, server.has_door)
        except ValueError as error:
            raise CannotStart(str(error)) from error
        orphans.become_subreaper()
        if not server.has_door:
            log.warn("agentapi listens on all interfaces and asks nobody: fence its ports from {port} on by a firewall "
                     "or a container", port=config.start_port)  # fmt: skip
        forked = server.program if isinstance(server, agent_servers.EmbeddedServer) else ()
        self._fork_server = ForkServer(self._reactor, argv=own_argv(bare=not forked))
        self._fork_server.start()
        self._launcher = Forking(self._fork_server, forked)
        self._store = store = Store(
            self._reactor,
            config.store.url,
            config.data_dir,
            synchronous=config.store.synchronous,
            secrets=Sealer.from_directory(config.data_dir),
        )
        await store.open()
        maker = self._make_maker(store, fence)
        self._guard = guard = Guard(self._loaded, store, self._reactor)
        self._sessions = sessions = Sessions(store, maker, guard.permits, Evening(self._reactor))
        try:
            self._attendance = attendance = Attendance(config, store, sessions, guard.permits, self._reactor)
        except ValueError as error:
            raise CannotStart(str(error)) from error
        await attendance.open()
        maker.house = attendance.house
        sessions.attention = attendance.house.attention
        await self._take_over(store, sessions, maker)
        self._taken_over = True
        if self._stopping:
            raise CancelledError
        attendance.start()
        self._retention = self._make_retention(store, maker)
        self._retention.start()
        await self._listen(sessions, store, guard, attendance)

    def _make_retention(self, store: Store, maker: Maker) -> Retention:
        wanted = self._config.store.retention
        keep = Keep(wanted.events_days, wanted.journal_bytes, wanted.ended_days, wanted.deleted_days)
        return Retention(store, keep, maker.clear, self._reactor)

    def _agent_server(self) -> agent_servers.AgentServer:
        command = self._config.agentapi_command
        grace = self._config.sessions.stop_grace
        return agent_servers.resolve(self._config.agent_server, lambda _name: shutil.which(command), grace=grace)

    async def _take_over(self, store: Store, sessions: Sessions, maker: Maker) -> None:
        """Go on with the sessions of the server before this one."""
        adopting = self._config.sessions.adopt
        root = cgroups.find_root()
        swept = await deferToThread(cgroups.Cgroups(root).sweep, time.time()) if root is not None else 0
        if swept:
            log.info("Removed {count} empty cgroups that earlier servers have left", count=swept)
        await Adopter(store, sessions, maker, read_boot_id(), adopting).take_over()
        self._clearing = clearing = Clearing(store, Directories(self._config.data_dir / "sessions"))
        clearing.start()

    def _make_maker(self, store: Store, fence: Fence) -> Maker:
        config = self._config
        wanted = config.sessions
        root = cgroups.find_root()
        if root is None:
            log.warn("{sentence}", sentence=cgroups.CANNOT_PROMISE)
        ground = Ground(
            self._reactor,
            Ports(config.start_port, config.end_port),
            StartQueue(wanted.max_concurrent_starts, wanted.max_queued),
            read_boot_id(),
            cgroups.Cgroups(root) if root is not None else None,
            fence.isolation,
            self._launcher,
        )
        terms = Terms(
            choose_agent_server=self._agent_server,
            listen_within=wanted.start_timeout,
            answer_within=wanted.ready_timeout,
            wall_time=wanted.limits.wall_time,
            first_message_within=wanted.first_message_timeout,
            width=wanted.terminal_width,
            height=wanted.terminal_height,
            limits=Limits(wanted.limits.memory, wanted.limits.processes, wanted.limits.open_files),
            sockets=fence.sockets,
            stop_grace=wanted.stop_grace,
            restart=wanted.restart,
        )
        return Maker(self._make_kitchen(os.environ), ground, terms, store, self._session_ended)

    def _session_ended(self, living: LivingSession) -> None:
        assert self._sessions is not None
        self._sessions.ended(living)
        if self._front is not None:
            self._front.cut(living.record.id)

    def _make_kitchen(self, environ: Mapping[str, str]) -> Kitchen:
        config = self._config
        wanted = config.sessions
        visible = clean(environ, wanted.pass_environment)
        return Kitchen(
            catalogue=_catalogue(config.agents),
            directories=Directories(config.data_dir / "sessions"),
            homes=Homes(wanted.homes_dir or config.data_dir / "homes"),
            scripts=Scripts(config.scripts, lambda name: _which(name, visible)),
            env_files=EnvFiles(wanted.env_files_dir),
            cloner=self._make_cloner(visible),
            server_environment=lambda needs: clean(environ, (*wanted.pass_environment, *needs)),
            default_agent=config.default_agent,
            allow_commands=config.allow_commands,
            per_user_home=wanted.per_user_home,
            role_files=EnvFiles(config.role_env_files.path) if config.role_env_files.enabled else None,
            role_default=config.role_env_files.load_default,
            github_host=github_host(config.auth.github.base_url),
            github_api=config.auth.github.base_url if github_host(config.auth.github.base_url) != GITHUB else None,
        )

    def _make_cloner(self, visible: Mapping[str, str]) -> Cloner:
        wanted = self._config.sessions
        setsid, git = (_which(name, visible) or name for name in ("setsid", "git"))
        hosts = (GITHUB, github_host(self._config.auth.github.base_url))
        rules = CloneRules(roots=wanted.local_repository_roots, token_hosts=hosts, timeout=wanted.clone_timeout)
        return Cloner(self._reactor, self._reactor, (setsid, git), rules, visible)

    async def _listen(self, sessions: Sessions, store: Store, guard: Guard, attendance: Attendance) -> None:
        config = self._config
        cors = CorsRules(frozenset(config.allowed_origins) or None, config.gateway.agent_pages == "trusted")
        options = GatewayOptions(
            start_wait=config.gateway.start_wait,
            connect_timeout=config.gateway.connect_timeout,
            first_byte_timeout=config.gateway.first_byte_timeout,
            idle_timeout=config.gateway.idle_timeout,
            keepalive=config.gateway.keepalive,
            max_head=config.gateway.max_head_bytes,
            max_headers=config.gateway.max_headers,
            head_timeout=config.gateway.head_timeout,
            body_timeout=config.gateway.body_timeout,
            pool_size=config.gateway.pool_per_backend,
            trusted_proxies=tuple(ip_network(one) for one in config.trusted_proxies),
        )
        try:
            admission = await guard.start(sessions)
        except ValueError as error:
            raise CannotStart(f"auth.static: {error}") from error
        admission.message_guard = attendance.guard
        self._measures = measures = Measures(self._reactor, sessions.living, [self._numbers])
        store.on_commit(measures.committed)
        store.on_effort(measures.store_took)
        measures.start()
        operations = Operations(
            {"store": store.healthy, "agent_server": self._agent_server_trouble},
            measures.text,
        )
        self._history = history = History(store, sessions, cors, self._reactor, config.gateway.keepalive)
        history.start()
        documents = Documents(config.auth.enabled)
        parts = [
            Xapi(sessions, attendance.starts),
            operations,
            *attendance.parts,
            *history.parts,
            *guard.parts(),
            PushRoutes(self._make_pushing(store, sessions, guard)),
            documents,
        ]
        documents.face = face = Face(parts, guard.identify, guard.refused)
        root = Root(face.app.resource(), lambda uri: session_id_of(uri) is not None, cors)
        self._front = FrontFactory(
            LoggingSite(root),  # type: ignore[no-untyped-call]
            admission,
            options,
            cors,
            self._reactor,
            credentials=guard.credentials(),
        )
        guard.watch(self._front)
        root.proxy = SessionProxyResource(self._front.relay)
        endpoints = [one.endpoint for one in config.listeners] or [_endpoint(config.listen, config.port)]
        for endpoint in endpoints:
            try:
                port = await endpoint_of(self._reactor, endpoint).listen(self._front)
            except Exception as error:
                raise CannotStart(f"cannot listen at {endpoint}: {error}") from error
            self._ports.append(port)
            log.info("agentproxy listens at {address}", address=port.getHost())

    def _make_pushing(self, store: Store, sessions: Sessions, guard: Guard) -> Pushing:
        wanted = self._config.push
        terms = PushTerms(self._vapid(), wanted.allowed_hosts, wanted.subscriptions_per_user)
        post = PushServices(self._reactor, wanted.allowed_hosts).post
        return Pushing(store, sessions, guard.permits, terms, post)

    def _vapid(self) -> Vapid | None:
        wanted = self._config.push
        given = (wanted.vapid_public_key, wanted.vapid_private_key, wanted.vapid_contact_email)
        if not any(given):
            return None
        try:
            return vapid_of(*(one or "" for one in given))
        except ValueError as error:
            raise CannotStart(str(error)) from error

    def _agent_server_trouble(self) -> str | None:
        try:
            self._agent_server()
        except Refusal as refusal:
            return str(refusal)
        return None

    def _numbers(self) -> dict[str, float]:
        assert self._front is not None
        assert self._history is not None
        counted = {f"gateway_{one.name}": getattr(self._front.relay.counts, one.name) for one in fields(GatewayCounts)}
        return {**counted, "gateway_streams": self._front.streams(), "journal_streams": self._history.readers()}

    # -- stop

    def _take_signals(self) -> None:
        """Let the first SIGTERM or SIGINT stop the reactor, and a second one kill what is left."""
        for number in (signal.SIGTERM, signal.SIGINT):
            before = signal.getsignal(number)
            if callable(before):
                signal.signal(number, self._second_kills(before))
        signal.signal(signal.SIGHUP, lambda _number, _frame: self._reactor.callFromThread(self._reload))

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

    def _second_kills(self, before: Any) -> Any:
        seen = False

        def on_signal(number: int, frame: Any) -> None:
            nonlocal seen
            if not seen:
                seen = True
                before(number, frame)
            elif self._sessions is not None:
                self._reactor.callFromThread(self._sessions.kill_all)

        return on_signal

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
        for port in self._ports:
            await port.stopListening()
        if self._clearing is not None:
            await self._clearing.stop()
        if self._sessions is not None:
            await self._close_sessions(self._sessions)
        if self._attendance is not None:
            self._attendance.stop()
        if self._fork_server is not None:
            await self._fork_server.close()
        if self._retention is not None:
            self._retention.stop()
        if self._history is not None and self._history.close():
            await deferLater(self._reactor, LAST_BYTES, lambda: None)
        if self._measures is not None:
            self._measures.stop()
        if self._front is not None:
            self._front.stop()
        if self._guard is not None:
            await self._guard.stop()
        if self._store is not None:
            await self._store.close()
        if self._lock is not None:
            self._lock.close()

    async def _close_sessions(self, sessions: Sessions) -> None:
        killing = self._reactor.callLater(self._config.sessions.shutdown_grace, sessions.kill_all)
        if self._config.sessions.on_shutdown == "keep" and self._config.sessions.adopt:
            left = await sessions.let_go()
            log.info("{count} sessions run on without a server: {ids}", count=len(left), ids=" ".join(left) or "none")
        else:
            await sessions.close()
        if killing.active():
            killing.cancel()


def _catalogue(agents: Mapping[str, AgentOptions]) -> catalogue.Catalogue:
    """Return the catalogue with the configuration's ``agents:`` laid over it.

    :raises CannotStart: a value is wrong; the text has its path.
    """
    try:
        return catalogue.load(overlay_of(agents))
    except ValueError as error:
        raise CannotStart(str(error)) from error


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


def _which(name: str, environment: Mapping[str, str]) -> str | None:
    return shutil.which(name, path=environment.get("PATH"))


def _endpoint(host: str, port: int) -> str:
    kind = "tcp6" if ":" in host else "tcp"
    return f"{kind}:{port}:interface=" + host.replace(":", "\\:")


def makeService(options: Any) -> IService:
    """Return the service of the options' configuration; nothing is opened before it starts."""
    from twisted.internet import reactor

    wanted = options.loaded.config.log
    return Daemon(options.load, options.loaded, reactor, logs.observer(options, wanted.format, wanted.level))
