"""Messages: delivered when the agent is ready, seen in the stream, never typed twice."""

from __future__ import annotations

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from agentproxy.agents.agentapi import AgentapiDriver
from agentproxy.agents.driver import Busy, Outcome, Refused, Sent, TypedNotEntered, Unknown, Unreachable
from agentproxy.agents.marks import Marks
from agentproxy.errors import Refusal
from agentproxy.features.messaging import MESSAGE_LIMIT, Delivery, Fate, Messenger, clean
from agentproxy.features.observing import Observer
from agentproxy.features.readiness import ReadinessJudge
from agentproxy.model.backend import Backend
from tests.agent_servers import run_agent_server
from tests.fakes import fake_command
from tests.features.scripted import ScriptedDriver
from tests.features.test_observing import Sink, said


class Scene:
    """A scripted agent with everything in front of it."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.clock, self.driver = Clock(), ScriptedDriver()
        self.driver.outcomes = list(outcomes)
        self.observer = Observer(self.driver, Sink(), self.clock)
        self.driver.open()
        judge = ReadinessJudge(self.driver, self.observer, Marks(idle=("ready",), approval=("proceed",)))
        self.messenger = Messenger(self.driver, self.observer, judge, self.clock)

    def deliver(self, text: str = "do it") -> Deferred[Delivery]:
        """Begin to deliver a message with a deadline of 60 s."""
        return Deferred.fromCoroutine(self.messenger.deliver(text, 60))

    def end(self) -> None:
        """Stop observing; nothing may be left on the clock."""
        self.observer.close()
        assert not self.clock.getDelayedCalls()


def test_a_first_message_waits_for_the_agent_and_is_seen() -> None:
    """Nothing is typed into a loading agent; delivered means that the stream shows it."""
    scene = Scene()
    delivery = scene.deliver("do it\r\nnow \n")
    scene.driver.turn("loading")
    assert scene.driver.typed == []
    scene.driver.turn("ready")
    assert scene.driver.typed == ["do it\nnow"]
    assert not delivery.called
    scene.driver.say(said(1, "do it\nnow", "user"))
    assert delivery.result == Delivery(Fate.DELIVERED)
    scene.end()


def test_an_old_equal_message_is_not_taken_for_the_new_one() -> None:
    """The same words said before do not count as delivered."""
    scene = Scene()
    scene.driver.say(said(1, "do it", "user"))
    delivery = scene.deliver()
    scene.driver.turn("ready")
    assert not delivery.called
    scene.driver.say(said(3, "do it", "user"))
    assert delivery.result == Delivery(Fate.DELIVERED)
    scene.end()


def test_a_busy_agent_gets_it_at_its_next_quiet_time() -> None:
    """Busy means that nothing was typed, so it is sent again, once the agent is ready again."""
    scene = Scene(Busy(), Sent())
    delivery = scene.deliver()
    scene.driver.turn("ready")
    assert scene.driver.typed == ["do it"]
    scene.driver.turn("ready")
    assert scene.driver.typed == ["do it", "do it"]
    scene.driver.say(said(1, "do it", "user"))
    assert delivery.result == Delivery(Fate.DELIVERED)
    scene.end()


@pytest.mark.parametrize(
    ("outcome", "fate"),
    [
        (Sent(), Fate.UNCERTAIN),
        (Unknown("closed"), Fate.UNCERTAIN),
        (TypedNotEntered(), Fate.UNCERTAIN),
        (Refused("no"), Fate.UNDELIVERABLE),
        (Unreachable("gone"), Fate.UNDELIVERABLE),
    ],
)
def test_what_may_have_been_typed_is_never_typed_again(outcome: Outcome, fate: Fate) -> None:
    """Whatever goes wrong, and however often the agent turns ready afterwards, there was one attempt."""
    scene = Scene(outcome)
    delivery = scene.deliver()
    scene.driver.turn("ready")
    scene.clock.advance(11)
    scene.driver.turn("ready")
    assert scene.driver.typed == ["do it"]
    assert delivery.result.fate is fate  # type: ignore[union-attr]
    assert delivery.result.reason  # type: ignore[union-attr]
    scene.end()


def test_an_unknown_message_that_shows_was_delivered() -> None:
    """The stream knows more than a broken answer."""
    scene = Scene(Unknown("closed"))
    delivery = scene.deliver()
    scene.driver.turn("ready")
    scene.driver.say(said(1, "do it", "user"))
    assert delivery.result == Delivery(Fate.DELIVERED)
    scene.end()


def test_an_agent_that_asks_something_else_gets_nothing_typed() -> None:
    """After the deadline the reason says what the agent waits for."""
    scene = Scene()
    delivery = scene.deliver()
    scene.driver.turn("proceed?")
    scene.clock.advance(61)
    assert delivery.result == Delivery(Fate.UNDELIVERABLE, "the agent waits for an approval, after 60 s")
    assert scene.driver.typed == []
    scene.end()


def test_one_message_at_a_time() -> None:
    """The second is typed when the first is through."""
    first: Deferred[Outcome] = Deferred()
    scene = Scene()
    scene.driver.outcomes = [first]
    for text in ("one", "two"):
        Deferred.fromCoroutine(scene.messenger.send(text))
    assert scene.driver.typed == ["one"]
    first.callback(Sent())
    assert scene.driver.typed == ["one", "two"]
    scene.end()


@pytest.mark.parametrize(
    "text", ["", " \r\n", "a\rb", "\x1b[A", "a\x03", "a\x7f", "a\x9bz", "\ud800", "é" * MESSAGE_LIMIT]
)
def test_text_that_cannot_be_typed_is_refused(text: str) -> None:
    """Control characters would be obeyed by the terminal instead of shown."""
    with pytest.raises(Refusal, match=r"\$\.content"):
        clean(text)


@pytest_twisted.ensureDeferred
async def test_a_first_message_to_a_real_agent_server() -> None:
    """An agent whose prompt comes late gets its first message once, when the prompt is there."""
    with run_agent_server("agentapi", fake_command("sleepy", 1), height=24) as server:
        driver = AgentapiDriver(reactor, Backend("127.0.0.1", server.port))
        observer = Observer(driver, Sink(), reactor)  # type: ignore[arg-type]
        judge = ReadinessJudge(driver, observer, Marks(idle=(r"^>",)))
        delivery = await Messenger(driver, observer, judge, reactor).deliver("hello", 30)  # type: ignore[arg-type]
        assert delivery == Delivery(Fate.DELIVERED)
        await observer.when_quiet(after=observer.quiet_turns).addTimeout(30, reactor)
        assert [message.content for message in observer.messages.values() if message.role == "user"] == ["hello"]
        assert "reply: hello" in observer.messages[max(observer.messages)].content
        observer.close()
        await driver.close()
