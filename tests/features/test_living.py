"""A living session between its agent server's first answer and the record of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed

from agentproxy.agents.driver import AgentServerDriver
from agentproxy.features.living import LivingSession
from agentproxy.features.observing import Observer
from agentproxy.model.backend import Backend
from agentproxy.model.session import Ending, EndReason, Phase, Session
from agentproxy.store import Sealer, Store
from tests.store.making import a_session

HERE = Backend("127.0.0.1", 9)


class SlowStore(Store):
    """A store that writes when ``go`` fires."""

    def __init__(self, directory: Path) -> None:
        super().__init__(cast(Any, reactor), None, directory, secrets=Sealer.from_directory(directory))
        self.go: Deferred[None] = succeed(None)

    async def change_session(self, *given: Any, **options: Any) -> Any:
        """Wait, then write."""
        went: Deferred[None] = Deferred()
        self.go.addCallback(lambda none: went.callback(none))
        await went
        return await super().change_session(*given, **options)


class Driver:
    """A driver that is only there."""

    closed = False

    async def close(self) -> None:
        """End."""
        self.closed = True


class Watching:
    """An observer that is only there."""

    def close(self) -> None:
        """End."""


async def with_a_session(directory: Path, steps: Callable[[SlowStore, LivingSession], Awaitable[None]]) -> None:
    """Do *steps* with a session whose agent server is starting."""
    store = SlowStore(directory)
    await store.open()
    session: Session = a_session(phase=Phase.STARTING)
    await store.add_session(session, [])
    living = LivingSession(
        session, store,
        lambda _backend: cast(AgentServerDriver, Driver()),
        lambda _driver, _living: cast(Observer, Watching()),
        lambda _living: None,
    )  # fmt: skip
    await steps(store, living)
    await living.committed()
    await store.close()


@pytest_twisted.ensureDeferred
async def test_it_is_observed_when_it_is_recorded_as_ready(tmp_path: Path) -> None:
    """Requests are forwarded and commands are taken at once; the stream is opened behind the write that the starter waits for."""

    async def steps(store: SlowStore, living: LivingSession) -> None:
        store.go = Deferred()
        living.ready(HERE)
        assert (living.backend, living.observer) == (HERE, None)
        assert living.driver is not None
        store.go.callback(None)
        await living.written()
        assert living.observer is not None

    await with_a_session(tmp_path, steps)


@pytest_twisted.ensureDeferred
async def test_one_that_has_ended_before_it_was_recorded_is_never_observed(tmp_path: Path) -> None:
    """Nobody connects to the port of an agent server that is gone."""

    async def steps(store: SlowStore, living: LivingSession) -> None:
        store.go = Deferred()
        living.ready(HERE)
        driver = cast(Driver, living.driver)
        living.ended(Ending(EndReason.EXITED, "it ended"))
        store.go.callback(None)
        await living.committed()
        assert (living.observer, driver.closed) == (None, True)

    await with_a_session(tmp_path, steps)
