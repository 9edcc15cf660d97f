"""Messages, attention and approvals as a user meets them: a real daemon, real agent servers, real terminal programs."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import Daemon
from tests.embedded.attached import Attached
from tests.fakes import fake_command
from tests.fakes.log import FakeLog
from tests.waiting import wait_for


class Talking:
    """A daemon with some agents of its own."""

    def __init__(self, directory: Path, agent_server: str = "embedded", **options: Any) -> None:
        self.directory = directory
        self.fake_log = FakeLog(directory / "fake.log")
        environment = {"FAKE_LOG": str(self.fake_log.path)}
        agents = {
            "asker": {
                "command": fake_command("approve", "yes"),
                "environment": environment,
                "allow": ["1"],
                "deny": ["\x1b"],
                "marks": {
                    "idle": [r"^> \Z", r"^>\Z"],
                    "approval": [r"Would you like to run the following command\?(?=(?:\n.*){0,4}\Z)"],
                    "subject": [r"^\s*\$ (?P<subject>.+)\n\W*1\. "],
                },
            },
            "talker": {
                "command": fake_command("tui"),
                "environment": environment,
                "marks": {"idle": [r"^> ?\Z"]},
            },
            "blind": {"command": fake_command("noecho"), "environment": environment},
            "thinker": {
                "command": fake_command("quiet", "1"),
                "environment": environment,
                "marks": {"idle": [r"^> ?\Z"]},
            },
            "returner": {
                "command": fake_command("putsback", "60"),
                "environment": environment,
                "interrupt": ["\x1b"],
                "clear": ["\x15"],
                "marks": {"idle": [r"^> ?\Z"], "busy": ["Esc interrupts"]},
            },
        }
        (directory / "agentproxy").mkdir()
        (directory / "agentproxy" / "agentproxy.yaml").write_text(json.dumps({"agents": agents, **options}))
        self.agent_server = agent_server
        self.daemon = self._daemon()
        self.client = self.daemon.client

    def _daemon(self) -> Daemon:
        return Daemon(self.directory, self.agent_server, {"XDG_CONFIG_HOME": str(self.directory)})

    def again(self) -> None:
        """Start the daemon again on the same data."""
        self.daemon = self._daemon()
        self.client = self.daemon.client

    def start(self, agent: str, **body: Any) -> str:
        """Start a session."""
        return self.daemon.start(agent=agent, **body)

    def send(self, session_id: str, content: str, query: str = "", **more: Any) -> Any:
        """Queue a message and return the answer."""
        headers = more.pop("headers", {})
        body = json.dumps({"content": content, **more})
        return self.client.request(
            "POST", f"/sessions/{session_id}/messages{query}", body, {"content-type": "application/json", **headers}
        )

    def session(self, session_id: str) -> Any:
        """Return a session's record."""
        return self.client.get(f"/sessions/{session_id}").json()

    def approvals(self) -> list[Any]:
        """Return the approvals that wait."""
        found: list[Any] = self.client.get("/approvals").json()["approvals"]
        return found

    def answer(self, approval_id: str, answer: str) -> Any:
        """Answer an approval."""
        return self.client.post_json(f"/approvals/{approval_id}", {"answer": answer})


@pytest.fixture
def talking(tmp_path: Path) -> Iterator[Talking]:
    """A daemon with the embedded agent server."""
    found = Talking(tmp_path)
    yield found
    found.daemon.stop()


def test_a_message_is_answered_in_one_call(talking: Talking) -> None:
    """202 with a delivery at once, or 200 with the agent's answer; the same key is the same delivery."""
    session_id = talking.start("talker")
    done = talking.send(session_id, "hello", "?wait=answered", headers={"idempotency-key": "k1"})
    assert (done.status, done.json()["state"], done.json()["answer"]) == (200, "answered", "reply: hello")
    again = talking.send(session_id, "hello", headers={"idempotency-key": "k1"})
    assert (again.status, again.json()["delivery_id"]) == (202, done.json()["delivery_id"])
    other = talking.send(session_id, "other", headers={"idempotency-key": "k1"})
    assert (other.status, other.json()["code"]) == (409, "key_reused")
    queued = talking.send(session_id, "two")
    assert (queued.status, queued.json()["state"] in ("accepted", "typing")) == (202, True)
    talking.fake_log.wait("the second message", lambda log: log.entered() == ["hello", "two"])
    assert talking.send(session_id, " ").status == 400


def test_a_queue_is_listed_changed_and_taken_back(talking: Talking) -> None:
    """While somebody has the keyboard messages wait, and can be edited, moved and withdrawn."""
    session_id = talking.start("talker")
    keyboard = f"/sessions/{session_id}/keyboard"
    assert talking.client.post_json(keyboard, {"action": "take", "seconds": 600}).json()["holder"] == "local"
    ids = [talking.send(session_id, text).json()["delivery_id"] for text in ("one", "two", "three")]
    base = f"/sessions/{session_id}/deliveries"
    listed = talking.client.get(base).json()
    assert listed["held"] == "local has the keyboard"
    patch = lambda one, **body: talking.client.request(  # noqa: E731
        "PATCH", f"{base}/{one}", json.dumps(body), {"content-type": "application/json"}
    )
    assert patch(ids[0], content="ONE").json()["content"] == "ONE"
    assert patch(ids[2], before="nobody", content="changed?").json()["code"] == "invalid_request"
    assert talking.client.get(f"{base}/{ids[2]}").json()["content"] == "three"
    assert patch(ids[2], before=ids[0]).status == 200
    assert talking.client.request("DELETE", f"{base}/{ids[1]}").json()["state"] == "withdrawn"
    assert talking.client.request("DELETE", f"{base}/{ids[1]}").json()["code"] == "delivery_settled"
    assert talking.client.post_json(keyboard, {"action": "release"}).json()["holder"] is None
    talking.fake_log.wait("both messages", lambda log: len(log.entered()) == 2)
    assert talking.fake_log.entered() == ["three", "ONE"]


def test_an_approval_is_an_object_that_is_answered_once(talking: Talking) -> None:
    """Listed with its command, allowed or denied; a late answer and a message meanwhile do nothing to the agent."""
    session_id = talking.start("asker", message="rm -r build")
    [one] = wait_for("the approval", talking.approvals)
    assert (one["subject"], [each["name"] for each in one["choices"]][:2]) == ("rm -r build", ["allow", "deny"])
    attention = talking.session(session_id)["attention"]
    assert (attention["kind"], attention["wanted"]) == ("approval", True)
    held = talking.send(session_id, "no, stop")
    denied = talking.answer(one["approval_id"], "deny")
    assert (denied.status, denied.json()["state"]) == (200, "denied")
    late = talking.answer(one["approval_id"], "allow")
    assert (late.status, late.json()["code"]) == (409, "approval_changed")
    talking.fake_log.wait("the message that was held", lambda log: log.entered()[1:] == ["no, stop"])
    [second] = wait_for("the second approval", talking.approvals)
    assert talking.answer(second["approval_id"], "1").json()["state"] == "chosen"
    talking.fake_log.wait("both answers", lambda log: len(log.events("answer")) == 2)
    assert [event["text"] for event in talking.fake_log.events("answer")] == ["no", "yes"]
    assert held.status == 202


def test_a_message_past_the_queue_is_no_answer(talking: Talking) -> None:
    """While an approval waits, a user message that is posted to the agent itself is refused; raw keys pass and hold the queue."""
    session_id = talking.start("asker", message="rm x")
    [one] = wait_for("the approval", talking.approvals)
    direct = f"/{session_id}/message"
    refused = talking.client.post_json(direct, {"content": "no, please", "type": "user"})
    assert (refused.status, refused.json()["code"]) == (409, "approval_waiting")
    assert refused.json()["approval_id"] == one["approval_id"]
    veiled = talking.client.post_json(f"/{session_id}/%6Dessage", {"content": "no, please", "type": "user"})
    assert veiled.json()["code"] == "approval_waiting"
    assert talking.client.post_json(direct, {"content": "2", "type": "raw"}).status == 200
    talking.fake_log.wait("the answer", lambda log: [row["text"] for row in log.events("answer")] == ["no"])
    assert talking.client.get(f"/sessions/{session_id}/keyboard").json()["holder"] == "local"
    assert talking.fake_log.entered() == ["rm x"]


def test_the_guard_can_be_turned_off(tmp_path: Path) -> None:
    """Then a message that is posted to the agent itself is its answer, as with the agent server alone."""
    talking = Talking(tmp_path, gateway={"guard_approvals": False})
    try:
        session_id = talking.start("asker", message="rm x")
        wait_for("the approval", talking.approvals)
        talking.client.post_json(f"/{session_id}/message", {"content": "y", "type": "user"})
        talking.fake_log.wait("the answer", lambda log: [row["text"] for row in log.events("answer")] == ["yes"])
    finally:
        talking.daemon.stop()


def test_a_message_past_the_queue_comes_between_no_keys(talking: Talking) -> None:
    """It waits until a delivery is typed, is in the journal like all others, and reaches the agent whole."""
    session_id = talking.start("talker")
    text = " ".join(f"word{number}" for number in range(200))
    talking.send(session_id, text)
    talking.fake_log.wait("it is being typed", lambda log: b"word" in log.typed())
    direct = f"/{session_id}/message"
    talking.client.post_json(direct, {"content": "and this", "type": "user"})  # taken, or refused as busy
    wait_for("the first answer", lambda: "reply: word0" in talking.client.get(f"/{session_id}/messages").body.decode())
    assert talking.fake_log.entered() in ([text], [text, "and this"])

    def taken() -> bool:
        return bool(talking.client.post_json(direct, {"content": "straight", "type": "user"}).status == 200)

    wait_for("a quiet agent", taken, interval=0.2)
    assert talking.fake_log.entered()[-1] == "straight"
    journal = f"/sessions/{session_id}/messages"
    wait_for("the journal", lambda: "reply: straight" in talking.client.get(journal).body.decode())
    rows = [(one["role"], one["content"]) for one in talking.client.get(journal).json()["messages"]]
    assert rows[-2:] == [("user", "straight"), ("agent", "reply: straight")]


def test_the_keyboard_goes_from_hand_to_hand_and_is_free_in_the_end(talking: Talking) -> None:
    """Its holder alone gives it away; what others post meanwhile is refused; when its time is over the queue goes on."""
    session_id = talking.start("talker")
    keyboard = f"/sessions/{session_id}/keyboard"
    talking.client.post_json(keyboard, {"action": "take", "seconds": 600})
    given = talking.client.post_json(keyboard, {"action": "hand_over", "to": "bob", "seconds": 600}).json()
    assert given["holder"] == "bob"
    refused = talking.client.post_json(f"/{session_id}/message", {"content": "x", "type": "raw"})
    assert (refused.status, refused.json()["code"], refused.json()["holder"]) == (409, "keyboard_taken", "bob")
    assert talking.client.post_json(keyboard, {"action": "release"}).status == 409
    waiting = talking.send(session_id, "hello").json()
    assert waiting["state"] == "accepted"
    late = talking.send(session_id, "too late", "?wait=delivered", expires_in=0.2).json()
    assert (late["state"], late["reason"]) == ("expired", "bob has the keyboard")
    again = f"/sessions/{session_id}/deliveries/{late['delivery_id']}/retry"
    assert talking.client.post_json(again, {}).json()["state"] == "accepted"
    taken = talking.client.post_json(keyboard, {"action": "take", "seconds": 1, "force": True}).json()
    assert taken["holder"] == "local"
    talking.fake_log.wait("the queue", lambda log: log.entered() == ["hello", "too late"])
    assert talking.client.get(keyboard).json()["holder"] is None


def test_keys_at_the_terminal_hold_the_queue(talking: Talking) -> None:
    """As raw keys do, for a moment, also from a page; whoever wants the keyboard gets it, and one's own message may pass."""
    session_id = talking.start("talker", message="first")
    page = f"Origin: http://127.0.0.1:{talking.daemon.port}"
    terminal = Attached(talking.daemon.port, page, path=f"/{session_id}/terminal")
    wait_for("the answer", lambda: "reply: first" in talking.client.get(f"/{session_id}/messages").body.decode())
    terminal.press(b"ab")
    keyboard = f"/sessions/{session_id}/keyboard"
    wait_for("the hold", lambda: talking.client.get(keyboard).json()["holder"] == "the terminal")
    assert talking.send(session_id, "behind").json()["state"] == "accepted"
    terminal.press(b"\x7f\x7f")
    assert talking.client.post_json(keyboard, {"action": "take", "seconds": 600}).json()["holder"] == "local"
    talking.client.post_json(keyboard, {"action": "release"})
    talking.fake_log.wait("the queue", lambda log: log.entered() == ["first", "behind"])
    terminal.close()


@pytest.mark.parametrize("way", ["a delivery", "past the queue", "a delivery that interrupts", "its client hangs up"])
@pytest.mark.parametrize("agent_server", ["embedded", "agentapi"])
def test_what_an_agent_puts_back_is_not_entered_with_the_next_message(
    agent_server: str, way: str, tmp_path: Path
) -> None:
    """The agent gets the next message alone, in whatever way the one before was interrupted."""
    talking = Talking(tmp_path, agent_server)
    try:
        session_id = talking.start("returner")
        interrupt = f"/sessions/{session_id}/interrupt"
        more = {"at": "interrupt"} if way == "a delivery that interrupts" else {}
        first = talking.send(session_id, "one\nsecond row", "?wait=delivered&timeout=30").json()
        assert first["state"] == "delivered", first
        if way == "its client hangs up":
            with socket.create_connection(("127.0.0.1", talking.daemon.port)) as hasty:
                hasty.sendall(f"POST {interrupt} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n".encode())
                talking.fake_log.wait("the interrupt", lambda log: log.events("said"))
        elif not more:
            assert talking.client.request("POST", interrupt).status == 200
        if way == "past the queue":
            two = {"content": "two", "type": "user"}
            direct = f"/{session_id}/message"
            wait_for("a quiet agent", lambda: talking.client.post_json(direct, two).status == 200, interval=0.2)
        else:
            said = talking.send(session_id, "two", "?wait=delivered&timeout=30", **more).json()
            assert said["state"] == "delivered", said
        assert talking.fake_log.entered() == ["one\nsecond row", "two"]
    finally:
        talking.daemon.stop()


def test_what_cannot_be_decided_waits_for_a_person(tmp_path: Path) -> None:
    """agentapi types and does not enter what does not show: never again by itself; `discard` lets the queue go on."""
    talking = Talking(tmp_path, "agentapi")
    try:
        session_id = talking.start("blind")
        first = talking.send(session_id, "one", "?wait=delivered&timeout=60").json()
        assert first["state"] == "uncertain", first
        behind = talking.send(session_id, "two").json()
        base = f"/sessions/{session_id}/deliveries"
        held = wait_for("the hold", lambda: talking.client.get(base).json()["held"])
        assert held == "a delivery is uncertain: retry or discard it"
        assert talking.client.request("DELETE", f"{base}/{first['delivery_id']}").json()["code"] == "delivery_settled"
        gone = talking.client.post_json(f"{base}/{first['delivery_id']}/discard", {}).json()
        assert (gone["state"], gone["reason"]) == ("withdrawn", "discarded by local")
        wait_for("the next one", lambda: talking.client.get(f"{base}/{behind['delivery_id']}").json()["typed_at"])
        again = talking.client.post_json(f"{base}/{first['delivery_id']}/retry", {})
        assert again.json()["code"] == "delivery_settled"
    finally:
        talking.daemon.stop()


def test_a_key_brings_nothing_into_a_session_that_has_ended(talking: Talking) -> None:
    """It finds what was accepted before, and accepts nothing new."""
    session_id = talking.start("talker")
    known = talking.send(session_id, "one", "?wait=answered", headers={"idempotency-key": "k"}).json()
    assert talking.client.request("POST", f"/sessions/{session_id}/stop").status == 200
    again = talking.send(session_id, "one", headers={"idempotency-key": "k"})
    assert (again.status, again.json()["delivery_id"]) == (202, known["delivery_id"])
    refused = talking.send(session_id, "two", headers={"idempotency-key": "new"})
    assert (refused.status, refused.json()["code"]) == (409, "session_not_running")


def test_a_rule_answers_what_it_names_and_nothing_else(talking: Talking) -> None:
    """`pytest *` is allowed by itself; a command that joins another one waits for a person."""
    rule = talking.client.post_json("/approvals/rules", {"command": "pytest *"})
    assert rule.status == 201
    session_id = talking.start("asker")
    assert talking.send(session_id, "pytest -q", "?wait=answered").json()["answer"].endswith("ran: pytest -q")
    talking.send(session_id, "pytest -q; rm x", "?wait=delivered")
    [one] = wait_for("the approval", talking.approvals)
    assert one["subject"] == "pytest -q; rm x"
    history = talking.client.get(f"/sessions/{session_id}/approvals").json()["approvals"]
    assert history[0]["by"] == f"rule {rule.json()['rule_id']}"
    assert talking.client.request("DELETE", f"/approvals/rules/{rule.json()['rule_id']}").status == 200
    assert talking.client.get("/approvals/rules").json()["rules"] == []


def test_a_oneshot_session_ends_with_its_answer(talking: Talking) -> None:
    """It says so, and its message has the answer."""
    session_id = talking.start("talker", message="hello", oneshot=True)
    ended = wait_for("its end", lambda: (one := talking.session(session_id))["phase"] == "ended" and one)
    assert (ended["ending"]["reason"], ended["attention"]["kind"]) == ("stopped", "gone")
    assert ended["first_message"]["outcome"] == "delivered"
    [one] = talking.client.get(f"/sessions/{session_id}/deliveries").json()["deliveries"]
    assert (one["answer"], one["first"]) == ("reply: hello", True)
    assert talking.send(session_id, "more").json()["code"] == "session_not_running"


def test_a_start_that_is_repeated_is_one_session(talking: Talking) -> None:
    """The same key gives the same session; with another body it is refused."""
    request = lambda body: talking.client.request(  # noqa: E731
        "POST", "/start", json.dumps(body), {"content-type": "application/json", "idempotency-key": "s1"}
    )
    first, second = request({"agent": "talker"}), request({"agent": "talker"})
    assert first.json()["session_id"] == second.json()["session_id"]
    assert request({"agent": "thinker"}).json()["code"] == "key_reused"
    assert len(talking.client.get("/search").json()["sessions"]) == 1


@pytest.mark.parametrize("agent_server", ["embedded", "agentapi"])
def test_a_crash_loses_and_doubles_nothing(tmp_path: Path, agent_server: str) -> None:
    """`kill -9` while messages are typed and wait; the next server goes on where it stopped, by the agent's own log."""
    talking = Talking(tmp_path, agent_server)
    try:
        session_id = talking.start("talker")
        texts = [f"message {number}" for number in range(2)]
        for text in texts:
            talking.send(session_id, text)
        talking.fake_log.wait("a message is being typed", lambda log: b"message" in log.typed(), 60)
        talking.daemon.process.send_signal(signal.SIGKILL)
        talking.daemon.process.wait(30)
        talking.again()
        base = f"/sessions/{session_id}/deliveries"

        def settled() -> bool:
            states = [one["state"] for one in talking.client.get(base).json()["deliveries"]]
            return all(state in ("answered", "uncertain") for state in states) or "uncertain" in states

        wait_for("all are answered", settled, 90, 0.2)
        assert talking.fake_log.entered() == texts
        assert [one["state"] for one in talking.client.get(base).json()["deliveries"]] == ["answered"] * 2
    finally:
        talking.daemon.stop()


def test_idle_sessions_end_after_a_warning(tmp_path: Path) -> None:
    """A session that nobody uses ends as expired and has told it before."""
    talking = Talking(tmp_path, culling={"idle_timeout": 4, "warning": 60})
    try:
        session_id = talking.start("talker")
        ended = wait_for("its end", lambda: (one := talking.session(session_id))["phase"] == "ended" and one, 60, 0.2)
        assert (ended["ending"]["reason"], ended["ending"]["message"]) == ("expired", "nothing happened for 4 s")
        events = f"/sessions/{session_id}/events"

        def told() -> list[str]:
            kinds = [one["type"] for one in talking.client.get(events).json()["events"]]
            return kinds if "session.ended" in kinds else []

        kinds = wait_for("the end in the journal", told)
        assert kinds.index("session.expiring") < kinds.index("session.ended")
    finally:
        talking.daemon.stop()


def test_a_spent_budget_holds_messages_until_it_is_lifted(tmp_path: Path) -> None:
    """The turn is not ended; the next message waits with the reason; a start is refused."""
    budgets = [
        {"subject": "session", "measure": "turns", "limit": 1},
        {"subject": "user", "measure": "starts", "limit": 1, "per": "day"},
    ]
    talking = Talking(tmp_path, budgets=budgets)
    try:
        session_id = talking.start("talker")
        assert talking.send(session_id, "one", "?wait=answered").json()["state"] == "answered"
        waiting = talking.send(session_id, "two").json()
        held = wait_for("the hold", lambda: talking.client.get(f"/sessions/{session_id}/deliveries").json()["held"])
        assert held == f"the budget of session {session_id} is spent: 1 of 1 turns"
        refused = talking.client.post_json("/start", {"agent": "talker"})
        assert (refused.status, refused.json()["code"]) == (429, "budget_spent")
        lifted = talking.client.post_json(
            "/budgets/lift", {"subject": f"session {session_id}", "measure": "turns", "amount": 5}
        )
        assert (lifted.json()["limit"], lifted.json()["state"]) == (6, "fine")
        talking.fake_log.wait("the second message", lambda log: log.entered() == ["one", "two"])
        assert waiting["state"] == "accepted"
    finally:
        talking.daemon.stop()
