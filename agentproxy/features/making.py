"""Gives life to sessions: recipe, supervisor, driver, observer and first message put together for one session."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from twisted.logger import Logger

from agentproxy.agents.agentapi import AgentapiDriver
from agentproxy.agents.driver import AgentServerDriver
from agentproxy.agents.embedded import EmbeddedDriver
from agentproxy.agents.marks import Marks
from agentproxy.features.living import LivingSession
from agentproxy.features.messaging import Messenger
from agentproxy.features.observing import Observer
from agentproxy.features.preparing import Kitchen, Recipe, check
from agentproxy.features.readiness import ReadinessJudge
from agentproxy.model.backend import Backend
from agentproxy.model.principal import Principal
from agentproxy.model.session import Session
from agentproxy.model.start import StartRequest
from agentproxy.runtime.agent_servers import AgentServer
from agentproxy.runtime.catalogue import Agent
from agentproxy.runtime.limits import Limits
from agentproxy.runtime.output import OutputLog
from agentproxy.runtime.starting import Ground, Plan
from agentproxy.runtime.steps import StepFailed
from agentproxy.runtime.supervisor import Supervisor
from agentproxy.store import Store

log = Logger()


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for every session of this server; times in seconds.

    :param choose_agent_server: looked up at each start, so that a program installed meanwhile is found.
    """

    choose_agent_server: Callable[[], AgentServer]
    listen_within: float
    answer_within: float
    wall_time: float | None
    first_message_within: float
    width: int
    height: int
    limits: Limits


class Maker:
    """Checks wishes and gives life to sessions (the ``Recipes`` of ``features/sessions.py``).

    :param on_ended: told when a living session has ended.
    """

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
        agent, options = check(self._kitchen, principal, wish)
        self._ground.queue.check()
        return agent.name, {**options, "agent_server": self._terms.choose_agent_server().name}

    def give_life(self, session: Session, wish: StartRequest, principal: Principal, resume: bool) -> LivingSession:
        """Return a living session, not started yet."""
        agent, _options = check(self._kitchen, principal, wish)
        living = LivingSession(session, self._store, self._driver, self._observer, self._on_ended)
        recipe = Recipe(self._kitchen, session, wish, agent, resume)
        living.supervisor = Supervisor(self._ground, self._plan(session), recipe, living)
        living.interrupt_keys = agent.interrupt
        if wish.message and not resume:
            self._first_message(living, wish.message, agent)
        return living

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
        return Observer(driver, living, self._ground.reactor)

    def _first_message(self, living: LivingSession, text: str, agent: Agent) -> None:
        marks = Marks(*(tuple(one.pattern for one in kind) for kind in _kinds(agent)))

        async def deliver() -> None:
            assert living.driver is not None
            assert living.observer is not None
            judge = ReadinessJudge(living.driver, living.observer, marks)
            messenger = Messenger(living.driver, living.observer, judge, self._ground.reactor)
            delivery = await messenger.deliver(text, self._terms.first_message_within)
            living.tell("first_message", {"outcome": delivery.fate.value, "reason": delivery.reason})

        living.on_ready = deliver

    def _plan(self, session: Session) -> Plan:
        directory = self._kitchen.directories.of(session.id)
        server = self._terms.choose_agent_server()
        home = self._kitchen.homes.of(session.owner)
        return Plan(
            session_id=session.id,
            number=session.incarnation,
            owner=session.owner,
            agent_server=server,
            marker=secrets.token_hex(16),
            log=self.output(session.id),
            records=directory.root / "records",
            door=secrets.token_urlsafe(32) if server.has_door else None,
            own=(directory.root, home),
            limits=self._terms.limits,
            width=self._terms.width,
            height=self._terms.height,
            listen_within=self._terms.listen_within,
            answer_within=self._terms.answer_within,
            wall_seconds=self._terms.wall_time,
        )


def _kinds(agent: Agent) -> tuple[Any, Any, Any]:
    return agent.marks.idle, agent.marks.busy, agent.marks.approval
