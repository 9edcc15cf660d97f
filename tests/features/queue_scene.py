"""A queue in memory in front of a scripted agent that keeps its own log; either can be stopped dead between any two steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from agentproxy.agents.driver import EventSink, MessageEvent, Outcome, Sent, StatusEvent, Subscription
from agentproxy.features.attention import Watcher
from agentproxy.features.observing import Observer
from agentproxy.features.queue_terms import Terms
from agentproxy.features.queueing import MessageQueue
from agentproxy.model.attention import Attention, Marks
from agentproxy.model.delivery import OPEN, Delivery
from agentproxy.model.event import NewEvent
from agentproxy.model.message import Message
from agentproxy.model.session import AgentStatus
from agentproxy.runtime.catalogue import load
from tests.features.test_observing import Sink

MARKS = load().agents["demo"].marks
IDLE = "[1] > "
WORKING = "| thinking 0.1 s (Ctrl-C interrupts)"
ASKING = "The demo agent wants to run:\n    rm x\n  y. Yes, run it\n  n. No\nAllow? [y/n] "
NOW = datetime(2030, 1, 1, tzinfo=UTC)


@dataclass
class Steps:
    """Counts steps; the one with the number *stop_at* never comes back, before or after its effect."""

    stop_at: int | None = None
    taken: int = 0

    def stopped(self) -> bool:
        """Take a step and return whether it is the last one."""
        self.taken += 1
        return self.stop_at is not None and self.taken >= self.stop_at


@dataclass
class MemoryLedger:
    """Keeps deliveries as a store does, across crashes."""

    rows: dict[str, Delivery] = field(default_factory=dict)
    events: list[NewEvent] = field(default_factory=list)
    steps: Steps = field(default_factory=Steps)
    failing: BaseException | None = None
    transcript: list[Message] = field(default_factory=list)

    async def load(self, session_id: str) -> tuple[list[Delivery], list[str]]:
        """Return what is open."""
        return sorted((one for one in self.rows.values() if one.state in OPEN), key=lambda one: one.position), []

    async def life(self, session_id: str, incarnation: int) -> list[Message]:
        """Return what the journal has of an earlier life."""
        return self.transcript

    async def keep(self, changed: Sequence[Delivery], events: Sequence[NewEvent]) -> None:
        """Commit, or be stopped before or after it."""
        if self.failing is not None:
            raise self.failing
        if self.steps.stopped():
            await Deferred()
        self.rows.update({one.id: one for one in changed})
        self.events += events
        if self.steps.stopped():
            await Deferred()

    def settled(self, delivery: Delivery) -> None:
        """Nobody waits here."""

    def states(self) -> dict[str, str]:
        """Return the state of each delivery."""
        return {one.id: one.state.value for one in self.rows.values()}


@dataclass
class SimulatedAgent:
    """An agent server and its agent: ``entered`` is the agent's own log of what was typed into it."""

    clock: Clock
    steps: Steps = field(default_factory=Steps)
    outcomes: list[Outcome] = field(default_factory=list)
    entered: list[str] = field(default_factory=list)
    transcript: list[Message] = field(default_factory=list)
    pressed: list[str] = field(default_factory=list)
    screen_text: str = IDLE
    status_now: AgentStatus = AgentStatus.STABLE
    screens_read: int = 0
    sink: EventSink | None = None

    def events(self, sink: EventSink) -> Subscription:
        """Replay everything to a new stream, soon."""
        self.sink = sink
        self.clock.callLater(0, self._replay, sink)
        return self

    def _replay(self, sink: EventSink) -> None:
        if self.sink is sink:
            sink.opened()
            for message in self.transcript:
                sink.event(MessageEvent(message))
            sink.event(StatusEvent(self.status_now))

    def close(self) -> Any:
        """End the stream, or the driver."""
        self.sink = None
        done: Deferred[None] = Deferred()
        done.callback(None)
        return done

    def _tell(self, event: Any) -> None:
        if self.sink is not None:
            self.sink.event(event)

    def status_is(self, status: AgentStatus, screen: str) -> None:
        """Let the agent draw *screen* and be of that status."""
        self.screen_text, self.status_now = screen, status
        self._tell(StatusEvent(status))

    def turn(self, screen: str) -> None:
        """Let the agent draw *screen* and turn quiet."""
        self.status_is(AgentStatus.RUNNING, screen)
        self.status_is(AgentStatus.STABLE, screen)

    def say(self, role: str, text: str) -> None:
        """Let a message be in the transcript."""
        message = Message(len(self.transcript), role, text, NOW)
        self.transcript.append(message)
        self._tell(MessageEvent(message))

    def finish_turn(self) -> None:
        """Let a running agent answer and turn quiet."""
        if self.status_now is AgentStatus.RUNNING:
            self.say("agent", f"answer {len(self.entered)} to {self.entered[-1] if self.entered else 'nothing'}")
            self.status_is(AgentStatus.STABLE, IDLE)

    async def send_user(self, text: str, deadline: float) -> Outcome:
        """Take a message, or be stopped before or after it."""
        if self.steps.stopped():
            await Deferred()
        outcome = self.outcomes.pop(0) if self.outcomes else Sent()
        if isinstance(outcome, Sent):
            assert self.status_now is AgentStatus.STABLE, "typed into a working agent"
            assert self.screen_text == IDLE, "typed into a question"
            self.entered.append(text)
            self.status_is(AgentStatus.RUNNING, WORKING)
            self.say("user", text)
        if self.steps.stopped():
            await Deferred()
        return outcome

    async def send_raw(self, keys: str, deadline: float = 5.0) -> Outcome:
        """Note keys."""
        self.pressed.append(keys)
        return self.outcomes.pop(0) if self.outcomes else Sent()

    async def interrupt(self, keys: Sequence[str]) -> Outcome:
        """Note keys and end the turn."""
        self.pressed += keys
        self.say("agent", "interrupted")
        self.status_is(AgentStatus.STABLE, IDLE)
        return Sent()

    async def screen(self) -> str:
        """Show the screen."""
        self.screens_read += 1
        return self.screen_text

    async def messages(self) -> tuple[Message, ...]:
        """Return the transcript."""
        return tuple(self.transcript)

    async def status(self) -> AgentStatus:
        raise AssertionError("nobody polls an agent server")

    async def answers(self) -> bool:
        return True


class Scene:
    """One session's queue in front of its agent."""

    def __init__(self, marks: Marks = MARKS, incarnation: int = 1, acp: bool = False) -> None:
        self.clock = Clock()
        self.steps = Steps()
        self.ledger = MemoryLedger(steps=self.steps)
        self.agent = SimulatedAgent(self.clock, self.steps)
        self.told: list[Attention] = []
        self.facts: list[tuple[str, dict[str, Any]]] = []
        self.holder: str | None = None
        self.spent = ""
        self.turns = 0
        self.over: list[str] = []
        self.marks, self.incarnation, self.acp = marks, incarnation, acp
        self.begin()

    def begin(self) -> None:
        """Start a server in front of the agent."""
        self.watcher = Watcher(self.marks, self.clock, self.told.append, acp=self.acp)
        terms = Terms(
            session_id="s",
            incarnation=self.incarnation,
            interrupt=("\x03",),
            clear=("\x15",),
            budget=lambda: self.spent,
            spent=self._spent,
            answered=lambda one: self.over.append(one.state.value),
            tell=lambda kind, facts: self.facts.append((kind, facts)),
        )
        self.queue = MessageQueue(self.ledger, self.watcher, lambda: self.holder, terms, self.clock)
        self.observer = Observer(self.agent, _Forward(self), self.clock)  # type: ignore[arg-type]
        self.watcher.attach(self.agent, self.observer)  # type: ignore[arg-type]
        self.queue.attach(self.agent, self.observer)  # type: ignore[arg-type]
        self.clock.advance(0)

    def _spent(self) -> None:
        self.turns += 1

    def crash(self) -> None:
        """Let the server die where it stands; what is committed and the agent stay."""
        self.queue.abandon()
        self.agent.sink = None
        self.observer.close()
        self.watcher.close()
        self.steps.stop_at = None

    def accept(self, text: str, sender: str = "alice", **facts: Any) -> str:
        """Accept a message, which is committed."""
        number = len(self.ledger.rows) + 1
        one = Delivery(
            id=f"d{number}",
            session_id="s",
            sender=sender,
            text=text,
            created_at=NOW,
            updated_at=NOW,
            **{"position": number, **facts},
        )
        self.ledger.rows[one.id] = one
        self.queue.add(one)
        return one.id

    def state(self, delivery_id: str) -> str:
        """Return the committed state of a delivery."""
        return self.ledger.rows[delivery_id].state.value

    def work(self, until: Callable[[], bool], turns: int = 200) -> None:
        """Let agent and time go on until something is so.

        :raises AssertionError: it never is.
        """
        for _turn in range(turns):
            if until():
                return
            self.agent.finish_turn()
            self.clock.advance(1)
        raise AssertionError(f"it did not come to that: {self.ledger.states()}, held: {self.queue.held}")

    def settled(self) -> bool:
        """Return whether nothing is left to do."""
        return not any(one.state in OPEN for one in self.ledger.rows.values())

    def end(self) -> None:
        """End everything; nothing may be left on the clock."""
        self.queue.close()
        self.observer.close()
        self.watcher.gone()
        left = [call for call in self.clock.getDelayedCalls() if call.func != self.agent._replay]
        assert not left, left


class _Forward(Sink):
    """What the living session does: tells the watcher and the queue."""

    def __init__(self, scene: Scene) -> None:
        super().__init__()
        self._scene = scene

    def status_changed(self, status: AgentStatus) -> None:
        self._scene.watcher.status_changed(status)

    def message_changed(self, message: Message) -> None:
        self._scene.watcher.message_changed(message)
        self._scene.queue.poke()
