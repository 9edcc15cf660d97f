"""The real Claude Code and Codex directly below an agent server: what it takes out of their screens, ours to the letter.

The same turns run below the real agentapi, which keeps rows that are no answer; there the words have to be in the message.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.agent_servers import KINDS, AgentServer, run_agent_server
from tests.real.scene import CODEX, LONG, need, programs
from tests.real.stub_model import KEY, StubModel
from tests.waiting import wait_for

COMMANDS = {"claude": ["claude"], "codex": CODEX, "claude-acp": ["claude-code-acp"]}
APPROVE = {"claude": "1", "codex": "y"}
INTERRUPTED = {"claude": "Interrupted ·", "codex": "Conversation interrupted"}


def claude_settings(work: Path) -> dict[str, Any]:
    """Return what keeps Claude Code from asking anything at its first run."""
    project = {"hasTrustDialogAccepted": True, "hasCompletedProjectOnboarding": True}
    known = {"approved": [KEY[-20:]], "rejected": []}
    return {
        "hasCompletedOnboarding": True,
        "theme": "dark",
        "customApiKeyResponses": known,
        "projects": {str(work): project},
    }


def codex_settings(model: StubModel, work: Path) -> str:
    """Return what makes Codex ask the stub, and nothing else."""
    provider = f'name = "stub"\nbase_url = "{model.url}/v1"\nenv_key = "OPENAI_API_KEY"\nwire_api = "responses"\n'
    head = 'model = "stub-model"\nmodel_provider = "stub"\ncheck_for_update_on_startup = false\n'
    return f'{head}[model_providers.stub]\n{provider}[projects."{work}"]\ntrust_level = "trusted"\n'


@contextmanager
def below(kind: str, agent: str, home: Path, *flags: str) -> Iterator[tuple[AgentServer, StubModel]]:
    """Run *agent* below the agent server *kind*, ready for a message, in ``home/work``."""
    need(COMMANDS[agent][0])
    model, work = StubModel(), home / "work"
    work.mkdir()
    (home / ".codex").mkdir()
    (home / ".claude.json").write_text(json.dumps(claude_settings(work)))
    (home / ".codex" / "config.toml").write_text(codex_settings(model, work))
    env = {
        "HOME": str(home),
        "PATH": os.pathsep.join([programs(), os.environ["PATH"]]),
        "OPENAI_API_KEY": KEY,
        "ANTHROPIC_API_KEY": KEY,
        "ANTHROPIC_BASE_URL": model.url,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "IS_SANDBOX": "1",
    }
    try:
        options: dict[str, Any] = {
            "agent_type": agent.partition("-")[0],
            "env": env,
            "directory": work,
            "flags": flags,
            "height": 1000,
        }
        with run_agent_server(kind, COMMANDS[agent], **options) as server:
            yield server, model
    finally:
        model.close()


def until_ready(server: AgentServer, agent: str) -> None:
    """Wait until the agent is quiet and its input line shows."""
    shown = {"claude": "for shortcuts", "codex": "Ask Codex to do anything"}[agent]

    def ready() -> bool:
        with server.client.events("/internal/screen") as events:
            drawn = shown in events.until(lambda event: event.name == "screen").data["screen"]
        return drawn and server.client.get("/status").json()["status"] == "stable"

    wait_for(f"{agent} to be ready", ready, LONG)


def say(server: AgentServer, text: str) -> None:
    """Say *text*, again when the screen has changed in the moment before."""

    def said() -> bool:
        reply = server.client.send(text, timeout=LONG)
        assert reply.status == 200 or b"waiting for user input" in reply.body, reply.body
        return reply.status == 200

    wait_for("the message to be taken", said, LONG, interval=0.5)


def answer(server: AgentServer, agent: str, text: str) -> str:
    """Say *text* and return the agent's message when it is ready again, without the mark and the indentation."""
    say(server, text)
    wait_for("an answer", lambda: server.client.messages()[-1]["role"] == "agent", LONG)
    until_ready(server, agent)
    said = server.client.messages()
    assert [row["content"] for row in said if row["role"] == "user"][-1] == text
    assert said[-1]["role"] == "agent", said[-2:]
    return "\n".join(row.strip() for row in said[-1]["content"].split("\n")).lstrip("●• ")


@pytest.fixture(params=["claude", "codex"])
def agent(request: pytest.FixtureRequest) -> str:
    """A real agent."""
    return str(request.param)


@pytest.mark.parametrize("kind", KINDS)
def test_turns(kind: str, agent: str, tmp_path: Path) -> None:
    """Three turns, rows in one message, the same twice, and two hundred rows; each message reaches the model once."""
    with below(kind, agent, tmp_path) as (server, model):
        until_ready(server, agent)
        texts = ["hello there", "first row\nsecond row\n\nlast row", "one more"]
        if kind == "embedded":  # the other never gets over a reply that equals the one before
            texts += ["twice", "twice"]
        for text in texts:
            found = answer(server, agent, text)
            assert found == f"You said: {text}" if kind == "embedded" else f"You said: {text}" in found
        rows = [row for row in answer(server, agent, "list 200").split("\n") if row.startswith("line ")]
        assert rows == [f"line {number}" for number in range(1, 201)]
        assert model.seen == [*texts, "list 200"]
        assert [row["role"] for row in server.client.messages()][1:] == ["user", "agent"] * (len(texts) + 1)


@pytest.mark.parametrize("height", [40, 1000])
def test_an_approval_and_an_interrupt(agent: str, height: int, tmp_path: Path) -> None:
    """The question is in the message and there is no prompt; approved by its key the command runs; an interrupt ends a turn."""
    with below("embedded", agent, tmp_path, f"--term-height={height}") as (server, model):
        until_ready(server, agent)
        say(server, "run echo hi > out.txt")
        wait_for("the question", lambda: "1. Yes" in server.client.messages()[-1]["content"], LONG)
        assert server.client.get("/status").json()["prompt"] is False
        assert not (tmp_path / "work" / "out.txt").exists()
        assert server.client.send(APPROVE[agent], "raw").status == 200
        wait_for("the file", (tmp_path / "work" / "out.txt").exists, LONG)
        until_ready(server, agent)
        assert "The tool said" in server.client.messages()[-1]["content"]
        say(server, "slow 60")
        wait_for("some words", lambda: "word2" in server.client.messages()[-1]["content"], LONG)
        assert server.client.request("POST", "/interrupt").status == 200
        wait_for("the end of the turn", lambda: INTERRUPTED[agent] in server.client.messages()[-1]["content"], LONG)
        until_ready(server, agent)
        assert answer(server, agent, "after that") == "You said: after that"
        assert model.seen[-1] == "after that"
        server.signal(signal.SIGTERM)
        assert server.wait(30) == 0
        wait_for("the end of all", lambda: not server.processes())


def test_claude_code_on_acp(tmp_path: Path) -> None:
    """Without a screen: turns to the letter, leave given with an offered option, a cancelled turn, nothing left at the end."""
    with below("embedded", "claude-acp", tmp_path, "--experimental-acp") as (server, _model):
        server.wait_stable(LONG)
        for text in ("hello there", "first row\nsecond row", "twice", "twice"):
            with server.client.events(timeout=LONG) as events:
                events.until_stable()
                assert server.client.send(text).status == 200
                events.until_message("You said")
                events.until_stable()
            assert server.client.messages()[-1]["content"] == f"You said: {text}"
        with server.client.events(timeout=LONG) as events:
            events.until_stable()
            assert server.client.send("run echo hi > out.txt").status == 200
            asked = events.until(lambda event: event.name == "permission_request").data
            assert "echo hi > out.txt" in asked["title"]
            (option,) = [one["id"] for one in asked["options"] if one["kind"] == "allow_once"]
            assert server.client.post_json("/permissions", {"id": asked["id"], "option": option}).status == 200
            events.until_stable()
            assert (tmp_path / "work" / "out.txt").exists()
            assert server.client.send("slow 60").status == 200
            events.until_message("word2")
            assert server.client.request("POST", "/interrupt").status == 200
            events.until_stable()
        server.signal(signal.SIGTERM)
        assert server.wait(30) == 0
        wait_for("the end of all", lambda: not server.processes())
