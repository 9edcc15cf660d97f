"""Approvals that are answered by several at once, too late, or by nobody."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock

from agentproxy.agents.driver import Outcome, Sent, Unreachable
from agentproxy.errors import APPROVAL_CHANGED, APPROVAL_NOT_FOUND, SESSION_NOT_FOUND, Refusal
from agentproxy.features.approval_rules import Rules
from agentproxy.features.approvals import IGNORED, Approvals, ApprovalTerms
from agentproxy.model.attention import Attention, Kind, Marks
from agentproxy.model.principal import LOCAL, Principal
from agentproxy.model.session import Session
from agentproxy.runtime.catalogue import load
from agentproxy.store import Store
from tests.store.making import a_session, a_store

MARKS = load().agents["codex"].marks
LINE = "Would you like to run the following command?"
SESSION = a_session()


def screen(command: str) -> str:
    """Return a screen that asks for leave to run a command."""
    return f"  {LINE}\n\n  $ {command}\n\n› 1. Yes, proceed (y)\n  2. No (esc)"


class Permits:
    """Lets everybody do everything to the one session that there is, and notes what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def permitted(self, principal: Principal, session_id: str, verb: str) -> Session:
        self.asked.append(session_id)
        if session_id != SESSION.id or principal.user_id == "stranger":
            raise Refusal(SESSION_NOT_FOUND, session_id=session_id)
        return SESSION


@dataclass
class Driver:
    """Shows a screen; ``pressed`` has the keys that it was given."""

    shown: str = field(default_factory=lambda: screen("rm x"))
    pressed: list[str] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    told: Deferred[None] = field(default_factory=Deferred)

    async def screen(self) -> str:
        return self.shown

    async def send_raw(self, keys: str) -> Outcome:
        self.pressed.append(keys)
        told, self.told = self.told, Deferred()
        told.callback(None)
        return self.outcomes.pop(0) if self.outcomes else Sent()


@dataclass
class Watcher:
    """Has seen the first question."""

    now: Attention = field(default_factory=lambda: Attention(Kind.APPROVAL, LINE))
    marks: Marks = MARKS
    screen: str = field(default_factory=lambda: screen("rm x"))
    request: None = None


@dataclass
class Agent:
    """An agent that asks."""

    record: Session = SESSION
    driver: Driver = field(default_factory=Driver)
    watcher: Watcher = field(default_factory=Watcher)
    keys: dict[str, tuple[str, ...]] = field(default_factory=lambda: {"allow": ("y",), "deny": ("\x1b",)})


class Scene:
    """One agent that asks."""

    def __init__(self, store: Store, expire_after: float | None) -> None:
        self.clock, self.permits, self.agent = Clock(), Permits(), Agent()
        self.notes: list[str] = []

        def note(_who: object, _verb: str, _session: object, _allowed: bool, reason: str, _facts: object) -> None:
            self.notes.append(reason)

        rules = Rules(store, (), note)
        self.approvals = Approvals(store, self.permits, rules, ApprovalTerms(expire_after), note, self.clock)
        self.approvals.changed(cast(Any, self.agent))
        current = self.approvals.current(SESSION.id)
        assert current is not None
        self.id = current.id

    async def answered(self, answer: str, caller: Principal = LOCAL) -> str:
        """Return the state after an answer, or the code of the refusal."""
        try:
            return (await self.approvals.answer(caller, self.id, answer)).state.value
        except Refusal as refusal:
            return refusal.kind.code


def scene(directory: Path, steps: Callable[[Scene], Awaitable[None]], expire_after: float | None = None) -> Any:
    """Run steps in a scene of their own."""

    async def run() -> None:
        store = a_store(directory)
        await store.open()
        try:
            await store.add_session(SESSION, [])
            one = Scene(store, expire_after)
            await steps(one)
            one.approvals.close()
        finally:
            await store.close()

    return ensureDeferred(run())


def test_of_answers_at_once_one_counts(tmp_path: Path) -> Any:
    """The others are told that it was answered; its keys are pressed once."""

    async def steps(one: Scene) -> None:
        asked = [ensureDeferred(one.answered(answer)) for answer in ("allow", "deny", "allow")]
        outcomes = [await each for each in asked]
        [first] = [each for each in outcomes if each != APPROVAL_CHANGED.code]
        assert one.agent.driver.pressed == {"allowed": ["y"], "denied": ["\x1b"]}[first]
        assert one.notes == ["approval answered by local"]

    return scene(tmp_path, steps)


def test_an_answer_presses_nothing_into_another_prompt(tmp_path: Path) -> Any:
    """The screen has moved on before anybody has told so."""

    async def steps(one: Scene) -> None:
        one.agent.driver.shown = screen("rm -r /")
        assert await one.answered("allow") == APPROVAL_CHANGED.code
        assert one.agent.driver.pressed == []

    return scene(tmp_path, steps)


def test_an_expired_approval_is_denied_when_its_agent_server_answers_again(tmp_path: Path) -> Any:
    """One that cannot be reached at that moment is tried again."""

    async def steps(one: Scene) -> None:
        one.agent.driver.outcomes = [Unreachable("no connection")]
        first = one.agent.driver.told
        one.clock.advance(10)
        await first
        again = one.agent.driver.told
        while not again.called:
            await one.approvals.get(LOCAL, one.id)
            one.clock.advance(IGNORED)
        assert one.agent.driver.pressed == ["\x1b", "\x1b"]

    return scene(tmp_path, steps, expire_after=10)


def test_an_approval_that_is_not_there_is_looked_for_like_a_strangers(tmp_path: Path) -> Any:
    """Both ask for leave to read a session, which takes its time, and both are told the same."""

    async def steps(one: Scene) -> None:
        refusals = []
        for approval_id in (one.id, "nowhere"):
            asked = len(one.permits.asked)
            try:
                await one.approvals.get(Principal("stranger"), approval_id)
            except Refusal as refusal:
                refusals.append((refusal.kind, len(one.permits.asked) - asked))
        assert refusals == [(APPROVAL_NOT_FOUND, 1)] * 2

    return scene(tmp_path, steps)
