"""Talks with the real command lines of Claude Code and Codex against a stub model: what a user of the daemon sees of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.real.scene import Scene, need, wait_long
from tests.real.stub_model import KEY

pytestmark = pytest.mark.timeout(600)
AGENTS = ("claude", "codex")
SERVERS = ("embedded", "agentapi")
BOXES = "─│╭╰❯›"
"""Nothing of these is part of an answer."""
STATUS = ("for shortcuts", "esc to interrupt", "Worked for", "stub-model", "/effort")


@pytest.fixture(params=AGENTS)
def agent(request: pytest.FixtureRequest) -> str:
    """A real agent that is installed."""
    name = str(request.param)
    need(name)
    return name


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """A daemon with the embedded agent server."""
    found = Scene(tmp_path)
    yield found
    found.close()


@pytest.fixture(params=SERVERS)
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    """A daemon with the embedded agent server, and one with the real agentapi."""
    found = Scene(tmp_path, request.param)
    yield found
    found.close()


def plain(text: str) -> str:
    """Return what an agent said without the mark of its first row and without indentation."""
    return "\n".join(row.strip() for row in text.split("\n")).lstrip("●• ")


def check_answer(scene: Scene, delivery: Any, text: str) -> None:
    """Check that a delivery was answered with *text*; agentapi leaves the agent's own hints below it."""
    assert (delivery["state"], delivery["reason"]) == ("answered", "")
    found = plain(delivery["answer"])
    assert found == text or (scene.agent_server == "agentapi" and found.startswith(text)), delivery["answer"]


def test_three_turns_and_a_message_of_several_rows(agent: str, either: Scene) -> None:
    """No first-run question blocks; each message reaches the model once and whole, and its answer comes back clean."""
    scene = either
    session_id = scene.start(agent)
    texts = ["hello there", "first row\nsecond row\n\nlast row", "three"]
    for text in texts:
        check_answer(scene, scene.send(session_id, text), f"You said: {text}")
    assert scene.model.seen == texts
    if scene.agent_server == "embedded":
        roles = [role for role, _content in scene.messages(session_id)]
        assert roles == ["agent", *["user", "agent"] * len(texts)]
        for role, content in scene.messages(session_id)[1:]:
            assert role == "user" or not any(mark in content for mark in (*BOXES, *STATUS)), content


def test_a_tool_approval_is_allowed_and_denied(agent: str, either: Scene) -> None:
    """The command is named and runs only when it was allowed; a message that comes meanwhile waits; late answers do nothing."""
    scene = either
    session_id = scene.start(agent)
    work = scene.directory / "data" / "sessions" / session_id / "work"
    scene.send(session_id, "run echo hi > allowed.txt", wait="delivered")
    asked = scene.approval(session_id)
    assert asked["subject"] == "echo hi > allowed.txt", asked["prompt"]
    held = scene.send(session_id, "no, please stop", wait="")
    assert scene.session(session_id)["attention"]["kind"] == "approval"
    assert not (work / "allowed.txt").exists()
    allowed = scene.answer(asked, "allow")
    assert (allowed.status, allowed.json()["state"]) == (200, "allowed")
    wait_long("the command ran", (work / "allowed.txt").exists)
    wait_long("the message that was held", lambda: "no, please stop" in scene.model.seen)
    assert (held["state"], (work / "allowed.txt").read_text()) == ("accepted", "hi\n")
    scene.send(session_id, "run echo no > denied.txt", wait="delivered")
    second = scene.approval(session_id)
    denied = scene.answer(second, "deny")
    assert (denied.status, denied.json()["state"]) == (200, "denied")
    assert scene.answer(second, "allow").status == 409
    check_answer(scene, scene.send(session_id, "after that"), "You said: after that")
    assert not (work / "denied.txt").exists()


def test_an_interrupt_ends_the_turn_and_leaves_a_clean_input_line(agent: str, either: Scene) -> None:
    """In mid-answer and before any answer, where Claude Code puts the message back: the next one reaches the model alone."""
    scene = either
    session_id = scene.start(agent)
    for number, text in enumerate(("slow 60", "silent\nwith a second row\nand a third")):
        scene.send(session_id, text, wait="delivered")
        wait_long("the model was asked", lambda said=text: scene.model.seen[-1:] == [said])  # type: ignore[misc]
        assert scene.client.request("POST", f"/sessions/{session_id}/interrupt").status == 200
        scene.wait_attention(session_id, "idle")
        check_answer(scene, scene.send(session_id, f"and now {number}"), f"You said: and now {number}")
        assert scene.model.seen[-1] == f"and now {number}"
    slow = scene.send(session_id, "slow 61", wait="delivered")
    check_answer(scene, scene.send(session_id, "at once", at="interrupt"), "You said: at once")
    listed = scene.client.get(f"/sessions/{session_id}/deliveries/{slow['delivery_id']}").json()
    assert (listed["state"], listed["interrupted"]) == ("answered", True)


@pytest.mark.parametrize(
    ("key", "text", "kind"),
    [("wrong-" + KEY, "hello", "login"), (KEY, "error 429", "rate_limited")],
    ids=["wrong-key", "rate-limit"],
)
def test_a_refused_key_and_a_rate_limit_are_named(agent: str, either: Scene, key: str, text: str, kind: str) -> None:
    """The session says what it is, with the line that shows it and what to do; the delivery says it too."""
    scene = either
    session_id = scene.start(agent, key)
    done = scene.send(session_id, text)
    assert done["reason"].startswith(f"{kind}: "), (done, scene.screen(session_id))
    attention = scene.session(session_id)["attention"]
    assert (attention["kind"], attention["wanted"], bool(attention["action"])) == (kind, True, True)


def test_a_restart_goes_on_with_the_talk(agent: str, scene: Scene) -> None:
    """The next incarnation shows the agent the earlier turns."""
    session_id = scene.start(agent)
    scene.send(session_id, "remember the blue door")
    assert scene.client.request("POST", f"/sessions/{session_id}/restart").status == 200
    done = scene.send(session_id, "what did I say?")
    assert plain(done["answer"]) == "You said: what did I say?"
    asked = [str(body) for _path, body in scene.model.requests if "what did I say?" in str(body)]
    assert any("You said: remember the blue door" in body for body in asked)


def test_a_long_answer_is_whole(agent: str, scene: Scene) -> None:
    """Two hundred rows come back complete."""
    session_id = scene.start(agent)
    done = scene.send(session_id, "list 200")
    rows = [row for row in plain(done["answer"]).split("\n") if row]
    assert rows == [f"line {number}" for number in range(1, 201)]


def test_a_pause_is_not_the_end_of_an_answer(agent: str, either: Scene) -> None:
    """Four seconds of silence in mid-answer do not cut it off."""
    session_id = either.start(agent)
    check_answer(either, either.send(session_id, "hello"), "You said: hello")
    check_answer(either, either.send(session_id, "pause 4"), "before after")


def test_claude_code_on_acp_asks_over_its_protocol(tmp_path: Path) -> None:
    """Its permission request is the approval: the tool runs when it is allowed, and does not when it is denied."""
    need("claude-code-acp")
    scene = Scene(tmp_path, agents={"claude": {"command": ["claude-code-acp"], "acp": True}})
    try:
        session_id = scene.start("claude")
        work = scene.directory / "data" / "sessions" / session_id / "work"
        check_answer(scene, scene.send(session_id, "hello there"), "You said: hello there")
        for name, answer in (("allowed", "allow"), ("denied", "deny")):
            scene.send(session_id, f"run echo hi > {name}.txt", wait="delivered")
            asked = scene.approval(session_id)
            assert asked["subject"] == f"echo hi > {name}.txt", asked
            assert not (work / f"{name}.txt").exists()
            assert scene.answer(asked, answer).status == 200
            scene.wait_attention(session_id, "idle")
            assert (work / f"{name}.txt").exists() == (answer == "allow")
        assert scene.answer(asked, "allow").json()["code"] == "approval_changed"
        check_answer(scene, scene.send(session_id, "and now"), "You said: and now")
    finally:
        scene.close()
