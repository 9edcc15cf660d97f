"""An agent that speaks the Agent Client Protocol, turn by turn: the wire and time are ours."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock

from agentproxy.embedded.acp import FAREWELL, HANDSHAKE, TAKEN, AcpSession
from agentproxy.embedded.acp_talk import MOST_REPLY
from agentproxy.embedded.acp_wire import CallError, Wire, WireError
from agentproxy.embedded.talk import SendError
from agentproxy.embedded.telling import TOLD_A_SECOND

OPTIONS = [
    {"optionId": "reject", "name": "Reject", "kind": "reject_once"},
    {"optionId": "yes-once", "name": "Allow once", "kind": "allow_once"},
]


class Agent:
    """The other side of the pipes: what it was sent, and what it says."""

    def __init__(self, load: bool = False) -> None:
        self.clock = Clock()
        self.failed: list[str] = []
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.sent: list[dict[str, Any]] = []
        self.session = AcpSession(self.clock, "gemini", 80, 24, self.failed.append)
        self.session.terminal = self  # type: ignore[assignment]
        self.session.listeners.add(lambda name, data: self.told.append((name, data)))
        self._load = load

    def write(self, data: bytes) -> bool:
        """Take what the session sends."""
        self.sent += [json.loads(line) for line in data.splitlines()]
        return True

    def last(self, method: str) -> dict[str, Any]:
        """Return the last request of a method."""
        return next(one for one in reversed(self.sent) if one.get("method") == method)

    def say(self, **message: Any) -> None:
        """Send one message."""
        self.session.drawn(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    def update(self, update: str, **facts: Any) -> None:
        """Send an update of the turn."""
        self.say(method="session/update", params={"sessionId": "s", "update": {"sessionUpdate": update, **facts}})

    def chunk(self, text: str) -> None:
        """Send a piece of the answer."""
        self.update("agent_message_chunk", content={"type": "text", "text": text})

    def answer(self, method: str, **answer: Any) -> None:
        """Answer the last request of a method."""
        self.say(id=self.last(method)["id"], **answer)

    def greet(self, earlier: str | None = None) -> None:
        """Go through the handshake."""
        self.session.begin("/work", earlier)
        self.answer("initialize", result={"protocolVersion": 1, "agentCapabilities": {"loadSession": self._load}})
        opening = "session/load" if earlier and self._load else "session/new"
        if opening == "session/load":
            self.update("user_message_chunk", content={"type": "text", "text": "old question"})
            for text in ("words of ", "an earlier life"):
                self.chunk(text)
        self.answer(opening, result={"sessionId": "s"})

    def said(self) -> list[tuple[str, str]]:
        """Return the transcript as (role, text)."""
        return [(one.role, one.content) for one in self.session.conversation.messages]

    def prompt(self, text: str) -> Deferred[None]:
        """Begin a turn."""
        return ensureDeferred(self.session.say(text))


@pytest.fixture
def agent() -> Agent:
    """Return an agent that has been greeted."""
    found = Agent()
    found.greet()
    return found


def test_the_handshake_makes_it_ready() -> None:
    """Running until the session is open, stable afterwards; no capability is claimed that we do not have."""
    agent = Agent()
    assert agent.session.status == "running"
    agent.greet()
    assert agent.session.status == "stable"
    assert agent.last("initialize")["params"]["clientCapabilities"]["fs"]["readTextFile"] is False
    assert agent.last("session/new")["params"] == {"cwd": "/work", "mcpServers": []}
    assert agent.clock.getDelayedCalls() == []


def test_an_agent_that_never_answers_is_given_up() -> None:
    """A program that does not speak the protocol does not leave a session that starts for ever."""
    agent = Agent()
    agent.session.begin("/work", None)
    agent.clock.advance(HANDSHAKE)
    assert agent.failed == ["the agent said nothing for 60 s"]


def test_what_is_not_the_protocol_is_told_with_what_was_seen() -> None:
    """A program that prints a prompt instead is named with its words."""
    agent = Agent()
    agent.session.begin("/work", None)
    agent.session.drawn(b"$ hello\n")
    assert "expected a JSON-RPC message, got '$ hello'" in agent.failed[0]


def test_a_turn_keeps_its_order_and_its_last_updates(agent: Agent) -> None:
    """Updates that stand right before the result are in the message, in the order in which they came."""
    taken = agent.prompt("one")
    agent.chunk("You said ")
    agent.update("tool_call", toolCallId="c", title="List files", kind="read", status="pending")
    agent.update("tool_call_update", toolCallId="c", status="completed")
    agent.chunk("one")
    agent.answer("session/prompt", result={"stopReason": "end_turn"})
    assert taken.called
    expected = "You said \n[Tool: read] List files\n[Tool Status: completed]\none"
    assert agent.said() == [("user", "one"), ("agent", expected)]
    assert agent.session.status == "stable"


def test_a_tool_call_that_is_announced_again_stands_once(agent: Agent) -> None:
    """Its one line tells what was last said of the call, wherever in the answer it stands; a new status is told once."""
    agent.prompt("one")
    agent.chunk("First.")
    agent.update("tool_call", toolCallId="a", title="Terminal", kind="execute", status="pending", rawInput={})
    agent.update("tool_call", toolCallId="b", title="Read", kind="read", status="pending")
    agent.chunk("Then.")
    agent.update("tool_call", toolCallId="a", title="`echo hello`", kind="execute", status="pending")
    agent.update("tool_call_update", toolCallId="b", title="Read notes.txt", status="completed")
    agent.update("tool_call", toolCallId="a", title="`echo hello`", kind="execute", status="completed")
    agent.update("tool_call", title="Nameless", kind="read")
    agent.update("tool_call", title="Nameless", kind="read")
    agent.answer("session/prompt", result={"stopReason": "end_turn"})
    calls = "\n[Tool: execute] `echo hello`\n\n[Tool: read] Read notes.txt\n"
    ends = "[Tool Status: completed]\n[Tool Status: completed]\n"
    expected = f"First.{calls}Then.{ends}" + 2 * "\n[Tool: read] Nameless\n"
    assert agent.said() == [("user", "one"), ("agent", expected)]


def test_a_call_that_is_forgotten_is_announced_anew(agent: Agent) -> None:
    """Behind more words than are kept a later word of the call changes none of them."""
    agent.prompt("one")
    agent.update("tool_call", toolCallId="a", title="old", kind="read")
    agent.chunk("x" * (2 * MOST_REPLY))
    agent.update("tool_call", toolCallId="b", title="kept", kind="read")
    agent.update("tool_call", toolCallId="a", title="new", kind="read")
    agent.update("tool_call", toolCallId="b", title="changed", kind="read")
    agent.answer("session/prompt", result={"stopReason": "end_turn"})
    assert agent.said()[-1][1].endswith("x\n[Tool: read] changed\n\n[Tool: read] new\n")


def test_what_comes_after_the_result_still_belongs_to_the_answer(agent: Agent) -> None:
    """A late chunk is not thrown away."""
    agent.prompt("one")
    agent.chunk("a")
    agent.answer("session/prompt", result={"stopReason": "end_turn"})
    agent.chunk("b")
    agent.clock.advance(1)
    assert agent.said()[-1] == ("agent", "ab")


def test_a_growing_answer_is_told_in_revisions(agent: Agent) -> None:
    """Many chunks make few events, and the last one is whole."""
    agent.prompt("one")
    for _ in range(100):
        agent.chunk("x")
    agent.clock.advance(1)
    revisions = [data for name, data in agent.told if name == "message_update" and data["role"] == "agent"]
    assert len(revisions) == 1
    assert revisions[0]["message"] == "x" * 100


def test_an_answer_that_never_ends_has_a_bound(agent: Agent) -> None:
    """Of an agent that floods the last words are kept, and a long message is told less often."""
    agent.prompt("flood")
    for _ in range(130):
        agent.chunk("x" * 100_000)
        agent.clock.advance(0.05)
    agent.chunk("the end")
    agent.answer("session/prompt", result={"stopReason": "end_turn"})
    said = agent.said()[-1][1]
    assert (len(said), said.endswith("the end")) == (MOST_REPLY, True)
    told = [len(data["message"]) for name, data in agent.told if name == "message_update"]
    assert sum(told) < TOLD_A_SECOND * agent.clock.seconds() + 2 * MOST_REPLY


def test_a_second_message_during_a_turn_is_busy(agent: Agent) -> None:
    """Busy is told apart from failed, and nothing is sent."""
    agent.prompt("one")
    refused = agent.prompt("two")
    with pytest.raises(SendError, match="waiting for user input"):
        refused.result.raiseException()  # type: ignore[attr-defined]
    refused.addErrback(lambda _failure: None)
    assert len([one for one in agent.sent if one.get("method") == "session/prompt"]) == 1


def test_an_error_of_the_agent_is_the_answer_of_the_send(agent: Agent) -> None:
    """The provider's sentence reaches who asked, the user's message stays, and the next turn works."""
    refused = agent.prompt("one")
    agent.answer("session/prompt", error={"code": -32000, "message": "the model is overloaded"})
    with pytest.raises(SendError, match="the model is overloaded"):
        refused.result.raiseException()  # type: ignore[attr-defined]
    refused.addErrback(lambda _failure: None)
    assert (agent.said(), agent.session.status) == ([("user", "one")], "stable")


def test_an_agent_without_a_sign_counts_as_having_taken_the_message(agent: Agent) -> None:
    """No send waits for ever."""
    taken = agent.prompt("one")
    assert not taken.called
    agent.clock.advance(TAKEN)
    assert taken.called
    assert agent.session.status == "running"


def test_leave_is_given_with_an_offered_option_only(agent: Agent) -> None:
    """The request is shown with its options; another answer is refused, one of them reaches the agent, once."""
    agent.prompt("one")
    call = {"toolCallId": "c", "title": "Run ls", "kind": "execute"}
    agent.say(id=7, method="session/request_permission", params={"toolCall": call, "options": OPTIONS})
    [asked] = agent.session.permissions.values()
    assert (asked.title, [one[0] for one in asked.options]) == ("Run ls", ["reject", "yes-once"])
    assert ("permission_request", asked.shown()) in agent.told
    with pytest.raises(ValueError, match="expected one of reject, yes-once, got 'allow'"):
        agent.session.permit(asked.id, "allow")
    agent.session.permit(asked.id, "yes-once")
    assert agent.sent[-1] == {
        "jsonrpc": "2.0",
        "id": 7,
        "result": {"outcome": {"outcome": "selected", "optionId": "yes-once"}},
    }
    with pytest.raises(KeyError):
        agent.session.permit(asked.id, "yes-once")


def test_cancel_ends_the_turn_and_what_is_asked_in_it(agent: Agent) -> None:
    """Escape cancels: the open request is called off first, as the protocol wants."""
    agent.prompt("one")
    agent.say(id=7, method="session/request_permission", params={"toolCall": {}, "options": OPTIONS})
    agent.session.write(b"\x1b")
    assert agent.sent[-2]["result"] == {"outcome": {"outcome": "cancelled"}}
    assert agent.sent[-1]["method"] == "session/cancel"
    agent.answer("session/prompt", result={"stopReason": "cancelled"})
    assert agent.session.status == "stable"
    with pytest.raises(SendError, match="no terminal"):
        agent.session.write(b"ls\r")


def test_an_unknown_request_of_the_agent_is_refused(agent: Agent) -> None:
    """The agent is told that we do not serve its files."""
    agent.say(id=3, method="fs/read_text_file", params={"path": "/etc/passwd"})
    assert agent.sent[-1]["error"]["code"] == -32601


def test_an_earlier_session_is_loaded_where_the_agent_can(agent: Agent) -> None:
    """What it repeats of the earlier life becomes the messages, and the next turn goes on behind them."""
    other = Agent(load=True)
    other.greet("old-session")
    assert other.session.acp_id == "old-session"
    assert other.said() == [("user", "old question"), ("agent", "words of an earlier life")]
    other.prompt("next")
    other.chunk("answer")
    other.answer("session/prompt", result={"stopReason": "max_tokens"})
    assert other.said()[2:] == [("user", "next"), ("agent", "answer")]
    assert "limit of tokens" in other.session.errors[0]["message"]
    cannot = Agent(load=False)
    cannot.greet("old-session")
    assert cannot.session.acp_id == "s"


def test_an_agent_that_closes_its_output_is_given_up(agent: Agent) -> None:
    """One that lives on and can say nothing any more is ended with a sentence; one that exits is just over."""
    agent.session.closed()
    agent.clock.advance(FAREWELL)
    assert agent.failed == ["the agent closed its output and lives on"]
    other = Agent()
    other.greet()
    other.session.closed()
    other.session.ended(0, None)
    assert (other.clock.getDelayedCalls(), other.failed) == ([], [])


def test_an_agent_that_dies_in_a_turn_is_told(agent: Agent) -> None:
    """Who waits hears that it is gone; the words that it had said are kept."""
    refused = agent.prompt("one")
    agent.session.ended(3, None)
    with pytest.raises(SendError, match="the agent exited"):
        refused.result.raiseException()  # type: ignore[attr-defined]
    refused.addErrback(lambda _failure: None)
    assert agent.told[-1][0] == "agent_exited"
    assert agent.clock.getDelayedCalls() == []


@given(st.lists(st.text(max_size=20), max_size=8), st.data())
def test_the_wire_may_be_cut_anywhere(texts: list[str], data: st.DataObject) -> None:
    """Messages arrive whole and in order, whatever pieces the pipe makes of them."""
    heard: list[str] = []
    wire = Wire(lambda _data: None, lambda _method, params: heard.append(params["text"]), lambda *_call: None)
    stream = b"".join(json.dumps({"method": "m", "params": {"text": text}}).encode() + b"\n" for text in texts)
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        wire.feed(stream[:cut])
        stream = stream[cut:]
    assert heard == texts


@given(st.binary())
def test_any_bytes_are_messages_or_a_sentence(data: bytes) -> None:
    """Nothing but WireError comes out of what an agent may write."""
    wire = Wire(lambda _data: None, lambda *_call: None, lambda *_call: None)
    try:
        wire.feed(data)
    except WireError as error:
        assert str(error)


def test_answers_go_to_who_asked() -> None:
    """Each answer, good or bad, reaches its own request, in any order."""
    wire = Wire(lambda _data: None, lambda *_call: None, lambda *_call: None)
    first, second = wire.request("a", {}), wire.request("b", {})
    wire.feed(b'{"id": 2, "error": {"code": 5, "message": "no", "data": {"details": "because"}}}\n')
    wire.feed(b'{"id": 1, "result": 9}\n{"id": 77, "result": 0}\n')
    assert first.result == 9
    found: list[Any] = []
    second.addErrback(lambda failure: found.append(failure.value))
    assert isinstance(found[0], CallError)
    assert (found[0].code, str(found[0])) == (5, "no: because")
