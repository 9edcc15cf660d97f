"""The options of the daemon and the command `agentproxy`, as a user meets them."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from click import Context
from twisted.python import usage

from agentproxy import __version__
from agentproxy.cli import agentproxy, main
from agentproxy.config.variables import OTHER_NAMES
from agentproxy.daemon import Options


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in list(os.environ):
        if name.startswith(("AGENTPROXY_", "AGENTAPI_", "XDG_")) or name in OTHER_NAMES:
            monkeypatch.delenv(name)


def parsed(*arguments: str) -> Options:
    options = Options()
    options.parseOptions(list(arguments))
    return options


def test_options_of_the_daemon(tmp_path: Path) -> None:
    """-c, -p and -v mean what they say; the command line wins over the file."""
    (tmp_path / "c.yaml").write_text("port: 1\nstart_port: 9500")
    config = parsed("-c", "c.yaml", "-p", "8181", "-v").loaded.config
    assert (config.port, config.start_port, config.log.level) == (8181, 9500, "debug")


def test_a_wrong_configuration_is_a_usage_error(tmp_path: Path) -> None:
    """twistd gets the whole sentence, and no traceback."""
    (tmp_path / "config.json").write_text('{"prot": 1, "start_port": "x"}')
    with pytest.raises(usage.UsageError, match=r"prot: is not an option\. Did you mean port\?") as caught:
        parsed()
    assert "start_port: expected a whole number" in str(caught.value)


def test_help_has_examples() -> None:
    """The help shows the options and examples to copy."""
    text = str(Options())
    assert "--config=" in text
    assert "agentproxy server --port 9090" in text


def test_server_refuses_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """`agentproxy server` says what is wrong on stderr and ends with 1."""
    assert main(["server", "--port", "many"]) == 1
    assert "port (from command line): expected a whole number, found 'many'" in capsys.readouterr().err
    assert main(["server", "--nonsense"]) == 1
    assert "nonsense" in capsys.readouterr().err


def test_config_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`config check` shows what differs from the defaults, or what is wrong."""
    (tmp_path / "agentproxy.yaml").write_text("port: 81")
    assert main(["config", "check"]) == 0
    assert "port: 81  # file" in capsys.readouterr().out
    (tmp_path / "agentproxy.yaml").write_text("port: -1")
    assert main(["config", "check"]) == 1
    assert "port: expected a port from 0 to 65535, found -1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("agents", "said"),
    [
        ("default_agent: claud", "default_agent: unknown agent 'claud', did you mean 'claude'?"),
        ("agents: {gose: {resume: [-r]}}", "agents.gose: unknown agent 'gose', did you mean 'goose'?; a new one needs"),
        ("agents: {mine: {command: [a], type: codx}}", "agents.mine.type: unknown agent type 'codx', did you mean"),
    ],
)
def test_config_check_knows_the_agents(
    agents: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What would stop the start, or every session that names no agent, is not called good."""
    (tmp_path / "agentproxy.yaml").write_text(agents)
    assert main(["config", "check"]) == 1
    assert said in capsys.readouterr().err


def test_config_show_and_defaults(capsys: pytest.CaptureFixture[str]) -> None:
    """`config show` lists everything, `config defaults` prints a file."""
    assert main(["config", "show"]) == 0
    assert "sessions.max_queued: 200  # default" in capsys.readouterr().out
    assert main(["config", "defaults"]) == 0
    assert "#start_port: 9000" in capsys.readouterr().out


def test_version_and_wrong_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """--version says the version; an unknown command is wrong usage."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"agentproxy {__version__}\n"
    assert main(["sever"]) == 2
    assert "No such command 'sever'" in capsys.readouterr().err


def test_every_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    """The help lists every command with a sentence, and each explains itself."""
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out
    for name in agentproxy.list_commands(Context(agentproxy)):
        assert re.search(rf"^  {name} +\w", listed, re.MULTILINE), name
        assert main([name, "--help"]) == 0
        assert "Usage:" in capsys.readouterr().out
