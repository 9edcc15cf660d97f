"""What every command of the list has in common."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from agentproxy.cli import agentproxy
from agentproxy.commands.listing import COMMANDS
from tests.commands.conftest import Run
from tests.daemon import Daemon
from tests.waiting import wait_for


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command that does something, with the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        assert found is not None
        if isinstance(found, click.Group):
            yield from commands(found, (*path, name))
        else:
            yield (*path, name), found


PROMISED = """
start list show send ask chat attach log events approvals stop restart delete share export token admin config store audit doctor
login client helpers completion server interrupt messages
"""
WITHOUT_JSON = {("server",), ("completion",)}


def test_the_list_is_what_is_promised() -> None:
    """Every command that the docs speak of is there."""
    assert set(PROMISED.split()) <= set(agentproxy.list_commands(click.Context(agentproxy)))
    helpers = {path[1] for path, _command in commands(agentproxy) if path[0] == "helpers"}
    assert {"setup-claude-code", "init", "generate-token", "init-github-repository", "setup-gh"} <= helpers


ALL = list(commands(agentproxy))


@pytest.mark.parametrize(("path", "command"), ALL, ids=[" ".join(path) for path, _command in ALL])
def test_every_command_has_help_and_json(path: tuple[str, ...], command: click.Command) -> None:
    """--help explains it; --json prints for programs, but for the server and for shell scripts."""
    assert command.help
    names = {name for one in command.params for name in one.opts}
    if path[0] == "client":
        group = agentproxy.get_command(click.Context(agentproxy), "client")
        assert group is not None
        names |= {name for one in group.params for name in one.opts}
    assert ("--json" in names) is (path not in WITHOUT_JSON)
    if path != ("server",):
        assert CliRunner().invoke(agentproxy, [*path, "--help"]).exit_code == 0


def test_the_list_says_what_the_commands_say() -> None:
    """The summaries that stand in the list are the first sentences of the commands' own help."""
    context = click.Context(agentproxy)
    said = {}
    for name in COMMANDS:
        found = agentproxy.get_command(context, name)
        assert found is not None
        said[name] = found.get_short_help_str(100)
    assert said == {name: summary for name, (_module, summary) in COMMANDS.items()}


def test_the_list_imports_no_command(tmp_path: Path) -> None:
    """--help and the completion of a name are fast: neither Twisted nor the database is loaded for them."""
    code = "import sys; from agentproxy.cli import main; main(); print(sorted({'twisted', 'sqlalchemy'} & set(sys.modules)))"
    completing = {"COMP_WORDS": "agentproxy ", "COMP_CWORD": "1", "_AGENTPROXY_COMPLETE": "bash_complete"}
    for words, more, there in ((["--help"], {}, "Commands:"), ([], completing, "plain,doctor")):
        done = subprocess.run(
            [sys.executable, "-c", code, *words], env={**os.environ, "HOME": str(tmp_path), **more},
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert there in done.stdout
        assert done.stdout.rstrip().endswith("[]"), done.stdout


def groups(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words that call each group of commands."""
    yield path
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        if isinstance(found, click.Group):
            yield from groups(found, (*path, name))


@pytest.mark.parametrize("path", list(groups(agentproxy)), ids=" ".join)
def test_lists_of_commands_have_whole_sentences(path: tuple[str, ...]) -> None:
    """In a terminal of 80 columns nothing of them is cut off."""
    listed = CliRunner().invoke(agentproxy, [*path, "--help"]).output.partition("Commands:")[2]
    assert [line for line in listed.splitlines() if line.endswith("...")] == []


def test_sessions_are_completed(run: Run, daemon: Daemon, tmp_path: Path) -> None:
    """A shell is offered the sessions that are there, by their short ids; nothing when no server answers."""
    session = run("start").output.strip()

    def offered(url: str) -> str:
        environment = {
            **os.environ, "AGENTPROXY_URL": url, "HOME": str(tmp_path), "COMP_WORDS": "agentproxy show ", "COMP_CWORD": "2",
            "_AGENTPROXY_COMPLETE": "bash_complete",
        }  # fmt: skip
        program = [sys.executable, "-c", "from agentproxy.cli import main; main()"]
        return subprocess.run(program, env=environment, capture_output=True, text=True, timeout=60).stdout

    assert f"plain,{session[:8]}\n" in offered(f"http://127.0.0.1:{daemon.port}")
    assert offered("http://127.0.0.1:1").strip() == ""
    run("delete", session)


def test_claude_code_is_prepared_in_this_home(run: Run, tmp_path: Path) -> None:
    """The first-run questions are answered, MCP servers are added, and what stood there stays."""
    (tmp_path / ".claude.json").write_text('{"theme": "light"}')
    assert run("helpers", "setup-claude-code").exit_code == 0
    servers = [
        {"name": "local", "command": "npx", "args": ["@scope/server@latest"], "env": {"A": "b"}},
        {"id": "far", "endpoint": "https://mcp.example.org", "transport": "sse"},
        {"name": "off", "enabled": False},
    ]
    encoded = base64.b64encode(json.dumps(servers).encode()).decode()
    added = run("helpers", "add-mcp-servers", "--config", encoded, "--json")
    assert json.loads(added.stdout) == {"servers": ["far", "local"]}
    found = json.loads((tmp_path / ".claude.json").read_text())
    assert (found["theme"], found["hasCompletedOnboarding"]) == ("light", True)
    assert found["mcpServers"]["local"]["args"] == ["@scope/server@latest"]
    assert found["mcpServers"]["far"] == {"type": "sse", "url": "https://mcp.example.org"}
    assert run("helpers", "add-mcp-servers", "--config", "no base64").exit_code == 2


def test_a_repository_is_cloned_and_brought_up_to_date(run: Run, tmp_path: Path) -> None:
    """The first call clones, the second one pulls; without a name it says what is missing, or does nothing when told so."""
    origin = tmp_path / "origin"
    git = ["git", "-C", str(origin), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", "init", "-q", "-b", "main", str(origin)], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "one"], check=True)
    call = (
        "helpers",
        "init-github-repository",
        "--repo-fullname",
        str(origin),
        "--clone-dir",
        str(tmp_path / "work"),
        "--json",
    )
    assert json.loads(run(*call).stdout)["status"] == "cloned"
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "two"], check=True)
    assert json.loads(run(*call).stdout)["status"] == "updated"
    log = subprocess.run(["git", "-C", str(tmp_path / "work"), "log", "--format=%s"], capture_output=True, text=True)
    assert log.stdout.split() == ["two", "one"]
    nothing = ("helpers", "init-github-repository")
    assert run(*nothing, GITHUB_REPO_FULLNAME=None, GITHUB_REPO_URL=None).exit_code == 2
    assert run(*nothing, "--ignore-missing-config", GITHUB_REPO_FULLNAME=None, GITHUB_REPO_URL=None).exit_code == 0


def test_git_gets_a_token_for_github(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without gh, git's own store has it, in a file for this user only; no token is wrong usage."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("git", "sh"):
        found = subprocess.run(["which", name], capture_output=True, text=True, check=True).stdout.strip()
        (programs / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.delenv("GIT_CONFIG_GLOBAL", raising=False)
    none = dict.fromkeys(("GITHUB_TOKEN", "GITHUB_APP_ID", "GITHUB_PERSONAL_ACCESS_TOKEN"))
    assert run("helpers", "setup-gh", **none).exit_code == 2
    done = run("helpers", "setup-gh", GITHUB_TOKEN="t0ken")
    assert done.exit_code == 0, done.output
    asked = subprocess.run(
        ["git", "credential", "fill"], input="protocol=https\nhost=github.com\n\n", capture_output=True, text=True,
        env={"PATH": str(programs), "HOME": str(tmp_path), "GIT_TERMINAL_PROMPT": "0"},
    )  # fmt: skip
    assert "password=t0ken" in asked.stdout
    kept = tmp_path / ".config" / "agentproxy" / "git-credentials"
    assert kept.stat().st_mode & 0o077 == 0


def test_the_audit_is_listed(run: Run) -> None:
    """Who did what, in a table or as JSON."""
    session = run("start").output.strip()
    run("stop", session)

    def verbs() -> set[str]:
        return {one["verb"] for one in json.loads(run("audit", "list", session, "--json").stdout)["entries"]}

    wait_for("both are noted", lambda: {"session.start", "session.stop"} <= verbs())
    assert "session.stop" in run("audit", "list", session).output
    run("delete", session)
