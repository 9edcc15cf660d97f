"""What an agent waits for: saved screens, the watcher that reads them once, and the prompts of approvals."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from agentproxy.agents.driver import AskedEvent, PermittedEvent, StatusEvent
from agentproxy.features.attention import STILL, Watcher
from agentproxy.features.observing import Observer
from agentproxy.model.approval import AcpRequest, Rule, fingerprint, matches, prompt_of, read_prompt, rule_for
from agentproxy.model.attention import Attention, Kind, Marks, classify
from agentproxy.model.session import AgentStatus
from agentproxy.runtime.catalogue import load
from tests.features.queue_scene import ASKING, IDLE, Scene
from tests.features.scripted import ScriptedDriver
from tests.features.test_observing import Sink, said

SCREENS = Path(__file__).parents[1] / "screens"
AGENTS = load().agents
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("file", sorted(SCREENS.rglob("*.txt")), ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_a_saved_screen_is_understood(file: Path) -> None:
    """Each screen shows what its name says."""
    agent, kind, _number = file.stem.split("-")
    assert classify(file.read_text("utf-8"), AGENTS[agent].marks, NOON).kind is Kind(kind)


@pytest.mark.parametrize(
    ("agent", "line", "until"),
    [
        ("claude", "Claude usage limit reached. Your limit will reset at 3am (UTC).", NOON + timedelta(hours=15)),
        ("codex", "■ You've hit your usage limit. try again in 2 hours 14 minutes.", NOON + timedelta(minutes=134)),
        ("gemini", '"code":429 please retry in 31.2s', NOON + timedelta(seconds=31.2)),
        ("codex", "■ exceeded retry limit, last status: 429 Too Many Requests", None),
    ],
)
def test_the_end_of_a_rate_limit_is_read(agent: str, line: str, until: datetime | None) -> None:
    """Where the screen says it, relative or by the clock."""
    found = classify(line, AGENTS[agent].marks, NOON)
    assert (found.kind, found.until) == (Kind.LIMIT, until)


class TestWatcher:
    """The watcher of one agent."""

    def setup_method(self) -> None:
        """Begin to watch a scripted demo agent."""
        self.clock, self.driver, self.told = Clock(), ScriptedDriver(), list[Attention]()
        self.watcher = Watcher(AGENTS["demo"].marks, self.clock, self.told.append)
        watcher = self.watcher

        class Forward(Sink):
            status_changed = staticmethod(watcher.status_changed)  # type: ignore[assignment]
            message_changed = staticmethod(watcher.message_changed)  # type: ignore[assignment]

        self.observer = Observer(self.driver, Forward(), self.clock)  # type: ignore[arg-type]
        self.watcher.attach(self.driver, self.observer)  # type: ignore[arg-type]
        self.driver.open()

    def teardown_method(self) -> None:
        """Nothing may be left on the clock."""
        self.observer.close()
        self.watcher.gone()
        assert not self.clock.getDelayedCalls()

    def kinds(self) -> list[str]:
        """Return what people were told."""
        return [one.kind.value for one in self.told]

    def test_the_screen_is_read_once_each_quiet_time(self) -> None:
        """However long it stays quiet."""
        self.driver.turn(IDLE)
        self.clock.advance(600)
        assert self.driver.screens_read == 1
        assert self.watcher.takes_message

    def test_a_mark_of_work_is_not_believed_for_ever(self) -> None:
        """A pause in an answer is work; a screen that has stood for long without a change is not."""
        self.watcher.marks = AGENTS["codex"].marks
        self.driver.turn("─ Worked for 1s ─\n\n› two\n\n• It begins\n\n› Ask Codex to do anything\n\n  stub-model")
        assert (self.watcher.now.kind, self.watcher.takes_message) == (Kind.WORKING, False)
        self.clock.advance(29)
        assert self.watcher.now.kind is Kind.WORKING
        self.clock.advance(1)
        assert (self.watcher.now.kind, self.watcher.takes_message, self.driver.screens_read) == (Kind.IDLE, True, 2)

    def test_an_agent_server_that_never_notices_the_end_is_not_believed_for_ever(self) -> None:
        """A screen that stands still with its input line says more; whatever comes after all is believed again."""
        self.driver.turn(IDLE)
        self.clock.advance(1)
        self.driver.say(said(1, "again", "user"), StatusEvent(AgentStatus.RUNNING))
        self.clock.advance(STILL)
        assert self.watcher.now.kind is Kind.WORKING
        self.clock.advance(STILL)
        assert (self.watcher.now.kind, self.watcher.takes_message) == (Kind.STUCK, False)
        self.clock.advance(10 * STILL)
        self.driver.say(said(2, "so I went on"))
        self.clock.advance(1)
        assert self.watcher.now.kind is Kind.WORKING
        self.driver.turn(IDLE)
        self.clock.advance(1)
        assert self.kinds() == ["idle", "stuck", "idle"]

    def test_work_on_a_screen_that_moves_or_hides_its_input_line_is_believed(self) -> None:
        """Nor is a screen read while the agent talks."""
        self.driver.turn(IDLE)
        self.driver.say(said(1, "think", "user"), StatusEvent(AgentStatus.RUNNING))
        for second in range(5):
            self.driver.screen_text = f"{second} s\n{IDLE}"
            self.clock.advance(STILL)
            assert self.watcher.now.kind is Kind.WORKING
        self.driver.screen_text = "thinking"
        for _turn in range(3):
            self.clock.advance(STILL)
            assert self.watcher.now.kind is Kind.WORKING
        read = self.driver.screens_read
        self.driver.say(said(2, "well"))
        self.clock.advance(5 * STILL)
        assert self.driver.screens_read == read

    def test_people_are_told_once(self) -> None:
        """A blip of work and the same question again is no news; a question that goes at once is none either."""
        self.driver.turn(ASKING)
        self.driver.turn(IDLE)
        self.clock.advance(1)
        self.driver.turn(ASKING)
        self.clock.advance(1)
        self.driver.turn(ASKING)
        self.clock.advance(1)
        assert self.kinds() == ["idle", "approval"]

    def test_the_same_question_after_some_work_is_news(self) -> None:
        """It is another one."""
        self.driver.turn(ASKING)
        self.clock.advance(1)
        self.driver.status_only_running()
        self.clock.advance(30)
        self.driver.turn(ASKING)
        self.clock.advance(1)
        assert self.kinds() == ["approval", "approval"]

    def test_a_screen_that_is_read_too_late_says_nothing(self) -> None:
        """The agent works again when the answer comes."""
        self.driver.turn(IDLE)
        self.driver.status_only_running()
        assert self.watcher.now.kind is Kind.WORKING
        assert not self.watcher.takes_message

    def test_a_question_is_seen_before_the_agent_is_called_quiet(self) -> None:
        """Whoever types past the queue asks the screen itself."""
        self.driver.turn(IDLE)
        self.driver.status_only_running()
        self.driver.screen_text = ASKING
        found: list[Attention | None] = []
        Deferred.fromCoroutine(self.watcher.asks_now()).addCallback(found.append)
        self.driver.screen_text = IDLE
        Deferred.fromCoroutine(self.watcher.asks_now()).addCallback(found.append)
        assert found == [Attention(Kind.APPROVAL, "Allow? [y/n]"), None]

    def test_a_session_that_has_ended_is_gone(self) -> None:
        """And people are told."""
        self.watcher.gone()
        assert self.kinds() == ["gone"]


def test_retries_are_seen_while_the_agent_works() -> None:
    """In its streamed text, for a screen is read only when the agent is quiet."""
    scene = Scene(AGENTS["claude"].marks)
    scene.agent.status_is(scene.agent.status_now.__class__.RUNNING, "")
    scene.watcher.message_changed(said(3, "✻ API error · Retrying in 13s · attempt 7/10").message)
    assert scene.watcher.now.kind is Kind.UNREACHABLE
    scene.end()


def screen(name: str) -> str:
    """Return a saved screen."""
    return (SCREENS / f"{name}.txt").read_text("utf-8")


@pytest.mark.parametrize(
    ("name", "subject", "keys"),
    [
        ("train/claude-approval-1", "echo hi > out.txt", {"allow": "1", "deny": "\x1b", "3": "3"}),
        ("train/codex-approval-1", "echo hi > out.txt", {"allow": "y", "deny": "\x1b", "2": "p", "3": "\x1b"}),
        ("train/gemini-approval-1", "echo hi > out.txt", {"allow": "1", "deny": "\x1b"}),
        ("train/opencode-approval-1", "echo hi > out.txt", {"allow": "\r", "deny": "\x1b"}),
        ("train/aider-approval-1", "", {"allow": "y\r", "deny": "n\r", "d": "d\r"}),
        ("train/demo-approval-1", "echo hello", {"allow": "y", "deny": "n"}),
        ("judge/claude-approval-2", "npm install && npm test", {"allow": "1"}),
    ],
)
def test_a_prompt_says_what_is_asked_and_how_to_answer(name: str, subject: str, keys: dict[str, str]) -> None:
    """The command and the offered choices with the keys that they take; a doubtful subject is none."""
    agent = AGENTS[name.split("/")[1].split("-")[0]]
    text = screen(name)
    line = classify(text, agent.marks, NOON).line
    found = read_prompt(text, line, agent.marks, {"allow": agent.allow, "deny": agent.deny})
    assert found.subject == subject
    assert {one.name: one.keys[0] for one in found.choices if one.name in keys} == keys


def test_an_older_prompt_above_gives_no_subject() -> None:
    """A command of several rows has no subject, and the one that was allowed before it is not taken for it."""
    asked = (
        "  Would you like to run the following command?\n  $ {}\n› 1. Yes, proceed (y)\n  2. No (esc)\n  Press enter"
    )
    text = asked.format("pytest -q") + "\nran: pytest\n" + asked.format("pytest -q \\\n    && rm -r /")
    codex = AGENTS["codex"]
    found = read_prompt(text, classify(text, codex.marks, NOON).line, codex.marks, {})
    assert found.subject == ""


def test_a_fingerprint_is_of_the_question_alone() -> None:
    """Spinner, seconds and selection do not matter; the command does."""
    one = "⠋ Waiting 3s\n❯ 1. Yes\n  2. No\n$ rm a"
    assert fingerprint(one) == fingerprint(one.replace("⠋", "⠙").replace("3s", "14s").replace("❯ 1", "  1"))
    assert fingerprint(one) != fingerprint(one.replace("rm a", "rm b"))


@pytest.mark.parametrize(
    ("pattern", "subject", "matched"),
    [
        ("pytest*", "pytest -q", True),
        ("pytest*", "pytest -q; rm x", False),
        ("pytest*", "pytest $(rm x)", False),
        ("pytest*", "pytest > /etc/passwd", False),
        ("pytest -q; rm x", "pytest -q; rm x", True),
        ("test [ab]", "test a", False),
        ("test [ab]", "test [ab]", True),
        ("*", "", False),
        ("*", "make", True),
    ],
)
def test_a_rule_reaches_no_further_than_it_says(pattern: str, subject: str, matched: bool) -> None:
    """A wildcard takes in no joined command, and nothing of which nobody knows what it is."""
    codex = AGENTS["codex"]
    text = f"  Would you like to run the following command?\n  $ {subject}\n› 1. Yes, proceed (y)\n  2. No (esc)"
    found = read_prompt(text, "Would you like to run the following command?", codex.marks, {})
    assert matches(Rule("r", "", pattern), found, "alice", "codex", "", NOON) is matched


REQUEST = AcpRequest(
    "7",
    "Run the tests",
    "execute",
    "pytest -q",
    (("no", "Reject", "reject_once"), ("ever", "Always allow", "allow_always"), ("once", "Allow once", "allow_once")),
)


def test_a_request_over_the_protocol_is_a_prompt() -> None:
    """`allow` is the option that reaches least far; each option can be named; the command is the subject, not the title."""
    found = prompt_of(REQUEST)
    assert (found.subject, found.request) == ("pytest -q", "7")
    assert found.text == "Run the tests\npytest -q\n- Reject\n- Always allow\n- Allow once"
    assert [(one.name, one.keys) for one in found.choices] == [
        ("allow", ("once",)),
        ("deny", ("no",)),
        ("no", ("no",)),
        ("ever", ("ever",)),
        ("once", ("once",)),
    ]
    assert prompt_of(replace(REQUEST, id="8")).fingerprint != found.fingerprint
    assert prompt_of(replace(REQUEST, command="")).subject == ""


def test_an_agent_on_the_protocol_says_itself_what_it_does() -> None:
    """It takes a message when its turn is over, whatever it last said; what it asks is an approval; no screen is read."""
    clock, driver, told = Clock(), ScriptedDriver(), list[Attention]()
    watcher = Watcher(Marks(), clock, told.append, acp=True)

    class Forward(Sink):
        status_changed = staticmethod(watcher.status_changed)  # type: ignore[assignment]
        requests_changed = staticmethod(watcher.requests_changed)  # type: ignore[assignment]

    observer = Observer(driver, Forward(), clock)  # type: ignore[arg-type]
    watcher.attach(driver, observer)  # type: ignore[arg-type]
    driver.open()
    driver.turn("Do you want to proceed?")
    assert (watcher.now.kind, watcher.takes_message) == (Kind.IDLE, True)
    driver.status_only_running()
    driver.say(AskedEvent(REQUEST))
    assert (watcher.now, watcher.takes_message) == (Attention(Kind.APPROVAL, "Run the tests"), False)
    driver.status_only_running()
    assert watcher.now.kind is Kind.APPROVAL
    driver.say(PermittedEvent("7"))
    assert watcher.now.kind is Kind.WORKING
    assert driver.screens_read == 0
    observer.close()
    watcher.gone()


def test_rules_are_for_somebody_and_end() -> None:
    """Owner, agent, repository and time; a denial goes before a permission."""
    codex = AGENTS["codex"]
    text = "  Would you like to run the following command?\n  $ make\n› 1. Yes, proceed (y)"
    found = read_prompt(text, "Would you like to run the following command?", codex.marks, {})
    allow = Rule("a", "alice", "make", agent="codex", repository="o/r", expires_at=NOON)
    early, late = NOON - timedelta(seconds=1), NOON
    assert matches(allow, found, "alice", "codex", "o/r", early)
    assert not matches(allow, found, "alice", "codex", "o/r", late)
    assert not matches(allow, found, "bob", "codex", "o/r", early)
    assert not matches(allow, found, "alice", "claude", "o/r", early)
    assert not matches(allow, found, "alice", "codex", "o/other", early)
    assert not matches(allow, found, "alice", "codex", "", early)
    assert matches(allow, found, "alice", "codex", "https://github.com/O/r.git#branch", early)
    assert matches(allow, found, "alice", "codex", "git@github.com:o/r", early)
    assert not matches(allow, found, "alice", "codex", "https://elsewhere.example/o/r", early)
    deny = Rule("d", "", "*", answer="deny")
    assert rule_for([allow, deny], found, "alice", "codex", "o/r", early) is deny
