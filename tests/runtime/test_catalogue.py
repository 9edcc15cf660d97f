"""The catalogue of agents."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from agentproxy.errors import Refusal
from agentproxy.runtime.catalogue import load
from agentproxy.runtime.steps import StepFailed


def only(*names: str):
    """Return a ``which`` that finds these programs."""
    return lambda name: f"/usr/bin/{name}" if name in names else None


def test_auto_takes_the_first_one_found() -> None:
    """Without a name it is the first agent of the catalogue that is installed."""
    choice = load().pick(None, "auto", only("gemini", "codex"))
    assert (choice.agent.name, choice.automatic) == ("codex", True)


def test_auto_falls_back_to_the_demo_agent() -> None:
    """A machine without agents can still try everything."""
    choice = load().pick(None, "auto", only())
    assert choice.agent.command == (sys.executable, "-m", "agentproxy.demo")


def test_an_unknown_agent_is_refused_with_the_nearest_name() -> None:
    """A typing error is answered with what was probably meant."""
    with pytest.raises(Refusal, match=r"\$\.agent: unknown agent 'cluade', did you mean 'claude'\?"):
        load().pick("cluade", which=only())


def test_a_missing_program_says_how_to_install_it() -> None:
    """An agent that is known but not installed is not available."""
    with pytest.raises(StepFailed, match="npm install -g @anthropic-ai/claude-code") as caught:
        load().pick("claude", which=only())
    assert (caught.value.step, caught.value.unavailable) == ("agent", True)


def test_the_configuration_is_laid_over_it() -> None:
    """Single keys of an agent can be changed and agents be added."""
    catalogue = load({"claude": {"command": ["/opt/claude"]}, "mine": {"command": ["mine"]}})
    assert catalogue.agents["claude"].argv(resume=True) == ("/opt/claude", "--continue")
    assert catalogue.pick("mine", which=only("mine")).agent.type == "custom"


@pytest.mark.parametrize(
    ("row", "path"),
    [
        ({"comand": ["x"]}, "did you mean 'command'"),
        ({"command": "x"}, r"agents\.a\.command"),
        ({"type": "clod"}, r"agents\.a\.type"),
        ({"marks": {"idle": ["("]}}, r"agents\.a\.marks\.idle"),
        ({"home": [{"path": "../x", "format": "json"}]}, r"agents\.a\.home\.path"),
    ],
)
def test_a_wrong_overlay_names_its_path(row: dict[str, object], path: str) -> None:
    """A mistake in the configuration is named by its path."""
    with pytest.raises(ValueError, match=path):
        load({"a": row})


def test_commands_of_a_requests_own_need_permission() -> None:
    """They run only where the configuration allows them."""
    catalogue = load()
    custom = catalogue.agents["custom"]
    with pytest.raises(Refusal, match="allow_commands"):
        catalogue.with_command(custom, ("sh",), allowed=False)
    assert catalogue.with_command(custom, ("sh",), allowed=True).argv(resume=True) == ("sh",)


@pytest.mark.parametrize(
    ("name", "mark", "line"),
    [
        ("claude", "idle", "  ? for shortcuts · ← for agents"),
        ("claude", "busy", "esc to interrupt · ← for agents"),
        ("claude", "approval", " Do you want to proceed?\n ❯ 1. Yes"),
        ("codex", "idle", "› Ask Codex to do anything"),
        ("codex", "approval", "  Would you like to run the following command?"),
        ("gemini", "busy", "⠋ Thinking... (esc to cancel, 8s)"),
        ("opencode", "idle", "ctrl+p commands"),
        ("aider", "idle", "diff> "),
        ("aider", "approval", "Run shell command? (Y)es/(N)o/(D)on't ask again [Yes]:"),
    ],
)
def test_marks_match_the_screens(name: str, mark: str, line: str) -> None:
    """The marks recognise the lines that the agents really show."""
    assert any(pattern.search(f"above\n{line}") for pattern in getattr(load().agents[name].marks, mark))


def test_the_documentation_lists_every_agent() -> None:
    """docs/agents.md names the agents in the order of the catalogue, each with how to install it."""
    text = (Path(__file__).parents[2] / "docs/agents.md").read_text("utf-8")
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| `")]
    agents = load().agents
    assert [row[1].strip(" `") for row in rows] == list(agents)
    assert all(row[3].strip(" `") == agents[row[1].strip(" `")].install for row in rows if "install" in row[3])
