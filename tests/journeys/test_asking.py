"""Agents that ask, several people, limits that act: approvals, rules, budgets and culling, with real terminal programs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import fake_command
from tests.fakes.log import FakeLog
from tests.journeys.people import GuardedDaemon
from tests.waiting import wait_for


def agents(directory: Path) -> dict[str, Any]:
    """Return an agent that asks before each command, one that answers at once, and one that asks over ACP."""
    environment = {"FAKE_LOG": str(directory / "fake.log")}
    asker = {
        "command": fake_command("approve", "yes"),
        "environment": environment,
        "allow": ["1"],
        "deny": ["\x1b"],
        "marks": {
            "idle": [r"^> ?\Z"],
            "approval": [r"Would you like to run the following command\?(?=(?:\n.*){0,4}\Z)"],
            "subject": [r"^\s*\$ (?P<subject>.+)\n\W*1\. "],
        },
    }
    talker = {"command": fake_command("tui"), "environment": environment, "marks": {"idle": [r"^> ?\Z"]}}
    coder = {"command": fake_command("acp", "perm"), "environment": environment, "acp": True, "type": "gemini"}
    return {"asker": asker, "talker": talker, "coder": coder}


class Town(GuardedDaemon):
    """A daemon with people and those agents."""

    def __init__(self, directory: Path, **top: Any) -> None:
        self.fake_log = FakeLog(directory / "fake.log")
        super().__init__(directory, top={"agents": agents(directory), **top})

    def approval(self, name: str, session_id: str) -> Any:
        """Wait for the approval that a session wants, as somebody sees it."""

        def found() -> Any:
            listed = self.ask(name, "GET", f"/approvals?session_id={session_id}").json()["approvals"]
            return listed[0] if listed else None

        return wait_for("the approval", found)

    def say(self, name: str, session_id: str, content: str, query: str = "") -> Any:
        """Queue a message as somebody."""
        return self.ask(name, "POST", f"/sessions/{session_id}/messages{query}", {"content": content})

    def audit(self, session_id: str) -> list[dict[str, Any]]:
        """Return what the audit has of answers in a session."""
        entries = self.ask("root", "GET", f"/audit?session_id={session_id}").json()["entries"]
        return [one for one in entries if "approval_id" in one.get("facts", one)]

    def events(self, session_id: str, kind: str) -> list[dict[str, Any]]:
        """Return the events of one kind of a session."""
        listed = self.ask("root", "GET", f"/sessions/{session_id}/events?types={kind}").json()["events"]
        return [one for one in listed if one["type"] == kind]


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    """A daemon without further options."""
    found = Town(tmp_path)
    yield found
    found.stop()


def test_an_approval_is_seen_and_answered_by_those_who_may(town: Town) -> None:
    """Strangers see nothing and cannot answer; of two answers the first counts, and the audit says whose it was."""
    session_id = town.started("alice", agent="asker", message="rm -r build")
    one = town.approval("alice", session_id)
    path = f"/approvals/{one['approval_id']}"
    for stranger in ("bob", "view"):
        assert town.ask(stranger, "GET", "/approvals").json()["approvals"] == []
        assert town.ask(stranger, "GET", path).json()["code"] == "approval_not_found"
        assert town.ask(stranger, "POST", path, {"answer": "allow"}).json()["code"] == "approval_not_found"
    assert [each["approval_id"] for each in town.ask("root", "GET", "/approvals").json()["approvals"]] == [
        one["approval_id"]
    ]
    assert town.ask("alice", "POST", path, {"answer": "perhaps"}).status == 400
    denied = town.ask("root", "POST", path, {"answer": "deny"}).json()
    assert (denied["state"], denied["by"]) == ("denied", "root")
    late = town.ask("alice", "POST", path, {"answer": "allow"})
    assert (late.status, late.json()["code"], late.json()["state"]) == (409, "approval_changed", "denied")
    assert late.json()["screen"]
    town.fake_log.wait("the answer", lambda log: [row["text"] for row in log.events("answer")] == ["no"])
    [noted] = wait_for("the audit", lambda: town.audit(session_id))
    assert (noted["actor"], noted["reason"]) == ("root", "approval answered by root")


def test_a_rule_answers_for_its_owner_in_its_repository_until_its_end(town: Town) -> None:
    """By the API; the audit names the rule; somebody else's session and another command wait for a person."""
    wrong = {"command": "pytest *", "until": "2020-01-01T00:00:00Z"}
    assert town.ask("alice", "POST", "/approvals/rules", wrong).json()["code"] == "invalid_request"
    assert town.ask("view", "POST", "/approvals/rules", {"command": "*"}).status == 403
    given = {"command": "pytest *", "until": "2099-01-01T00:00:00+01:00"}
    elsewhere = town.ask("alice", "POST", "/approvals/rules", {**given, "answer": "deny", "repository": "o/other"})
    rule = town.ask("alice", "POST", "/approvals/rules", given).json()
    assert elsewhere.json()["repository"] == "o/other"
    assert town.ask("bob", "GET", "/approvals/rules").json()["rules"] == []
    alices, bobs = town.started("alice", agent="asker"), town.started("bob", agent="asker")
    done = town.say("alice", alices, "pytest -q", "?wait=answered").json()
    assert done["answer"].endswith("ran: pytest -q")
    [noted] = wait_for("the audit", lambda: town.audit(alices))
    assert noted["reason"] == f"approval answered by rule {rule['rule_id']}"
    town.say("bob", bobs, "pytest -q")
    assert town.approval("bob", bobs)["subject"] == "pytest -q"
    assert town.ask("bob", "DELETE", f"/approvals/rules/{rule['rule_id']}").status == 404
    assert town.ask("alice", "DELETE", f"/approvals/rules/{rule['rule_id']}").status == 200
    town.say("alice", alices, "pytest -q")
    assert town.approval("alice", alices)["subject"] == "pytest -q"


def test_an_agent_on_acp_asks_over_its_protocol(town: Town) -> None:
    """Its request is the approval; only an offered option is given; messages wait; rules see the command; a restart goes on."""
    session_id = town.started("alice", agent="coder", message="make all")
    one = town.approval("alice", session_id)
    assert (one["subject"], [each["name"] for each in one["choices"]]) == (
        "make all",
        ["allow", "deny", "reject", "yes-once"],
    )
    record = town.ask("alice", "GET", f"/sessions/{session_id}").json()
    assert (record["attention"]["kind"], record["attention"]["line"]) == ("approval", "Run make all")
    path = f"/approvals/{one['approval_id']}"
    direct = {"content": "no", "type": "user"}
    assert town.ask("alice", "POST", f"/{session_id}/message", direct).json()["code"] == "approval_waiting"
    town.say("alice", session_id, "rm x")
    assert town.ask("alice", "POST", path, {"answer": "maybe"}).status == 400
    assert town.ask("alice", "POST", path, {"answer": "allow"}).json()["state"] == "allowed"
    assert town.ask("alice", "POST", path, {"answer": "deny"}).json()["code"] == "approval_changed"
    second = wait_for("the next approval", lambda: (it := town.approval("alice", session_id)) != one and it)
    assert second["subject"] == "rm x"
    assert town.ask("alice", "POST", f"/approvals/{second['approval_id']}", {"answer": "deny"}).status == 200
    town.ask("alice", "POST", "/approvals/rules", {"command": "pytest *"})
    done = town.say("alice", session_id, "pytest -q", "?wait=answered").json()
    assert (done["state"], done["answer"]) == ("answered", "permission: yes-once")
    chosen = [row["outcome"]["optionId"] for row in town.fake_log.events("answer")]
    assert chosen == ["yes-once", "reject", "yes-once"]
    assert town.ask("alice", "POST", f"/sessions/{session_id}/restart").status == 200
    again = town.say("alice", session_id, "pytest --lf", "?wait=answered").json()
    assert again["answer"] == "permission: yes-once"
    assert "session/load" in [row["method"] for row in town.fake_log.events("request")]


def test_an_approval_that_nobody_answers_is_denied(tmp_path: Path) -> None:
    """And a rule of the configuration answers for everybody."""
    rules = [{"command": "make *", "answer": "deny"}]
    town = Town(tmp_path, approvals={"expire_after": 1, "rules": rules})
    try:
        session_id = town.started("alice", agent="asker", message="rm x")
        town.fake_log.wait("the denial", lambda log: [row["text"] for row in log.events("answer")] == ["no"])
        done = town.say("alice", session_id, "make all", "?wait=answered").json()
        assert done["answer"].endswith("did not run: make all")
        states = [
            (one["state"], one["by"])
            for one in town.ask("alice", "GET", f"/sessions/{session_id}/approvals").json()["approvals"]
        ]
        assert states == [("denied", "expiry"), ("denied", "rule configured-1")]
    finally:
        town.stop()


def test_budgets_warn_hold_and_are_lifted_by_who_may(tmp_path: Path) -> None:
    """Of a user over all sessions, and of a team; at 80 % an event, at 100 % the queue waits and says why."""
    budgets = [
        {"subject": "user", "measure": "turns", "limit": 5, "per": "day"},
        {"subject": "team", "measure": "starts", "limit": 1, "per": "month"},
    ]
    town = Town(tmp_path, budgets=budgets)
    try:
        first, second = town.started("alice", agent="talker"), town.started("alice", agent="talker")
        for number in range(4):
            assert town.say("alice", (first, second)[number % 2], f"{number}", "?wait=answered").status == 200
        [near] = wait_for("the event", lambda: town.events(second, "budget"))
        assert (near["data"]["state"], near["data"]["used"], near["data"]["limit"]) == ("near", 4, 5)
        town.say("alice", first, "last", "?wait=answered")
        town.say("alice", second, "too much")
        held = wait_for("the hold", lambda: town.ask("alice", "GET", f"/sessions/{second}/deliveries").json()["held"])
        assert held.startswith("the budget of user alice is spent: 5 of 5 turns")
        lift = {"subject": "user alice", "measure": "turns", "amount": 1}
        assert town.ask("alice", "POST", "/budgets/lift", lift).json()["code"] == "forbidden"
        assert town.ask("root", "POST", "/budgets/lift", lift).json()["limit"] == 6
        town.fake_log.wait("the message that was held", lambda log: log.entered()[-1:] == ["too much"])
        assert [one["subject"] for one in town.ask("bob", "GET", "/budgets").json()["budgets"]] == ["user bob"]
        ours = {"agent": "talker", "scope": "team", "team_id": "o/t"}
        assert town.ask("carl", "POST", "/start", ours).status == 200
        refused = town.ask("carl", "POST", "/start", ours)
        assert (refused.status, refused.json()["code"]) == (429, "budget_spent")
    finally:
        town.stop()


def test_the_audit_says_who_changed_what_for_others(tmp_path: Path) -> None:
    """Budgets lifted, rules, keyboards, grants and links: each with who did it, from where, and what it gave to whom."""
    town = Town(tmp_path, budgets=[{"subject": "user", "measure": "turns", "limit": 5, "per": "day"}])
    try:
        session_id = town.started("alice", agent="talker")
        town.ask("root", "POST", "/budgets/lift", {"subject": "user alice", "measure": "turns", "amount": 2})
        rule = town.ask("alice", "POST", "/approvals/rules", {"command": "make *", "answer": "deny"}).json()["rule_id"]
        town.ask("root", "DELETE", f"/approvals/rules/{rule}")
        keyboard = f"/sessions/{session_id}/keyboard"
        for _again in range(2):
            assert town.ask("alice", "POST", keyboard, {"action": "take"}).status == 200
        assert town.ask("root", "POST", keyboard, {"action": "take", "force": True}).status == 200
        assert town.ask("root", "POST", keyboard, {"action": "hand_over", "to": "bob"}).status == 200
        access = f"/sessions/{session_id}/access/user:bob"
        assert town.ask("alice", "PUT", access, {"access": "write"}).status < 300
        assert town.ask("alice", "DELETE", access).status < 300
        assert town.ask("alice", "POST", f"/sessions/{session_id}/share").status < 300
        assert town.ask("root", "DELETE", f"/sessions/{session_id}/share").status < 300

        def changes() -> list[dict[str, Any]] | None:
            entries = town.ask("root", "GET", "/audit?limit=1000").json()["entries"]
            found = [
                one for one in entries if one["verb"].split(".")[0] in ("budget", "rule", "keyboard", "grant", "link")
            ]
            return found if len(found) >= 10 else None

        found = wait_for("the audit", changes)
        assert all((one["allowed"], one["address"]) == (True, "127.0.0.1") for one in found)
        assert [(one["actor"], one["verb"]) for one in found] == [
            ("root", "budget.lift"),
            ("alice", "rule.add"),
            ("root", "rule.remove"),
            ("alice", "keyboard.take"),
            ("root", "keyboard.take"),
            ("root", "keyboard.hand_over"),
            ("alice", "grant.add"),
            ("alice", "grant.remove"),
            ("alice", "link.add"),
            ("root", "link.remove"),
        ]
        facts = [one["facts"] for one in found]
        assert facts[0] == {"subject": "user alice", "measure": "turns", "amount": 2, "limit": 7}
        assert (facts[1]["command"], facts[1]["answer"], facts[1]["owner"]) == ("make *", "deny", "alice")
        assert facts[2]["rule"] == rule
        assert facts[3:6] == [
            {"before": None, "holder": "alice"},
            {"before": "alice", "holder": "root"},
            {"before": "root", "holder": "bob"},
        ]
        assert facts[6] == {"grantee": "user:bob", "access": "write"}
        assert {one["session_id"] for one in found[3:]} == {session_id}
    finally:
        town.stop()


def test_sessions_end_by_user_and_agent_but_not_while_they_ask(tmp_path: Path) -> None:
    """Each after a warning; one that waits for an approval is not idle; reading is no activity."""
    culling = {
        "idle_timeout": 600,
        "warning": 600,
        "agents": {"talker": {"idle_timeout": 3}, "asker": {"idle_timeout": 3}},
        "users": {"bob": {"idle_timeout": 0}},
    }
    town = Town(tmp_path, culling=culling)
    try:
        asks = town.started("alice", agent="asker", message="rm x")
        one = town.approval("alice", asks)
        patient = town.started("bob", agent="talker")
        idle = town.started("alice", agent="talker")

        def ended(session_id: str) -> Any:
            found = town.ask("root", "GET", f"/sessions/{session_id}").json()  # an open tab
            town.ask("root", "GET", f"/{session_id}/messages")
            return found["phase"] == "ended" and found

        reason = wait_for("the end of the idle one", lambda: ended(idle), 60, 0.2)["ending"]
        assert (reason["reason"], reason["message"]) == ("expired", "nothing happened for 3 s")
        [warning] = wait_for("the warning", lambda: town.events(idle, "session.expiring"))
        assert warning["data"]["reason"] == "idle"
        assert [ended(asks), ended(patient)] == [False, False]
        assert town.ask("alice", "POST", f"/approvals/{one['approval_id']}", {"answer": "deny"}).status == 200
        assert wait_for("the end of the one that asked", lambda: ended(asks), 60, 0.2)["ending"]["reason"] == "expired"
        assert not ended(patient)
    finally:
        town.stop()
