"""The daemon put together: the only file that knows everybody."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import IO, Any

from twisted.application.service import IService, Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.threads import deferToThread
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized
from twisted.python.failure import Failure
from twisted.web.http import Request
from twisted.web.server import Site

from agentproxy import logs
from agentproxy.config import Config, Loaded
from agentproxy.config.options import AgentOptions
from agentproxy.errors import Refusal
from agentproxy.features.living import LivingSession
from agentproxy.features.making import Maker, Terms
from agentproxy.features.measuring import Measures
from agentproxy.features.preparing import Kitchen
from agentproxy.features.routing import Directory
from agentproxy.features.sessions import Sessions
from agentproxy.gateway.front import FrontFactory
from agentproxy.gateway.head import Head
from agentproxy.gateway.options import GatewayOptions
from agentproxy.gateway.resource import SessionProxyResource
from agentproxy.gateway.routes import Waiting, session_id_of
from agentproxy.model.backend import Backend
from agentproxy.model.cors import CorsRules
from agentproxy.model.environment import clean
from agentproxy.model.event import NewEvent
from agentproxy.model.principal import LOCAL, Principal
from agentproxy.model.session import Ending, EndReason, Phase
from agentproxy.runtime import agent_servers, catalogue, cgroups, isolation, orphans
from agentproxy.runtime.clone import Cloner, CloneRules
from agentproxy.runtime.directories import Directories
from agentproxy.runtime.env_files import EnvFiles
from agentproxy.runtime.fork_server import ForkServer
from agentproxy.runtime.fork_server_launching import Forking
from agentproxy.runtime.homes import Homes
from agentproxy.runtime.launching import Executing, Launcher
from agentproxy.runtime.limits import Limits
from agentproxy.runtime.ports import Ports
from agentproxy.runtime.scripts import Scripts
from agentproxy.runtime.start_queue import StartQueue
from agentproxy.runtime.starting import Ground
from agentproxy.store import Sealer, Store, StoreError
from agentproxy.web.operations import Operations
from agentproxy.web.routing import Face
from agentproxy.web.site import Root
from agentproxy.web.xapi import Xapi

log = Logger()

WITHOUT_EFFECT = (
    "auth.github",
    "auth.static",
    "role_env_files.",
    "sessions.on_shutdown",
)
"""Options that are known and checked, and that nothing obeys yet; the start says so when one is set."""


GATEWAY_NUMBERS = {
    "connections": ("Open connections of clients.", False),
    "tunnels": ("Open WebSocket tunnels.", False),
    "requests": ("Requests forwarded to agent servers.", True),
    "refused": ("Requests refused by the gateway.", True),
    "connects": ("Connections made to agent servers.", True),
    "failed": ("Forwarded requests that an agent server did not answer.", True),
}
"""The metrics of the gateway: what it counts, and whether the number only grows."""


class CannotStart(Exception):  # noqa: N818 - a sentence for the operator, not a defect
    """The daemon cannot start; the text says why and what helps."""


class Routes:
    """The gateway's directory over the features' one."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def find(self, session_id: str, head: Head) -> Backend | Waiting | Refusal:  # noqa: ARG002
        """Return the agent server of a session."""
        return self._directory.look(session_id) or Waiting(lambda: self._directory.decide(session_id))

    def explain(self, session_id: str, failure: str) -> Refusal:
        """Return why an agent server does not answer."""
        return self._directory.explain(session_id, failure)


class Daemon(Service):
    """Everything that runs between start and stop."""

    def __init__(self, loaded: Loaded, reactor: Any, observer: ILogObserver | None = None) -> None:
        self._loaded = loaded
        self._observer = observer
        self._config: Config = loaded.config
        self._reactor = reactor
        self._store: Store | None = None
        self._sessions: Sessions | None = None
        self._front: FrontFactory | None = None
        self._measures: Measures | None = None
        self._ports: list[Any] = []
        self._opening: Deferred[None] | None = None
        self._lock: IO[str] | None = None
        self._launcher: Launcher = Executing()
        self._fork_server: ForkServer | None = None

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
        for path, source in self._loaded.sources.items():
            if path.startswith(WITHOUT_EFFECT) and source != "default":
                log.warn("{path} ({source}) has no effect in this version", path=path, source=source)
        if config.auth.enabled:
            raise CannotStart("auth.enabled: this version has no authentication yet; it listens on loopback without it")
        config.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _lock(config.data_dir)
        orphans.become_subreaper()
        if config.sessions.isolation == "none":
            log.warn("{sentence}", sentence=isolation.OPEN)
        server = self._agent_server()
        if not server.has_door:
            log.warn("agentapi listens on all interfaces and asks nobody: fence its ports from {port} on by a firewall "
                     "or a container", port=config.start_port)  # fmt: skip
        if isinstance(server, agent_servers.EmbeddedServer):
            self._fork_server = ForkServer(self._reactor)
            self._fork_server.start()
            self._launcher = Forking(self._fork_server, server.program)
        self._store = store = Store(
            self._reactor,
            config.store.url,
            config.data_dir,
            synchronous=config.store.synchronous,
            secrets=Sealer.from_directory(config.data_dir),
        )
        await store.open()
        await self._end_leftovers(store)
        self._sessions = sessions = self._make_sessions(store)
        await self._listen(sessions, store)

    def _agent_server(self) -> agent_servers.AgentServer:
        command = self._config.agentapi_command
        grace = self._config.sessions.stop_grace
        return agent_servers.resolve(self._config.agent_server, lambda _name: shutil.which(command), grace=grace)

    async def _end_leftovers(self, store: Store) -> None:
        """End what an earlier server left running, by its marker, and record its sessions as lost."""
        now = datetime.now(UTC)
        for incarnation in await store.open_incarnations():
            group = Path(incarnation.cgroup) if incarnation.cgroup else None
            await deferToThread(orphans.end_all, incarnation.marker, None, group)
            await store.change_incarnation(incarnation.session_id, incarnation.number, {"ended_at": now})
        for session in await store.living_sessions():
            ending = Ending(EndReason.LOST, "the server ended while it ran")
            changes = {"phase": Phase.ENDED, "ending": ending, "ended_at": now, "updated_at": now}
            facts = {"reason": ending.reason.value, "sentence": ending.sentence}
            await store.change_session(session.id, changes, [NewEvent(session.id, "session.ended", now, facts)])

    def _make_sessions(self, store: Store) -> Sessions:
        config = self._config
        wanted = config.sessions
        hidden = (config.data_dir,)
        root = cgroups.find_root()
        if root is None:
            log.warn("{sentence}", sentence=cgroups.CANNOT_PROMISE)
        ground = Ground(
            self._reactor,
            Ports(config.start_port, config.end_port),
            StartQueue(wanted.max_concurrent_starts, wanted.max_queued),
            Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip(),
            cgroups.Cgroups(root) if root is not None else None,
            isolation.resolve(wanted.isolation, hidden),
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
            sockets=config.runtime_dir if config.agent_server_listen == "unix" else None,
        )
        maker = Maker(self._make_kitchen(os.environ), ground, terms, store, self._session_ended)
        return Sessions(store, maker)

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
        )

    def _make_cloner(self, visible: Mapping[str, str]) -> Cloner:
        wanted = self._config.sessions
        setsid, git = (_which(name, visible) or name for name in ("setsid", "git"))
        rules = CloneRules(roots=wanted.local_repository_roots, timeout=wanted.clone_timeout)
        return Cloner(self._reactor, self._reactor, (setsid, git), rules, visible)

    async def _listen(self, sessions: Sessions, store: Store) -> None:
        config = self._config
        cors = CorsRules(frozenset(config.allowed_origins) or None)
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
        routes = Routes(Directory(sessions, store))
        self._measures = measures = Measures(self._reactor, sessions.living, [self._gateway_numbers, self._store_numbers])
        store.on_commit(measures.committed)
        measures.start()
        operations = Operations(
            {"store": store.healthy, "agent_server": self._agent_server_trouble},
            measures.text,
        )
        face = Face([Xapi(sessions), operations], self._identify)
        root = Root(face.app.resource(), lambda uri: session_id_of(uri) is not None, cors)
        self._front = FrontFactory(Site(root), routes, options, cors, self._reactor)
        root.proxy = SessionProxyResource(self._front.relay)
        endpoints = [one.endpoint for one in config.listeners] or [_endpoint(config.listen, config.port)]
        for endpoint in endpoints:
            try:
                port = await serverFromString(self._reactor, endpoint).listen(self._front)
            except Exception as error:
                raise CannotStart(f"cannot listen at {endpoint}: {error}") from error
            self._ports.append(port)
            log.info("agentproxy listens at {address}", address=port.getHost())

    def _agent_server_trouble(self) -> str | None:
        try:
            self._agent_server()
        except Refusal as refusal:
            return str(refusal)
        return None

    def _gateway_numbers(self) -> Iterator[tuple[str, str, bool, float]]:
        assert self._front is not None
        for name, (meaning, grows) in GATEWAY_NUMBERS.items():
            yield f"gateway_{name}", meaning, grows, getattr(self._front.relay.counts, name)

    def _store_numbers(self) -> Iterator[tuple[str, str, bool, float]]:
        assert self._store is not None
        commits, seconds = self._store.effort()
        yield "store_commits", "Transactions of the store.", True, commits
        yield "store_commit_seconds", "Time that they took.", True, seconds

    async def _identify(self, _request: Request) -> Principal:
        return LOCAL

    # -- stop

    def _take_signals(self) -> None:
        """Let the first SIGTERM or SIGINT stop the reactor, and a second one kill what is left."""
        for number in (signal.SIGTERM, signal.SIGINT):
            before = signal.getsignal(number)
            if callable(before):
                signal.signal(number, self._second_kills(before))

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
        if self._opening is not None:
            self._opening.cancel()
            await self._opening
        for port in self._ports:
            await port.stopListening()
        if self._sessions is not None:
            killing = self._reactor.callLater(self._config.sessions.shutdown_grace, self._sessions.kill_all)
            await self._sessions.close()
            if killing.active():
                killing.cancel()
        if self._fork_server is not None:
            await self._fork_server.close()
        if self._measures is not None:
            self._measures.stop()
        if self._front is not None:
            self._front.stop()
        if self._store is not None:
            await self._store.close()
        if self._lock is not None:
            self._lock.close()


def _catalogue(agents: Mapping[str, AgentOptions]) -> catalogue.Catalogue:
    """Return the catalogue with the configuration's ``agents:`` laid over it.

    :raises CannotStart: a value is wrong; the text has its path.
    """
    overlay = {name: {key: value for key, value in asdict(row).items() if value} for name, row in agents.items()}
    try:
        return catalogue.load(overlay)
    except ValueError as error:
        raise CannotStart(str(error)) from error


def _lock(directory: Path) -> IO[str]:
    """Return the open lock file of a data directory; closing it gives the directory free.

    :raises CannotStart: another server uses the directory. It would lose its sessions to this one.
    """
    file = (directory / "lock").open("w", encoding="ascii")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise CannotStart(f"another agentproxy uses data_dir {directory}; give this one its own") from None
    return file


def _which(name: str, environment: Mapping[str, str]) -> str | None:
    return shutil.which(name, path=environment.get("PATH"))


def _endpoint(host: str, port: int) -> str:
    kind = "tcp6" if ":" in host else "tcp"
    return f"{kind}:{port}:interface=" + host.replace(":", "\\:")


def makeService(options: Any) -> IService:
    """Return the service of the options' configuration; nothing is opened before it starts."""
    from twisted.internet import reactor

    wanted = options.loaded.config.log
    return Daemon(options.loaded, reactor, logs.observer(options, wanted.format, wanted.level))
