"""A daemon, a stub model, and sessions of a real agent: what the journeys stand on."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.agent_servers import find_agentapi
from tests.daemon import Daemon
from tests.real.stub_model import KEY, StubModel
from tests.waiting import wait_for
from tests.wire import Reply

PROGRAMS = "REAL_AGENTS"
"""Variable with the directory where ``scripts/real_agents`` has put the agents' programs; PATH without it."""
CODEX = ["codex", "--no-daemon", "--no-alt-screen", "--model", "stub-model"]
"""A model that it does not know gets the tools that the stub calls."""
LONG = 120.0
"""Seconds that a real agent may take for a turn on a loaded machine."""


def programs() -> str:
    """Return the directories to look for agents in."""
    return os.environ.get(PROGRAMS) or os.environ["PATH"]


def need(agent: str) -> None:
    """Skip the test when *agent* is not installed; fail it when somebody has said that it is."""
    if shutil.which(agent, path=programs()) is None:
        assert PROGRAMS not in os.environ, f"{agent} is not in {os.environ[PROGRAMS]}, which {PROGRAMS} names"
        pytest.skip(f"{agent} is not installed; scripts/real_agents installs it and runs these tests")


class Scene:
    """One daemon with a stub model behind its agents.

    :param options: further options of the configuration.
    """

    def __init__(self, directory: Path, agent_server: str = "embedded", **options: Any) -> None:
        self.model = StubModel()
        self.directory, self.agent_server = directory, agent_server
        (directory / "agentproxy").mkdir()
        given = {"agents": {"codex": {"command": CODEX}}, **options}
        (directory / "agentproxy" / "agentproxy.yaml").write_text(json.dumps(given))
        path = os.pathsep.join(filter(None, [programs(), os.path.dirname(find_agentapi() or ""), os.environ["PATH"]]))
        self.daemon = Daemon(directory, agent_server, {"XDG_CONFIG_HOME": str(directory), "PATH": path})
        self.client = self.daemon.client

    def close(self) -> None:
        """End the daemon and the model."""
        try:
            self.daemon.stop()
        finally:
            self.model.close()

    # sessions

    def start(self, agent: str, key: str = KEY, **body: Any) -> str:
        """Start a session whose agent speaks to the stub; return its id."""
        given = {**environment(agent, self.model.url, key), **body.pop("environment", {})}
        return self.daemon.start(agent=agent, environment=given, **body)

    def session(self, session_id: str) -> Any:
        """Return a session's record."""
        return self.client.get(f"/sessions/{session_id}").json()

    def attention(self, session_id: str) -> str:
        """Return the kind of what a session waits for."""
        return str((self.session(session_id).get("attention") or {}).get("kind"))

    def wait_attention(self, session_id: str, *kinds: str) -> Any:
        """Wait until it is one of *kinds*; return the attention."""

        def found() -> Any:
            now = self.session(session_id).get("attention") or {}
            return now if now.get("kind") in kinds else None

        try:
            return wait_for(f"attention {kinds}", found, LONG, 0.1)
        except TimeoutError as late:
            raise AssertionError(f"{late}; the screen:\n{self.screen(session_id)}") from None

    def screen(self, session_id: str) -> str:
        """Return the screen without blank rows at its end."""
        reply = self.client.get(f"/{session_id}/screen")
        return str(reply.json()["text"]).rstrip() if reply.status == 200 else "it cannot be read through agentapi"

    def send(self, session_id: str, content: str, wait: str = "answered", **more: Any) -> Any:
        """Send a message as a delivery; return the delivery."""
        body = json.dumps({"content": content, **more})
        query = f"?wait={wait}&timeout={LONG:.0f}" if wait else ""
        reply = self.client.request(
            "POST", f"/sessions/{session_id}/messages{query}", body, {"content-type": "application/json"}
        )
        assert reply.status in (200, 202), (reply.status, reply.body)
        return reply.json()

    def approval(self, session_id: str) -> Any:
        """Wait until a session's agent wants an approval and return it."""

        def found() -> Any:
            listed = self.client.get("/approvals").json()["approvals"]
            return next((one for one in listed if one["session_id"] == session_id and one["state"] == "waiting"), None)

        try:
            return wait_for("the approval", found, LONG, 0.1)
        except TimeoutError as late:
            raise AssertionError(f"{late}; the screen:\n{self.screen(session_id)}") from None

    def answer(self, approval: Any, answer: str) -> Reply:
        """Answer an approval."""
        return self.client.post_json(f"/approvals/{approval['approval_id']}", {"answer": answer})

    def messages(self, session_id: str) -> list[tuple[str, str]]:
        """Return the agent server's messages as (role, content)."""
        listed = self.client.get(f"/{session_id}/messages").json()["messages"]
        return [(one["role"], one["content"]) for one in listed]


def environment(agent: str, url: str, key: str) -> dict[str, str]:
    """Return what makes *agent* speak to a model at *url*."""
    if agent == "claude":
        return {"ANTHROPIC_API_KEY": key, "ANTHROPIC_BASE_URL": url, "CLAUDE_CODE_MAX_RETRIES": "1"}
    return {"OPENAI_API_KEY": key, "OPENAI_BASE_URL": f"{url}/v1"}


def wait_long(what: str, condition: Callable[[], Any]) -> Any:
    """Wait as long as a real agent may take."""
    return wait_for(what, condition, LONG, 0.1)
