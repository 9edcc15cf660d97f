"""What answers requests: the routes, the gateway below them, and the streams that both keep open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from ipaddress import ip_network
from typing import Any

from twisted.internet.task import deferLater
from twisted.logger import Logger

from agentproxy.admission.guard import Guard
from agentproxy.config import Config
from agentproxy.features.measuring import Measures
from agentproxy.features.push_services import PushServices
from agentproxy.features.pushing import Pushing, Terms
from agentproxy.features.sessions import Sessions
from agentproxy.gateway.front import FrontFactory
from agentproxy.gateway.listening import endpoint_of, shown
from agentproxy.gateway.options import GatewayCounts, GatewayOptions
from agentproxy.gateway.resource import SessionProxyResource
from agentproxy.gateway.target import session_id_of
from agentproxy.model.cors import CorsRules
from agentproxy.model.push import Vapid, vapid_of
from agentproxy.service.cannot_start import CannotStart
from agentproxy.store import Store
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


class Faces:
    """The listeners and all that answers at them."""

    def __init__(self, config: Config, store: Store, sessions: Sessions, guard: Guard, reactor: Any) -> None:
        self._config = config
        self._store = store
        self._sessions = sessions
        self._guard = guard
        self._reactor = reactor
        self._cors = CorsRules(frozenset(config.allowed_origins) or None, config.gateway.agent_pages == "trusted")
        self._history = History(store, sessions, self._cors, reactor, config.gateway.keepalive)
        self._measures = Measures(reactor, sessions.living, [self._numbers])
        self._front: FrontFactory | None = None
        self._ports: list[Any] = []

    async def listen(self, attendance: Attendance, agent_server_trouble: Callable[[], str | None]) -> None:
        """Let everybody in.

        :param agent_server_trouble: says why no agent server could be started now, None when one could.
        :raises CannotStart: keys of the configuration are wrong, or an address cannot be listened at.
        """
        try:
            admission = await self._guard.start(self._sessions)
        except ValueError as error:
            raise CannotStart(f"auth.static: {error}") from error
        admission.message_guard = attendance.guard
        self._store.on_commit(self._measures.committed)
        self._store.on_effort(self._measures.store_took)
        self._measures.start()
        self._history.start()
        health = {"store": self._store.healthy, "agent_server": agent_server_trouble}
        root = self._root(attendance, Operations(health, self._measures.text))
        self._front = front = FrontFactory(
            LoggingSite(root),  # type: ignore[no-untyped-call]
            admission,
            _gateway_options(self._config),
            self._cors,
            self._reactor,
            credentials=self._guard.credentials(),
        )
        self._guard.watch(front)
        root.proxy = SessionProxyResource(front.relay)
        for endpoint in self._endpoints():
            await self._listen_at(endpoint, front)

    def _root(self, attendance: Attendance, operations: Operations) -> Root:
        documents = Documents(self._config.auth.enabled)
        parts = [
            Xapi(self._sessions, attendance.starts),
            operations,
            *attendance.parts,
            *self._history.parts,
            *self._guard.parts(),
            PushRoutes(self._pushing()),
            documents,
        ]
        documents.face = face = Face(parts, self._guard.identify, self._guard.refused)
        return Root(face.app.resource(), lambda uri: session_id_of(uri) is not None, self._cors)

    def _pushing(self) -> Pushing:
        wanted = self._config.push
        terms = Terms(_vapid(self._config), wanted.allowed_hosts, wanted.subscriptions_per_user)
        post = PushServices(self._reactor, wanted.allowed_hosts).post
        return Pushing(self._store, self._sessions, self._guard.permits, terms, post)

    def _endpoints(self) -> list[str]:
        config = self._config
        return [one.endpoint for one in config.listeners] or [_endpoint(config.listen, config.port)]

    async def _listen_at(self, endpoint: str, front: FrontFactory) -> None:
        try:
            port = await endpoint_of(self._reactor, endpoint).listen(front)
        except Exception as error:
            raise CannotStart(f"cannot listen at {endpoint}: {error}") from error
        self._ports.append(port)
        log.info("agentproxy listens at {address}", address=shown(endpoint, port.getHost()))

    def _numbers(self) -> dict[str, float]:
        assert self._front is not None
        counted = {f"gateway_{one.name}": getattr(self._front.relay.counts, one.name) for one in fields(GatewayCounts)}
        return {**counted, "gateway_streams": self._front.streams(), "journal_streams": self._history.readers()}

    def cut(self, session_id: str) -> None:
        """End the connections to the agent server of a session that has ended."""
        if self._front is not None:
            self._front.cut(session_id)

    async def stop_listening(self) -> None:
        """Let nobody in any more; who is in stays."""
        for port in self._ports:
            await port.stopListening()

    async def close(self) -> None:
        """End every stream and every connection; twice does no harm."""
        if self._history.close():
            await deferLater(self._reactor, LAST_BYTES, lambda: None)
        self._measures.stop()
        if self._front is not None:
            self._front.stop()


def _gateway_options(config: Config) -> GatewayOptions:
    wanted = config.gateway
    return GatewayOptions(
        start_wait=wanted.start_wait,
        connect_timeout=wanted.connect_timeout,
        first_byte_timeout=wanted.first_byte_timeout,
        idle_timeout=wanted.idle_timeout,
        keepalive=wanted.keepalive,
        max_head=wanted.max_head_bytes,
        max_headers=wanted.max_headers,
        head_timeout=wanted.head_timeout,
        body_timeout=wanted.body_timeout,
        pool_size=wanted.pool_per_backend,
        trusted_proxies=tuple(ip_network(one) for one in config.trusted_proxies),
    )


def _vapid(config: Config) -> Vapid | None:
    wanted = config.push
    given = (wanted.vapid_public_key, wanted.vapid_private_key, wanted.vapid_contact_email)
    if not any(given):
        return None
    try:
        return vapid_of(*(one or "" for one in given))
    except ValueError as error:
        raise CannotStart(str(error)) from error


def _endpoint(host: str, port: int) -> str:
    kind = "tcp6" if ":" in host else "tcp"
    return f"{kind}:{port}:interface=" + host.replace(":", "\\:")
