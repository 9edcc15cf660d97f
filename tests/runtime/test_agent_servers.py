"""The choice of the agent server, and what else is put around an agent."""

from __future__ import annotations

from pathlib import Path

import pytest

from agentproxy.errors import START_UNAVAILABLE, Refusal
from agentproxy.runtime.agent_servers import AgentapiServer, EmbeddedServer, Serving, resolve
from agentproxy.runtime.steps import StepFailed


def test_auto_prefers_the_one_with_a_door() -> None:
    """The embedded agent server is taken where it exists."""
    assert resolve("auto", which=lambda _name: "/bin/agentapi", embedded=lambda: True).has_door
    assert not resolve("auto", which=lambda _name: "/bin/agentapi", embedded=lambda: False).has_door


def test_a_missing_agentapi_says_how_to_install_it() -> None:
    """A machine without agentapi is told where to get it."""
    with pytest.raises(Refusal) as refused:
        resolve("agentapi", which=lambda _name: None)
    assert refused.value.kind is START_UNAVAILABLE
    assert "https://github.com/coder/agentapi" in refused.value.details


def test_the_agents_own_flags_are_kept_apart() -> None:
    """The command line ends with -- so that flags of the agent are not taken for the server's."""
    argv = AgentapiServer("agentapi").command(Serving(9000, "claude", Path("door"), Path("end"), 80, 50))
    assert argv == ("agentapi", "server", "--port=9000", "--type=claude", "--term-width=80", "--term-height=50", "--")


def test_an_agent_on_acp_is_served_by_the_embedded_one_alone() -> None:
    """It gets the file by which the next life goes on with the talk; agentapi, which allows everything by itself, is refused."""
    serving = Serving(9000, "gemini", Path("door"), Path("records/end"), acp=True)
    command = EmbeddedServer().command(serving)
    assert command[-3:] == ("--experimental-acp", "--acp-session-file=records/acp-session", "--")
    with pytest.raises(StepFailed, match="agent_server: embedded"):
        AgentapiServer("agentapi").command(serving)
