"""Queued messages: typed once, in order, when the agent takes them; the agent's own log decides."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred, ensureDeferred

from agentproxy.agents.driver import Busy, Outcome, Refused, Sent, TypedNotEntered, Unknown, Unreachable
from agentproxy.errors import STORE_UNAVAILABLE, Refusal
from agentproxy.features.attention import STILL
from agentproxy.features.open_deliveries import OpenDeliveries
from agentproxy.features.queueing import ESCAPE_PAUSE
from agentproxy.features.turn_ends import BEGINS, PRESS_AGAIN, PRESSES, SILENT
from agentproxy.model.attention import Marks
from agentproxy.model.delivery import At, DeliveryState, moved
from agentproxy.model.session import AgentStatus
from tests.features.queue_scene import ASKING, IDLE, MARKS, NOW, WORKING, Scene, SimulatedAgent


def test_messages_are_typed_in_order_each_after_the_turn_before() -> None:
    """Nothing is typed into a working agent, and each delivery has the answer to its own message."""
    scene = Scene()
    for text in ("one", "two", "three"):
        scene.accept(text)
    assert scene.agent.entered == ["one"]
    scene.work(scene.settled)
    assert scene.agent.entered == ["one", "two", "three"]
    assert [one.answer for one in scene.ledger.rows.values()] == [
        "answer 1 to one",
        "answer 2 to two",
        "answer 3 to three",
    ]
    assert scene.turns == 3
    scene.end()


def test_senders_take_turns() -> None:
    """One who queues many messages does not keep another waiting."""
    scene = Scene()
    for text in ("a1", "a2", "a3"):
        scene.accept(text, "alice")
    scene.accept("b1", "bob")
    scene.work(scene.settled)
    assert scene.agent.entered == ["a1", "b1", "a2", "a3"]
    scene.end()


def test_quiet_is_not_ready() -> None:
    """A loading agent is quiet too: its message waits for the input line, and the screen is read once each quiet time."""
    scene = Scene()
    scene.agent.turn("Loading")
    scene.accept("hello")
    scene.clock.advance(60)
    assert scene.agent.entered == []
    assert scene.agent.screens_read == 2
    scene.agent.turn(IDLE)
    assert scene.agent.entered == ["hello"]
    scene.end()


def test_a_question_holds_the_queue_and_says_so() -> None:
    """While the agent asks for an approval nothing is typed, for it would be taken as the answer."""
    scene = Scene()
    scene.agent.turn(ASKING)
    scene.accept("hello")
    scene.clock.advance(60)
    assert scene.agent.entered == []
    assert "Allow? [y/n]" in scene.queue.held
    scene.agent.turn(IDLE)
    assert (scene.agent.entered, scene.queue.held) == (["hello"], "")
    assert [facts["held"] for kind, facts in scene.facts if kind == "queue"] == [
        "the agent waits for a person: Allow? [y/n]",
        "",
    ]
    scene.end()


@pytest.mark.parametrize("left", ["", f"{IDLE}\n  some hint"])
def test_a_slow_agent_has_not_answered_yet(left: str) -> None:
    """An agent that stands still before it begins to work is not done; what an agent server calls its words is its input line."""
    scene = Scene(replace(MARKS, idle=(re.compile(r"^\[\d+\] > ?", re.MULTILINE),)))
    scene.agent.turn(IDLE)
    one = scene.accept("hello")
    if left:
        scene.agent.say("agent", left)
    scene.agent.status_is(AgentStatus.STABLE, IDLE)
    scene.clock.advance(SILENT - 1)
    assert scene.state(one) == "delivered"
    scene.agent.status_is(AgentStatus.RUNNING, WORKING)
    scene.clock.advance(SILENT)
    if left:
        scene.agent.transcript.pop()  # its words replace what was called so
    scene.agent.finish_turn()
    assert scene.state(one) == "answered"
    assert "answer 1 to hello" in (scene.ledger.rows[one].answer or "")
    scene.end()


def test_an_agent_that_says_nothing_has_answered_when_it_stays_quiet() -> None:
    """Some commands of an agent have no answer."""
    scene = Scene()
    scene.agent.turn(IDLE)
    one = scene.accept("/clear")
    scene.agent.status_is(AgentStatus.STABLE, IDLE)
    scene.clock.advance(SILENT)
    assert (scene.state(one), scene.ledger.rows[one].answer) == ("answered", "")
    scene.end()


def test_an_agent_on_its_protocol_that_says_nothing_has_answered_at_once() -> None:
    """The protocol itself says that the turn is over."""
    scene = Scene(acp=True)
    scene.agent.turn(IDLE)
    one = scene.accept("/clear")
    scene.agent.status_is(AgentStatus.STABLE, "")
    assert scene.state(one) == "answered"
    scene.end()


def test_a_stuck_agent_server_holds_the_queue_behind_a_delivered_message() -> None:
    """What was delivered is followed no further, and whoever waits behind it reads why; a turn that ends lets the queue go on."""
    scene = Scene()
    scene.agent.turn(IDLE)
    scene.accept("again")
    assert scene.agent.entered == ["again"]
    scene.accept("and again")
    scene.agent.screen_text = IDLE
    scene.clock.advance(STILL)
    assert scene.queue.held == ""
    scene.clock.advance(STILL)
    assert "restart the session" in scene.queue.held
    scene.agent.finish_turn()
    assert (scene.agent.entered, scene.queue.held) == (["again", "and again"], "")
    scene.end()


def test_a_question_that_came_while_the_stream_was_broken_holds_the_queue() -> None:
    """What the screen showed before the break is not believed afterwards, although the agent was quiet both times."""
    scene = Scene()
    sink = scene.agent.sink
    assert sink is not None
    scene.agent.sink = None
    scene.agent.screen_text = ASKING
    sink.closed("it broke")
    scene.accept("hello")
    assert scene.agent.entered == []
    scene.clock.advance(1)
    assert scene.observer.connected
    assert (scene.agent.entered, "Allow? [y/n]" in scene.queue.held) == ([], True)
    scene.agent.turn(IDLE)
    assert scene.agent.entered == ["hello"]
    scene.end()


def test_who_has_the_keyboard_holds_the_queue() -> None:
    """Nothing is typed between somebody's raw keys."""
    scene = Scene()
    scene.holder = "bob"
    scene.accept("hello")
    assert (scene.agent.entered, scene.queue.held) == ([], "bob has the keyboard")
    scene.holder = None
    scene.queue.poke()
    assert scene.agent.entered == ["hello"]
    scene.end()


def test_a_spent_budget_holds_the_queue_but_no_turn() -> None:
    """The turn under way is answered; the next message waits until somebody lifts the budget."""
    scene = Scene()
    first, second = scene.accept("one"), scene.accept("two")
    scene.spent = "the budget is spent"
    scene.work(lambda: scene.state(first) == "answered")
    scene.clock.advance(60)
    assert (scene.state(second), scene.queue.held) == ("accepted", "the budget is spent")
    scene.spent = ""
    scene.queue.poke()
    scene.work(scene.settled)
    scene.end()


KEY = "\x03"


@dataclass
class Deaf(SimulatedAgent):
    """Does not hear its interrupt keys a few times."""

    deaf: int = 1

    async def interrupt(self, keys: Sequence[str]) -> Outcome:
        if self.pressed.count(KEY) >= self.deaf:
            return await super().interrupt(keys)
        self.pressed += keys
        return Sent()


def test_an_urgent_message_interrupts_the_turn() -> None:
    """It is typed before what waits; the interrupted one says so and has what the agent had said."""
    scene = Scene()
    first, second = scene.accept("one"), scene.accept("two")
    scene.accept("stop", at=At.INTERRUPT)
    scene.clock.advance(BEGINS)
    scene.work(scene.settled)
    assert scene.agent.entered == ["one", "stop", "two"]
    assert scene.agent.pressed[0] == "\x03"
    assert set("".join(scene.agent.pressed[1:])) == {"\x15"}
    assert scene.ledger.rows[first].interrupted
    assert scene.ledger.rows[first].answer == "interrupted"
    assert not scene.ledger.rows[second].interrupted
    scene.end()


@pytest.mark.parametrize("deaf", [1, PRESSES - 1])
def test_an_agent_that_does_not_hear_its_interrupt_keys_is_interrupted_again(deaf: int) -> None:
    """Not within the second in which it begins its turn, and not for ever."""
    scene = Scene()
    scene.crash()
    scene.agent = agent = Deaf(scene.clock, scene.steps, deaf=deaf)
    scene.begin()
    first = scene.accept("one")
    scene.accept("stop", at=At.INTERRUPT)
    scene.clock.pump([BEGINS / 4] * 3)
    assert (agent.entered, agent.pressed.count(KEY)) == (["one"], 0)
    scene.clock.advance(BEGINS / 4)
    for pressed in range(1, deaf + 1):
        assert agent.pressed.count(KEY) == pressed
        scene.clock.pump([ESCAPE_PAUSE, PRESS_AGAIN - ESCAPE_PAUSE])
    assert agent.pressed.count(KEY) == deaf + 1
    scene.work(scene.settled)
    assert agent.entered == ["one", "stop"]
    assert scene.ledger.rows[first].interrupted
    scene.end()


def test_interrupt_keys_that_do_nothing_are_not_pressed_for_ever() -> None:
    """Then the message waits for the end of the turn."""
    scene = Scene()
    scene.crash()
    scene.agent = agent = Deaf(scene.clock, scene.steps, deaf=100)
    scene.begin()
    scene.accept("one")
    scene.accept("stop", at=At.INTERRUPT)
    scene.clock.pump([1.0] * 60)
    assert (agent.entered, agent.pressed.count(KEY)) == (["one"], PRESSES)
    agent.finish_turn()
    assert agent.entered == ["one", "stop"]
    scene.work(scene.settled)
    scene.end()


def test_an_urgent_message_waits_for_a_question() -> None:
    """Interrupt keys answer a question as well, so they are not pressed."""
    scene = Scene()
    scene.agent.turn(ASKING)
    scene.accept("stop", at=At.INTERRUPT)
    scene.clock.advance(5)
    assert (scene.agent.entered, scene.agent.pressed) == ([], [])
    scene.end()


def test_a_busy_agent_server_gets_it_at_the_next_quiet_time() -> None:
    """Busy means that nothing was typed."""
    scene = Scene()
    scene.agent.outcomes = [Busy()]
    one = scene.accept("hello")
    assert (scene.agent.entered, scene.state(one)) == ([], "accepted")
    scene.agent.turn(IDLE)
    scene.work(scene.settled)
    assert scene.agent.entered == ["hello"]
    scene.end()


def test_an_unreachable_agent_server_is_tried_again() -> None:
    """Nothing was sent, so it is sent again after a while."""
    scene = Scene()
    scene.agent.outcomes = [Unreachable("no connection")]
    scene.accept("hello")
    assert scene.agent.entered == []
    scene.work(scene.settled)
    assert scene.agent.entered == ["hello"]
    scene.end()


@pytest.mark.parametrize(
    ("outcome", "state"),
    [(Unknown("closed"), "uncertain"), (TypedNotEntered(), "uncertain"), (Refused("too odd"), "refused")],
)
def test_what_may_have_been_typed_is_never_typed_again(outcome: Outcome, state: str) -> None:
    """However often the agent turns ready afterwards; and what comes behind an uncertain one waits for a person."""
    scene = Scene()
    scene.agent.outcomes = [outcome]
    one, behind = scene.accept("hello"), scene.accept("next")
    scene.clock.advance(11)
    assert (scene.state(one), bool(scene.ledger.rows[one].reason)) == (state, True)
    scene.agent.turn(IDLE)
    scene.agent.turn(IDLE)
    assert scene.agent.entered == ([] if state == "uncertain" else ["next"])
    scene.clock.advance(SILENT)
    assert scene.state(behind) == ("accepted" if state == "uncertain" else "answered")
    scene.end()


def test_an_unknown_outcome_that_shows_in_the_stream_was_delivered() -> None:
    """The stream knows more than a broken answer."""
    scene = Scene()
    scene.agent.outcomes = [Unknown("closed")]
    one = scene.accept("hello")
    scene.agent.status_is(AgentStatus.RUNNING, WORKING)
    scene.agent.say("user", "hello")
    assert scene.state(one) == "delivered"
    scene.end()


def test_an_old_equal_message_is_not_taken_for_the_new_one() -> None:
    """The same words said before do not count as delivered."""
    scene = Scene()
    scene.agent.say("user", "again")
    scene.agent.outcomes = [Unknown("closed")]
    one = scene.accept("again")
    scene.clock.advance(11)
    assert scene.state(one) == "uncertain"
    scene.end()


def test_a_message_that_was_taken_back_is_not_typed() -> None:
    """Also when its taking back is not committed yet."""
    scene = Scene()
    scene.holder = "bob"
    one = scene.accept("hello")
    gone = replace(scene.ledger.rows[one], state=DeliveryState.WITHDRAWN)
    scene.steps.stop_at = scene.steps.taken + 1
    ensureDeferred(scene.queue.change([gone], []))
    scene.holder = None
    scene.queue.poke()
    assert scene.agent.entered == []
    scene.end()


def test_a_session_for_one_message_ends_also_when_it_comes_to_nothing() -> None:
    """Answered, refused or expired; not when a person took it back."""
    for state, outcome in (("answered", Sent()), ("refused", Refused("too long"))):
        scene = Scene()
        scene.agent.outcomes = [outcome]
        scene.accept("one", last=True)
        scene.work(scene.settled)
        assert scene.over == [state]
        scene.end()
    scene = Scene()
    scene.holder = "bob"
    scene.accept("one", last=True, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    assert scene.over == ["expired"]
    scene.end()


def test_a_late_message_expires() -> None:
    """What was not typed in its time is never typed."""
    scene = Scene()
    scene.agent.turn("Loading")
    one = scene.accept("hello", expires_at=datetime.now(UTC) - timedelta(seconds=1))
    assert scene.state(one) == "expired"
    scene.agent.turn(IDLE)
    assert scene.agent.entered == []
    scene.end()


def test_a_store_that_fails_before_the_first_key_means_no_key() -> None:
    """What cannot be written down is not typed; it is tried again and then typed once."""
    scene = Scene()
    scene.ledger.failing = Refusal(STORE_UNAVAILABLE, "disk full")
    one = scene.accept("hello")
    scene.clock.advance(5)
    assert scene.agent.entered == []
    scene.ledger.failing = None
    scene.work(scene.settled)
    assert (scene.agent.entered, scene.state(one)) == (["hello"], "answered")
    scene.end()


def test_an_agent_without_marks_takes_messages_when_it_is_quiet() -> None:
    """Nothing better can be known of it."""
    scene = Scene(Marks())
    scene.accept("hello")
    scene.work(scene.settled)
    assert scene.agent.entered == ["hello"]
    scene.end()


def test_sent_without_a_trace_is_uncertain() -> None:
    """An agent server that says yes and shows nothing is not believed."""
    scene = Scene()
    scene.agent.outcomes = [Sent()]

    async def says_yes(text: str, deadline: float) -> Outcome:
        return Sent()

    scene.agent.send_user = says_yes  # type: ignore[method-assign]
    one = scene.accept("hello")
    scene.clock.advance(11)
    assert scene.state(one) == "uncertain"
    scene.end()


def test_what_is_taken_back_before_the_agent_server_answers_is_not_typed() -> None:
    """A queue that is not read from the store yet knows of it all the same."""
    scene = Scene()
    scene.crash()
    one = scene.accept("hello")
    kept = scene.accept("other")
    opened = OpenDeliveries(scene.ledger, scene.queue._terms, scene.clock)
    opened.put(list(scene.ledger.rows.values()))
    gone = replace(scene.ledger.rows[one], state=DeliveryState.WITHDRAWN)
    ensureDeferred(opened.change([gone], []))
    ensureDeferred(opened.load())
    assert [each.id for each in opened.waiting()] == [kept]


def test_what_is_sent_before_the_agent_server_answers_waits_like_all_others() -> None:
    """It is counted and known; what was taken back by then is not typed, and what could not be taken back is."""
    scene = Scene()
    scene.crash()
    opened = OpenDeliveries(scene.ledger, scene.queue._terms, scene.clock)
    scene.queue = cast(Any, SimpleNamespace(add=lambda one: opened.put([one])))
    first, second, third = (opened.known(scene.accept(text)) for text in ("one", "two", "three"))
    assert first is not None
    assert second is not None
    assert third is not None
    assert opened.waiting() == [first, second, third]
    ensureDeferred(opened.change([moved(first, DeliveryState.WITHDRAWN, NOW)], []))
    scene.ledger.failing = Refusal(STORE_UNAVAILABLE)
    failed = ensureDeferred(opened.change([moved(second, DeliveryState.WITHDRAWN, NOW)], []))
    failed.addErrback(lambda failure: failure.trap(Refusal))
    assert opened.waiting() == [second, third]
    ensureDeferred(opened.load())
    assert opened.waiting() == [second, third]


class PutsBack(SimulatedAgent):
    """Puts the message back into its input line when it is interrupted; what deletes it there is pressed for each row twice."""

    late = False
    sending: Deferred[None] | None = None

    async def send_user(self, text: str, deadline: float) -> Outcome:
        if self.sending is not None:
            await self.sending
        return await super().send_user(text, deadline)

    async def interrupt(self, keys: Sequence[str]) -> Outcome:
        self.pressed += keys
        self.status_is(AgentStatus.RUNNING, WORKING)
        if not self.late:
            self.turn(f"[1] > {self.entered[-1]}")
        return Sent()

    async def send_raw(self, keys: str, deadline: float = 5.0) -> Outcome:
        self.pressed.append(keys)
        if self.screen_text.startswith(IDLE):
            self.turn(IDLE)
        return Sent()


def putting_back() -> tuple[Scene, PutsBack]:
    """Return a scene whose agent puts messages back."""
    scene = Scene()
    scene.crash()
    scene.agent = agent = PutsBack(scene.clock, scene.steps)
    scene.begin()
    return scene, agent


def test_a_message_that_an_agent_puts_back_is_removed_before_the_next() -> None:
    """Nothing is typed behind it: not while it is being removed, and not in the moment before that."""
    scene, agent = putting_back()
    scene.accept("one")
    assert agent.entered == ["one"]
    scene.accept("two", at=At.INTERRUPT)
    scene.clock.advance(BEGINS)
    assert (agent.pressed, agent.screen_text) == (["\x03"], "[1] > one")
    scene.clock.advance(ESCAPE_PAUSE)
    assert agent.pressed == ["\x03", "\x15\x15"]
    scene.work(scene.settled)
    assert agent.entered == ["one", "two"]
    scene.end()


def test_a_message_that_is_put_back_late_is_removed_too() -> None:
    """The agent turns quiet with it in its input line only after that was emptied."""
    scene, agent = putting_back()
    agent.late = True
    scene.accept("one")
    scene.accept("two", at=At.INTERRUPT)
    scene.clock.advance(BEGINS)
    scene.clock.advance(ESCAPE_PAUSE)
    assert agent.pressed == ["\x03", "\x15\x15"]
    agent.turn("[1] > one")
    scene.work(scene.settled)
    assert (agent.pressed, agent.entered) == (["\x03", "\x15\x15", "\x15\x15"], ["one", "two"])
    scene.end()


def test_an_interrupt_while_a_message_is_typed_lets_it_be_typed_first() -> None:
    """The keys that empty the input line come between no message's keys, and whoever wants to type waits for them."""
    scene, agent = putting_back()
    agent.sending = Deferred()
    scene.accept("one")
    assert scene.queue.is_typing
    cleared = Deferred.fromCoroutine(scene.queue.after_interrupt())
    scene.clock.advance(ESCAPE_PAUSE)
    assert agent.pressed == []
    agent.sending.callback(None)
    waiting = scene.queue.typed()
    assert (agent.entered, waiting.called) == (["one"], False)
    scene.clock.advance(ESCAPE_PAUSE)
    assert (agent.pressed, cleared.called, waiting.called) == (["\x15\x15"], True, True)
    scene.work(scene.settled)
    scene.end()


def test_nothing_is_typed_while_an_input_line_is_emptied() -> None:
    """A message that comes meanwhile waits, and is typed right after."""
    scene, agent = putting_back()
    cleared = Deferred.fromCoroutine(scene.queue.after_interrupt())
    scene.accept("one")
    assert agent.entered == []
    scene.clock.advance(ESCAPE_PAUSE)
    assert (cleared.called, agent.pressed, agent.entered) == (True, ["\x15\x15"], ["one"])
    scene.work(scene.settled)
    scene.end()


def test_nothing_is_typed_while_an_uncertain_text_is_removed() -> None:
    """Two persons decide at once: the keys of the second fall into no message that the decision of the first has let go."""
    scene, agent = putting_back()
    one = scene.accept("one")
    agent.turn(f"{IDLE}half a message")
    scene.work(lambda: not scene.watcher.now.input)
    held: Deferred[Outcome] = Deferred()
    agent.send_raw = lambda keys, deadline=5.0: held  # type: ignore[method-assign, assignment, misc]
    clearing = Deferred.fromCoroutine(scene.queue.clear_input("half a message"))
    agent.turn(IDLE)
    scene.accept("two")
    entered = list(agent.entered)
    held.callback(Sent())
    assert clearing.called
    scene.work(scene.settled)
    assert (entered, agent.entered, scene.state(one)) == (["one"], ["one", "two"], "answered")
    scene.end()
