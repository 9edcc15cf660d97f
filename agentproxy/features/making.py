"""Gives life to sessions: recipe, supervisor, driver, observer and first message put together for one session."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from agentproxy.agents.agentapi import AgentapiDriver
from agentproxy.agents.driver import AgentServerDriver
from agentproxy.agents.embedded import EmbeddedDriver
from agentproxy.errors import INVALID_REQUEST, Refusal
from agentproxy.features.attending import House
from agentproxy.features.incarnations import wish_again
from agentproxy.features.living import LivingSession
from agentproxy.features.messaging import clean
from agentproxy.features.observing import Observer
from agentproxy.features.preparing import Kitchen, Recipe, agent_of, check, role_facts
from agentproxy.features.settling import until_stable
from agentproxy.model.adoption import RESTART
from agentproxy.model.backend import Backend
from agentproxy.model.principal import SERVER, Principal
from agentproxy.model.session import Incarnation, Session
from agentproxy.model.start import StartRequest
from agentproxy.runtime import agent_servers, orphans
from agentproxy.runtime.agent_servers import AgentServer
from agentproxy.runtime.catalogue import Agent
from agentproxy.runtime.clone import clone_marker
from agentproxy.runtime.limits import Limits
from agentproxy.runtime.output import OutputLog
from agentproxy.runtime.sockets import socket_path
from agentproxy.runtime.starting import Ground, Nothing, Plan
from agentproxy.runtime.steps import StepFailed
from agentproxy.runtime.supervisor import Supervisor
from agentproxy.store import Store

log = Logger()


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for every session of this server; times in seconds.

    :param choose_agent_server: looked up at each start, so that a program installed meanwhile is found.
    :param stop_grace: that an agent server has which an earlier server has started.
    :param restart: ``never`` or ``resume``, for wishes that do not say it.
    :param sockets: folder for the sockets of agent servers that can listen on one, None for ports.
    """

    choose_agent_server: Callable[[], AgentServer]
    listen_within: float
    answer_within: float
    wall_time: float | None
    first_message_within: float
    width: int
    height: int
    limits: Limits
    sockets: Path | None = None
    stop_grace: float = 11
    restart: str = "never"


class Maker:
    """Checks wishes and gives life to sessions (the ``Recipes`` of ``features/incarnations.py``).

    :param on_ended: told when a living session has ended.
    :ivar house: gives each living session its attendant; None in tests of starts alone.
    """

    house: House | None = None

    def __init__(
        self, kitchen: Kitchen, ground: Ground, terms: Terms, store: Store, on_ended: Callable[[LivingSession], None]
    ) -> None:
        self._kitchen = kitchen
        self._ground = ground
        self._terms = terms
        self._store = store
        self._on_ended = on_ended

    def check(self, principal: Principal, wish: StartRequest) -> tuple[str, Mapping[str, Any]]:
        """Return the agent's name and the options to keep.

        :raises Refusal: the wish is not allowed, too many starts wait, or there is no agent server.
        """
        agent, options = check(self._kitchen, wish)
        if wish.oneshot and not wish.message:
            raise Refusal(INVALID_REQUEST, "$.oneshot: a session that ends with its answer needs a message")
        if wish.message:
            clean(wish.message, wish.place("message"))
        if self.house is not None:
            self.house.check_start(wish.user_id or principal.user_id, wish.team_id)
        self._ground.queue.check()
        if options["agent_automatic"]:
            log.info("No agent was named; {agent} is the first one on PATH", agent=agent.name)
        options = {**options, **role_facts(principal, wish), RESTART: wish.restart or self._terms.restart}
        return agent.name, {**options, "agent_server": self._terms.choose_agent_server().name}

    def check_again(self, session: Session) -> None:
        """Check whether a session could be started again now.

        :raises Refusal: its agent, command or script is not allowed any more, too many starts wait, or there is no agent server.
        """
        check(self._kitchen, wish_again(session))
        self._ground.queue.check()
        self._terms.choose_agent_server()

    def give_life(self, session: Session, wish: StartRequest, principal: Principal, resume: bool) -> LivingSession:
        """Return a living session, not started yet, with its place in the queue of starts.

        :raises Refusal: those of :meth:`check`.
        """
        agent, _options = check(self._kitchen, wish)
        living = LivingSession(session, self._store, self._driver, self._observer, self._on_ended)
        living.log_size = lambda: self.output(session.id).size
        recipe = Recipe(self._kitchen, session, wish, agent, resume)
        plan = self._plan(session, self._terms.choose_agent_server())
        living.ticket = self._ground.queue.enter(session.owner)
        living.supervisor = Supervisor(self._ground, replace(plan, ticket=living.ticket), recipe, living)
        living.interrupt_keys = agent.interrupt
        living.resumes = principal if resume and agent.resume else None
        if self.house is not None:
            self._attend(living, agent, self.house)
            if not resume:
                self.house.begins(session)
                living.on_recorded = lambda: self._recorded(living, wish, principal)
        return living

    def _attend(self, living: LivingSession, agent: Agent, house: House) -> None:
        attendant = house.attend(living, agent)
        living.companion = attendant
        within = self._terms.answer_within
        living.until_stable = lambda: until_stable(living, attendant.watcher, self._ground.reactor, within)

    async def _recorded(self, living: LivingSession, wish: StartRequest, principal: Principal) -> None:
        """Count a start whose record is committed, and accept its first message."""
        assert self.house is not None
        self.house.started(living.record)
        if wish.message:
            sender = principal.user_id if principal is not SERVER else living.record.owner
            await self.house.first_message(living, sender, wish, self._terms.first_message_within)

    def heir(self, session: Session, incarnation: Incarnation) -> LivingSession:
        """Return a living session for an incarnation that an earlier server began; it waits to be adopted."""
        living = LivingSession(session, self._store, self._driver, self._observer, self._on_ended)
        living.log_size = lambda: self.output(session.id).size
        server = agent_servers.named(incarnation.agent_server, self._terms.stop_grace)
        try:
            agent = agent_of(self._kitchen, session)
            living.interrupt_keys = agent.interrupt
            if self.house is not None:
                self._attend(living, agent, self.house)
        except Refusal as refusal:
            log.warn("Session {session} goes on, but could not be started now: {why}",
                     session=session.id, why=str(refusal))  # fmt: skip
        plan = replace(
            self._plan(session, server),
            marker=incarnation.marker,
            door=incarnation.door,
            socket=Path(incarnation.unix_path) if incarnation.unix_path else None,
        )
        living.supervisor = Supervisor(self._ground, plan, Nothing(), living)
        living.inherit(incarnation)
        return living

    def records(self, session_id: str) -> Path:
        """Return the directory of a session's records."""
        return self._kitchen.directories.of(session_id).root / "records"

    def sessions_root(self) -> Path:
        """Return the directory below which every session has its own."""
        return self._kitchen.directories.root

    async def clear_unfinished(self, session_id: str) -> None:
        """End a clone that goes on by itself and remove the directory of a session that never ran."""
        place = self._kitchen.directories.of(session_id)
        if place.root.exists():
            await deferToThread(orphans.end_all, clone_marker(place.work))
            await self.clear(session_id)

    async def door_opens(self, incarnation: Incarnation) -> bool:
        """Return whether the agent server answers to its door secret and to no other."""
        here = Backend("127.0.0.1", incarnation.port, incarnation.unix_path)
        right = self._driver(replace(here, door=incarnation.door))
        wrong = self._driver(replace(here, door=secrets.token_urlsafe(32)))
        try:
            return await right.answers() and not await wrong.answers()
        finally:
            await right.close()
            await wrong.close()

    def output(self, session_id: str) -> OutputLog:
        """Return the log of what a session's agent servers print."""
        return OutputLog(self._kitchen.directories.of(session_id).log / "agent-server.log")

    async def clear(self, session_id: str) -> None:
        """Remove the session's directory; what cannot be removed is logged."""
        try:
            await self._kitchen.directories.remove(session_id)
        except StepFailed as failed:
            log.warn("Session {session}: {sentence}", session=session_id, sentence=failed.sentence)

    def _driver(self, backend: Backend) -> AgentServerDriver:
        kind = EmbeddedDriver if backend.door is not None else AgentapiDriver
        return kind(self._ground.reactor, backend)

    def _observer(self, driver: AgentServerDriver, living: LivingSession) -> Observer:
        return Observer(driver, living, self._ground.reactor, known=living.known)

    def _plan(self, session: Session, server: AgentServer) -> Plan:
        directory = self._kitchen.directories.of(session.id)
        sockets = self._terms.sockets
        home = self._kitchen.home(session)
        return Plan(
            session_id=session.id,
            number=session.incarnation,
            owner=session.owner,
            agent_server=server,
            marker=secrets.token_hex(16),
            log=self.output(session.id),
            records=directory.root / "records",
            door=secrets.token_urlsafe(32) if server.has_door else None,
            own=(directory.work, directory.tmp, home),
            socket=socket_path(sockets, session.id, session.incarnation) if sockets and server.has_door else None,
            limits=self._terms.limits,
            width=self._terms.width,
            height=self._terms.height,
            listen_within=self._terms.listen_within,
            answer_within=self._terms.answer_within,
            wall_seconds=self._terms.wall_time,
        )
