"""doctor looks, changes nothing, and says what to do."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from agentproxy.cli import agentproxy
from agentproxy.commands import doctor, keeping


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty directory with an empty environment of ours."""
    monkeypatch.chdir(tmp_path)
    for name in ("AGENTPROXY_DATA_DIR", "AGENTPROXY_DEFAULT_AGENT", "AGENTPROXY_URL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def examined(*arguments: str) -> tuple[int, list[dict[str, str]]]:
    """Return the exit status and the findings."""
    done = CliRunner().invoke(agentproxy, ["doctor", "--json", *arguments])
    return done.exit_code, json.loads(done.stdout)["findings"]


def test_a_machine_that_is_fine(here: Path) -> None:
    """Every subject has a finding; nothing is bad and nothing was made."""
    (here / "agentproxy.yaml").write_text(f"port: 0\ndata_dir: {here}/data\n")
    status, found = examined()
    subjects = {one["subject"] for one in found}
    assert {
        "configuration",
        "agent server",
        "data directory",
        "disk",
        "port",
        "ports",
        "open files",
        "memory",
    } <= subjects
    assert status == 0
    assert not (here / "data").exists()


def test_a_wrong_configuration_is_the_first_thing(here: Path) -> None:
    """It says what is wrong, and ends with 1."""
    (here / "agentproxy.yaml").write_text("prot: 1\n")
    status, found = examined()
    assert status == 1
    assert "Did you mean port?" in found[0]["sentence"]


@pytest.mark.parametrize(
    ("name", "level", "said"),
    [("claude", "bad", "npm install"), ("odd", "bad", "correct its command"), ("demo", "ok", "")],
)
def test_a_default_agent_that_is_not_there(
    name: str, level: str, said: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sessions that name no agent would fail: bad, with how to install it, and no word of the demo agent in its place."""
    monkeypatch.setenv("PATH", str(here))
    (here / "agentproxy.yaml").write_text(
        f"port: 0\ndata_dir: {here}/data\ndefault_agent: {name}\nagents: {{odd: {{command: [no-such-program]}}}}\n"
    )
    _status, found = examined()
    [finding] = [one for one in found if one["subject"] == "default agent"]
    assert (finding["level"], said in finding["advice"]) == (level, True)
    assert not [one for one in found if one["subject"] == "agents"]


def test_each_trouble_comes_with_advice(here: Path) -> None:
    """A program that is missing, a port that another has: bad, with what to do."""
    (here / "agentproxy.yaml").write_text(
        f"agent_server: agentapi\nagentapi_command: no-such-program\nport: 0\ndata_dir: {here}/data\n"
    )
    status, found = examined()
    [finding] = [one for one in found if one["subject"] == "agent server"]
    assert (status, finding["level"]) == (1, "bad")
    assert "agent_server: embedded" in finding["advice"]


def test_secrets_and_certificates_are_looked_at(here: Path) -> None:
    """A file with keys that others can read, a key file that is none, a certificate at its end: each with what to do."""
    pem = ["-keyout", str(here / "key.pem"), "-out", str(here / "cert.pem")]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "5", "-subj", "/CN=x", *pem],
        check=True, capture_output=True,
    )  # fmt: skip
    (here / "keys.json").write_text("[]")
    file = here / "agentproxy.yaml"
    file.write_text(
        f"data_dir: {here}/data\nlisteners: [{{endpoint: 'ssl:0:privateKey=key.pem:certKey=cert.pem'}}]\n"
        f"auth: {{enabled: true, static: {{keys_file: {here}/keys.json, api_keys: [{{key: k, user_id: u}}]}}}}\n"
    )
    file.chmod(0o644)
    status, found = examined()
    said = {one["subject"]: one for one in found}
    assert (said["configuration file"]["level"], said["configuration file"]["advice"]) == ("note", f"chmod 600 {file}")
    assert (said["certificate"]["level"], said["certificate"]["advice"]) == ("note", "Renew it.")
    assert said["keys file"]["level"] == "bad"
    assert said["clock"]["level"] == "ok"
    assert status == 1


def test_a_configured_agent_that_is_not_there(here: Path) -> None:
    """Its sessions would fail, so the doctor says it before."""
    (here / "agentproxy.yaml").write_text(f"data_dir: {here}/data\nagents: {{mine: {{command: [no-such-program]}}}}\n")
    [finding] = [one for one in examined()[1] if one["subject"] == "agent mine"]
    assert (finding["level"], finding["sentence"]) == ("bad", "no-such-program is not on PATH")


def test_a_clock_that_stands_in_the_past(here: Path) -> None:
    """What was written later than now gives it away."""
    (here / "later").touch()
    os.utime(here / "later", (time.time() + 7200,) * 2)
    assert keeping.clock(here).level == "bad"


def test_an_open_data_directory_is_noted(here: Path) -> None:
    """Others could look into it."""
    (here / "open").mkdir(mode=0o755)
    (here / "open").chmod(0o755)
    finding = doctor.directory(here / "open")
    assert (finding.level, finding.advice) == ("note", f"chmod 700 {here}/open")


def test_an_agent_is_shown_with_its_version(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is on PATH is named, and that it has no key."""
    program = here / "claude"
    program.write_text("#!/bin/sh\necho 9.9.9 '(Claude Code)'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{here}:/usr/bin:/bin")
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    (here / "agentproxy.yaml").write_text(f"port: 0\ndata_dir: {here}/data\n")
    [finding] = [one for one in examined()[1] if one["subject"] == "agent claude"]
    assert "9.9.9" in finding["sentence"]
    assert "ANTHROPIC_API_KEY" in finding["advice"]


def test_completion_scripts() -> None:
    """Each shell gets its own."""
    for shell, sign in (
        ("bash", "complete -o nosort"),
        ("zsh", "#compdef agentproxy"),
        ("fish", "complete --no-files"),
    ):
        done = CliRunner().invoke(agentproxy, ["completion", shell])
        assert sign in done.output
