"""The server dies between any two steps of a delivery: nothing is typed twice, nothing is lost; the agent's own log decides."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.defer import ensureDeferred

from agentproxy.features import recovering
from agentproxy.model.attention import Marks
from agentproxy.model.delivery import At, DeliveryState
from agentproxy.model.session import AgentStatus
from tests.features.queue_scene import ASKING, IDLE, MARKS, WORKING, Scene

STEPS = 30
"""More than three deliveries take: two around each of nine commits, two around each of three messages."""


def through(scene: Scene, stop_at: int, texts: tuple[str, ...] = ("one", "two", "three")) -> bool:
    """Have messages delivered with one crash at a step, and return whether there was one."""
    scene.steps.stop_at = stop_at
    for text in texts:
        scene.accept(text)
    for _turn in range(20):
        if scene.settled() or scene.steps.taken >= stop_at:
            break
        scene.agent.finish_turn()
        scene.clock.advance(1)
    crashed = not scene.settled()
    if crashed:
        scene.crash()
        scene.begin()
    return crashed


@pytest.mark.parametrize("stop_at", range(1, STEPS + 1))
def test_a_crash_at_any_step(stop_at: int) -> None:
    """Each message reaches an agent whose input line can be seen exactly once and in order, and none is uncertain."""
    scene = Scene()
    through(scene, stop_at)
    scene.work(scene.settled)
    assert scene.agent.entered == ["one", "two", "three"]
    assert set(scene.ledger.states().values()) == {"answered"}
    scene.end()


def test_the_crashes_are_between_every_two_steps() -> None:
    """The steps above reach to the end of the last delivery: one more and there is no crash."""
    crashes = [through(Scene(), stop_at) for stop_at in range(1, STEPS + 10)]
    assert crashes == [True] * crashes.count(True) + [False] * crashes.count(False)
    assert 20 < crashes.count(True) < STEPS


@pytest.mark.parametrize("stop_at", range(1, 9))
def test_a_crash_before_an_agent_that_cannot_be_read(stop_at: int) -> None:
    """Without a mark for the input line a message that is not in the transcript is uncertain: never typed twice, never lost."""
    scene = Scene(Marks())
    through(scene, stop_at, ("one",))
    for _turn in range(100):
        scene.agent.finish_turn()
        scene.clock.advance(1)
    assert scene.agent.entered in (["one"], [])
    assert scene.state("d1") == ("answered" if scene.agent.entered else "uncertain")
    scene.end()


def test_a_message_that_another_life_of_the_agent_server_was_typed() -> None:
    """The journal has its transcript: what stands there was delivered, what does not is uncertain."""
    for shown in (True, False):
        scene = Scene()
        scene.steps.stop_at = 4
        scene.accept("one")
        scene.crash()
        scene.ledger.transcript = list(scene.agent.transcript) if shown else []
        scene.agent.transcript, scene.agent.entered, scene.incarnation = [], [], 2
        scene.agent.screen_text, scene.agent.status_now = IDLE, AgentStatus.STABLE
        scene.begin()
        assert scene.state("d1") == ("delivered" if shown else "uncertain")
        assert scene.agent.entered == []
        scene.end()


def test_a_text_that_stands_in_the_input_line_is_uncertain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Typed and not entered when the server died: the input line is never empty, so nobody types it again."""
    monkeypatch.setattr(recovering, "PATIENCE", 0.0)
    scene = Scene()
    scene.steps.stop_at = 3
    scene.accept("one")
    scene.crash()
    scene.agent.screen_text = "[1] > one"
    scene.begin()
    assert scene.state("d1") == "uncertain"
    assert scene.agent.entered == []
    scene.end()


class Life(RuleBasedStateMachine):
    """Messages, turns, questions, keyboards, withdrawals and crashes in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.scene = Scene(MARKS)
        self.texts: dict[str, str] = {}
        self.withdrawn: set[str] = set()

    @rule(sender=st.sampled_from(["alice", "bob"]), urgent=st.booleans())
    def accept(self, sender: str, urgent: bool) -> None:
        """Somebody sends a message."""
        text = f"message {len(self.texts) + 1}"
        at = At.INTERRUPT if urgent else At.TURN_END
        self.texts[self.scene.accept(text, sender, at=at)] = text

    @rule()
    def answers(self) -> None:
        """The agent ends its turn."""
        if self.scene.agent.screen_text == WORKING:
            self.scene.agent.finish_turn()

    @rule()
    def asks(self) -> None:
        """The agent asks for an approval in its turn."""
        if self.scene.agent.screen_text == WORKING:
            self.scene.agent.status_is(AgentStatus.STABLE, ASKING)

    @rule()
    def allowed(self) -> None:
        """A person answers the question."""
        if self.scene.agent.screen_text == ASKING:
            self.scene.agent.status_is(AgentStatus.RUNNING, WORKING)

    @rule(who=st.sampled_from([None, "carol"]))
    def keyboard(self, who: str | None) -> None:
        """Somebody takes the keyboard, or gives it back."""
        self.scene.holder = who
        self.scene.queue.poke()

    @rule(seconds=st.sampled_from([0.5, 1, 20]))
    def time(self, seconds: float) -> None:
        """Time goes by."""
        self.scene.clock.advance(seconds)

    @rule(steps=st.integers(1, 6))
    def crash_soon(self, steps: int) -> None:
        """The server will die within some steps."""
        self.scene.steps.stop_at = self.scene.steps.taken + steps

    @rule()
    def crash(self) -> None:
        """The server dies and another one starts."""
        self.scene.crash()
        self.scene.begin()

    @precondition(lambda self: any(one.state is DeliveryState.ACCEPTED for one in self.scene.ledger.rows.values()))
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        """Somebody takes a message back that is not typed."""
        waiting = self.scene.queue.waiting()
        if waiting and self.scene.steps.stop_at is None:
            one = data.draw(st.sampled_from(waiting))
            ensureDeferred(self.scene.queue.change([replace(one, state=DeliveryState.WITHDRAWN)], []))
            self.withdrawn.add(one.id)

    @invariant()
    def never_twice(self) -> None:
        """The agent's own log has nothing twice, and nothing that was taken back."""
        counted = Counter(self.scene.agent.entered)
        assert not [text for text, count in counted.items() if count > 1]
        assert not {self.texts[one] for one in self.withdrawn} & counted.keys()

    def teardown(self) -> None:
        """In the end everything that was not taken back has reached the agent, and nothing is uncertain."""
        scene = self.scene
        scene.crash()
        scene.holder = None
        if scene.agent.screen_text == ASKING:
            scene.agent.status_now, scene.agent.screen_text = AgentStatus.RUNNING, WORKING
        scene.begin()
        scene.work(scene.settled, 400)
        assert sorted(scene.agent.entered) == sorted(t for one, t in self.texts.items() if one not in self.withdrawn)
        scene.end()


Life.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestLife = Life.TestCase
