"""Start-up scripts, run for real."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from agentproxy.errors import Refusal
from agentproxy.runtime.scripts import Scripts
from agentproxy.runtime.steps import StepFailed

NAMES = ["agentapi_default.sh", "agentapi_with_github.sh"]
PATH = "/usr/local/bin:/usr/bin:/bin"


def run(name: str, *argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script with a program in place of the agent server."""
    command = Scripts({}, shutil.which).argv(name, 9000, argv)
    return subprocess.run(command, env={"PATH": PATH, **environment}, capture_output=True, text=True, timeout=20)


@pytest.mark.parametrize("name", NAMES)
def test_arguments_arrive_unchanged(name: str) -> None:
    """Nothing in an argument or a variable is read by the shell."""
    nasty = ["a b", "$(touch /tmp/no)", "'\"`id`", "", "*"]
    done = run(name, "printf", "%s|", *nasty, GITHUB_TOKEN="$(id)'\"")
    assert done.stdout == "|".join(nasty) + "|"


@pytest.mark.parametrize("name", NAMES)
def test_the_exit_status_is_the_agent_servers(name: str) -> None:
    """The script becomes the agent server."""
    assert run(name, "sh", "-c", "exit 7").returncode == 7


def test_github_is_announced_and_git_gets_the_token() -> None:
    """With a token, git answers GitHub with it and nobody else; the token is in no file."""
    ask = "printf 'protocol=https\\nhost=%s\\n\\n' \"$0\" | GIT_TERMINAL_PROMPT=0 git credential fill; true"
    environment = {"GITHUB_TOKEN": "tok en$1", "HOME": "/nonexistent"}
    done = run("agentapi_with_github.sh", "sh", "-c", ask, "github.com", **environment)
    assert "password=tok en$1\n" in done.stdout
    assert "tok en" not in run("agentapi_with_github.sh", "sh", "-c", ask, "evil.example", **environment).stdout
    assert run("agentapi_with_github.sh", "printenv", "AGENTAPI_GITHUB_INTEGRATION").stdout == "true\n"


def test_debug_tells_no_token() -> None:
    """DEBUG says what is started, never the token."""
    done = run("agentapi_with_github.sh", "true", DEBUG="true", WORKSPACE_NAME="w1", GITHUB_TOKEN="secret")
    assert "workspace w1" in done.stderr
    assert "secret" not in done.stderr


def test_names(tmp_path: Path) -> None:
    """Configured scripts are found by name; unknown ones are refused, missing ones are a failed step."""
    scripts = Scripts({"mine": tmp_path / "mine.sh"}, shutil.which)
    with pytest.raises(Refusal, match=r"\$\.script: unknown script 'agentapi_defualt.sh', did you mean"):
        scripts.argv("agentapi_defualt.sh", 1, [])
    with pytest.raises(StepFailed, match="missing"):
        scripts.argv("mine", 1, [])


def test_which_script_a_session_gets(tmp_path: Path) -> None:
    """The one for GitHub sets git up, ours are left out where they would do nothing, and an operator's own always runs."""
    ours = Scripts({}, shutil.which)
    assert ours.choose(False, {}) is None
    assert ours.choose(True, {}) is None
    assert ours.choose(True, {"GITHUB_TOKEN": "t"}) == "agentapi_with_github.sh"
    assert ours.choose(False, {"GITHUB_TOKEN": "t"}) is None
    assert ours.choose(False, {"DEBUG": "true"}) == "agentapi_default.sh"
    replaced = Scripts(dict.fromkeys(NAMES, tmp_path / "mine.sh"), shutil.which)
    assert (replaced.choose(False, {}), replaced.choose(True, {})) == ("agentapi_default.sh", "agentapi_with_github.sh")
