"""Sessions are started, stopped, restarted and deleted while agents and servers die and machines reboot, in any order.

Beside the server stands a model: for each session, whether it runs, why it ended, and how many lives it had. Processes,
directories and the database are real.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import hypothesis.strategies as st
import pytest
import pytest_twisted
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import blockingCallFromThread, deferToThread

from agentproxy.errors import SESSION_NOT_FOUND, Refusal
from agentproxy.features.clearing import Clearing
from agentproxy.model.principal import LOCAL
from agentproxy.model.session import EndReason, Phase, Session
from agentproxy.model.start import StartRequest
from tests.features.life_scene import Server, left_of

T = TypeVar("T")


@dataclass
class Expected:
    """What the model knows of a session.

    :param ended: why it ended last, None while it runs.
    :param continues: whether its agent was begun to continue its conversation, which the agent of this test never comes to.
    """

    resumed: bool
    ended: EndReason | None = None
    lives: int = 1
    deleted: bool = False
    continues: bool = False


def done(coroutine: Coroutine[Any, Any, T]) -> T:
    """Wait, in a thread of the test, for the server."""
    return blockingCallFromThread(reactor, Deferred.fromCoroutine, coroutine)  # type: ignore[no-any-return]


def is_legal(kinds: list[str]) -> bool:
    """Return whether the phases of a session came in an order that may be."""
    life = r"(?:starting ready (?:adopted )*(?:stopping )?ended )"
    last = r"(?:starting ready (?:adopted )*)?"
    return re.fullmatch(rf"queued {life}?(?:restarted {life})*(?:restarted {last}|{last})(?:deleted )?",
                        "".join(f"{kind} " for kind in kinds)) is not None  # fmt: skip


class SessionsAndModel(RuleBasedStateMachine):
    """The server beside the model."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.boots = 1
        self.model: dict[str, Expected] = {}
        self.server = Server(self.directory, boot_id="boot 1")
        done(self.server.open())

    # -- what people do

    @precondition(lambda self: len(self.model) < 4)
    @rule(restart=st.sampled_from(["never", "resume"]))
    def start(self, restart: str) -> None:
        """Somebody starts a session."""
        wish = StartRequest(agent="demo", restart=restart)
        session_id = done(self.server.sessions.start(LOCAL, wish)).session.id
        self.model[session_id] = Expected(restart == "resume")

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        """Somebody stops a session; one that has ended stays as it is."""
        session_id, expected = self._one(data)
        if expected.deleted:
            with pytest.raises(Refusal) as refused:
                done(self.server.sessions.stop(LOCAL, session_id))
            assert refused.value.kind is SESSION_NOT_FOUND
            return
        done(self.server.sessions.stop(LOCAL, session_id))
        expected.ended = expected.ended or EndReason.STOPPED

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def restart(self, data: st.DataObject) -> None:
        """Somebody begins the next life of a session."""
        session_id, expected = self._one(data)
        if expected.deleted:
            with pytest.raises(Refusal):
                done(self.server.sessions.restart(LOCAL, session_id))
            return
        done(self.server.sessions.restart(LOCAL, session_id))
        expected.ended, expected.lives, expected.continues = None, expected.lives + 1, True

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        """Somebody deletes a session, perhaps for the second time."""
        session_id, expected = self._one(data)
        if expected.deleted:
            with pytest.raises(Refusal):
                done(self.server.sessions.delete(LOCAL, session_id))
            return
        done(self.server.sessions.delete(LOCAL, session_id))
        expected.ended, expected.deleted = expected.ended or EndReason.STOPPED, True

    # -- what happens to them

    @rule(data=st.data())
    def agent_dies(self, data: st.DataObject) -> None:
        """An agent server is killed from outside; one that could not continue its conversation begins a new one."""
        living = self._running()
        if living:
            session_id = data.draw(st.sampled_from(living))
            expected = self.model[session_id]
            done(self._killed(session_id))
            if expected.continues:
                done(self._begun_again(session_id))
                expected.lives, expected.continues = expected.lives + 1, False
            else:
                expected.ended = EndReason.EXITED

    @rule(data=st.data(), dying=st.booleans())
    def server_dies(self, data: st.DataObject, dying: bool) -> None:
        """The server is killed and another one starts; an agent may have died meanwhile."""
        done(self.server.die())
        self._let_go()
        living = self._running()
        if dying and living:
            session_id = data.draw(st.sampled_from(living))
            self._kill_all([session_id])
            self._lost([session_id])
        self._next_server()

    @rule(keep=st.booleans())
    def planned_restart(self, keep: bool) -> None:
        """The server is stopped politely, with or without its agents, and another one starts."""
        self._let_go()
        if keep:
            done(self.server.incarnations.let_go())
            done(self.server.store.close())
        else:
            done(self.server.incarnations.close())
            done(self.server.store.close())
            for session_id in self._running():
                self.model[session_id].ended = EndReason.STOPPED
        self._next_server()

    @rule()
    def reboot(self) -> None:
        """The machine is started anew: nothing runs any more, and process ids mean nothing."""
        done(self.server.die())
        self._let_go()
        living = self._running()
        self._kill_all(living)
        self.boots += 1
        self._lost(living)
        self._next_server()

    # -- what is always so

    @invariant()
    def they_agree(self) -> None:
        """Record, list, processes, directories, lives and journal tell what the model knows."""
        for session_id, expected in self.model.items():
            done(self._agrees(session_id, expected))

    async def _agrees(self, session_id: str, expected: Expected) -> None:
        store = self.server.store
        session = await store.session(session_id)
        assert session is not None
        assert (session.ending.reason if session.ending else None, session.incarnation) == (
            expected.ended,
            expected.lives,
        )
        assert session.phase is (Phase.ENDED if expected.ended else Phase.READY)
        assert (session.deleted_at is not None) is expected.deleted
        assert bool(await left_of(store, session_id)) is (expected.ended is None)
        lives = await store.incarnations(session_id)
        assert [one.ended_at is None for one in lives] == [False] * (len(lives) - 1) + [expected.ended is None]
        assert len(lives) == expected.lives
        assert (session_id in {one.record.id for one in self.server.sessions.living()}) is (expected.ended is None)
        assert self.server.directories.of(session_id).root.exists() is not expected.deleted
        events = await store.events(session_id, 0, 1000)
        phases = [one.kind.partition(".")[2] for one in events if one.kind.startswith("session.")]
        assert is_legal([one for one in phases if one != "step"]), phases

    # -- steps

    def _one(self, data: st.DataObject) -> tuple[str, Expected]:
        session_id = data.draw(st.sampled_from(list(self.model)))
        return session_id, self.model[session_id]

    def _running(self) -> list[str]:
        return [session_id for session_id, expected in self.model.items() if expected.ended is None]

    async def _killed(self, session_id: str) -> None:
        living: Any = self.server.sessions.current(session_id)
        os.kill(living.incarnation.pid, signal.SIGKILL)
        await living.when_over().addTimeout(30, reactor)
        await living.committed()

    async def _begun_again(self, session_id: str) -> None:
        while isinstance(living := self.server.sessions.current(session_id), Session) or living is None:
            await deferLater(reactor, 0.01)  # type: ignore[arg-type]
        await living.decided().addTimeout(60, reactor)  # type: ignore[arg-type]
        await living.committed()

    def _let_go(self) -> None:
        """Note that the next server does not know how the agents were begun that it takes over."""
        for expected in self.model.values():
            expected.continues = False

    def _kill_all(self, session_ids: list[str]) -> None:
        store = self.server.store
        done(store.open())
        for session_id in session_ids:
            for pid in done(left_of(store, session_id)):
                os.kill(pid, signal.SIGKILL)
        done(store.close())

    def _lost(self, session_ids: list[str]) -> None:
        """Note what becomes of sessions whose agent servers have gone while no server watched."""
        for expected in (self.model[one] for one in session_ids):
            if expected.resumed:
                expected.lives, expected.continues = expected.lives + 1, True
            else:
                expected.ended = EndReason.LOST

    def _next_server(self) -> None:
        self.server = Server(self.directory, boot_id=f"boot {self.boots}")
        done(self.server.open())
        done(self._settled())

    async def _settled(self) -> None:
        for living in self.server.sessions.living():
            await living.decided().addTimeout(60, reactor)  # type: ignore[arg-type]
            await living.committed()
        await Clearing(self.server.store, self.server.directories).clear()

    def teardown(self) -> None:
        """End everything and look that nothing is left."""
        done(self.server.incarnations.close())
        assert [one for session_id in self.model for one in done(left_of(self.server.store, session_id))] == []
        done(self.server.store.close())
        shutil.rmtree(self.directory)


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")  # what a dead server was about to write
@pytest_twisted.ensureDeferred
async def test_a_session_is_what_the_model_says() -> None:
    """No order of wishes, deaths and restarts makes record, processes or journal say anything but the truth."""
    bounded = settings(
        max_examples=int(os.environ.get("LIVES", "8")), stateful_step_count=10, deadline=None, database=None
    )
    await deferToThread(run_state_machine_as_test, SessionsAndModel, settings=bounded)
