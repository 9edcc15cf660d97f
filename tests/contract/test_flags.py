"""What the flags and the environment change."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.contract.conftest import Run
from tests.contract.test_process import call
from tests.fakes import fake_command


@pytest.mark.parametrize(
    ("flag", "good", "bad"),
    [
        ("*", ["127.0.0.1", "evil.example", ""], []),
        ("a.example,*.b.example", ["a.example", "A.example:99"], ["localhost", "x.b.example"]),
        ("[::1]", ["[::1]:5"], ["127.0.0.1"]),
    ],
)
def test_hosts(run: Run, flag: str, good: list[str], bad: list[str]) -> None:
    """The hosts that are named are the allowed ones, and no others; there are no patterns but the star."""
    with run(fake_command("mute"), flags=[f"--allowed-hosts={flag}"], answering=False) as server:
        server.log.wait("the agent", lambda log: log.events("started"))
        server.wait_listening()
        assert [server.client.get("/status", Host=host).status for host in good] == [200] * len(good)
        replies = [server.client.get("/status", Host=host) for host in bad]
        names = ", ".join(name.strip("[]") for name in flag.split(","))
        assert [reply.body.decode() for reply in replies] == [f"Invalid host header. Allowed hosts: {names}\n"] * len(
            bad
        )


@pytest.mark.parametrize(
    ("flag", "origin", "told"),
    [
        ("*", "https://any.example", "*"),
        ("https://*.example.com", "https://a.example.com", "https://a.example.com"),
        ("https://*.example.com", "https://a.example.com:8443", None),
        ("https://one.example,https://two.example", "https://two.example", "https://two.example"),
        ("https://one.example", "http://localhost:3284", None),
    ],
)
def test_origins(run: Run, flag: str, origin: str, told: str | None) -> None:
    """The origins that are named are allowed; one star stands for the front of a name."""
    with run(fake_command("mute"), flags=[f"--allowed-origins={flag}"]) as server:
        reply = server.client.get("/status", Origin=origin)
        assert reply.headers["Access-Control-Allow-Origin"] == told
        assert reply.headers["Access-Control-Allow-Credentials"] == ("true" if told else None)


@pytest.mark.parametrize(
    ("flag", "place"),
    [("/s/a/chat", "/s/a/chat/embed"), ("/s/a/chat/", "/s/a/chat/embed"), ("x", "/x/embed"), ("/", "/embed")],
)
def test_the_base_path_of_the_chat(run: Run, flag: str, place: str) -> None:
    """It changes where the root leads to, and no route."""
    with run(fake_command("mute"), flags=[f"--chat-base-path={flag}"]) as server:
        assert server.client.get("/").headers["Location"] == place
        assert server.client.get("/s/a/status").status == 404


def test_the_environment_stands_for_flags(run: Run) -> None:
    """Each flag has a variable, lists with spaces; a flag wins over its variable."""
    env = {
        "AGENTAPI_TYPE": "claude",
        "AGENTAPI_TERM_WIDTH": "100",
        "AGENTAPI_ALLOWED_HOSTS": "a.example 127.0.0.1",
        "AGENTAPI_ALLOWED_ORIGINS": "https://one.example https://two.example",
        "AGENTAPI_CHAT_BASE_PATH": "/base",
        "AGENTAPI_INITIAL_PROMPT": "from the environment",
    }
    with run(fake_command("tui"), env=env, agent_type=None) as server:
        assert server.client.get("/status", Host="a.example").json()["agent_type"] == "claude"
        assert server.client.get("/status", Host="localhost").status == 400
        assert server.client.get("/").headers["Location"] == "/base/embed"
        assert server.client.get("/status", Origin="https://two.example").headers["Access-Control-Allow-Origin"]
        with server.client.events() as events:
            events.until_message("reply: from the environment")
    with run(fake_command("mute"), env=env, agent_type="goose") as server:
        assert server.client.get("/status").json()["agent_type"] == "goose"


def test_the_size_of_the_terminal(run: Run, tmp_path: Path) -> None:
    """The agent has a terminal of the wanted size, its own session, and the environment of the server."""
    told = tmp_path / "env.json"
    flags = ["--term-width=100"]
    with run(fake_command("env", told), flags=flags, height=33, env={"OWN": "value"}) as server:
        server.wait_stable()
    facts = json.loads(told.read_text())
    assert (facts["columns"], facts["rows"]) == (100, 33)
    assert facts["environment"]["OWN"] == "value"
    assert facts["tty"].startswith("/dev/pts/")
    assert facts["pid"] == facts["group"] == facts["session"] == facts["foreground"]
    assert facts["cwd"] == str(server.directory)


def test_the_description_is_printed(argv: list[str]) -> None:
    """``--print-openapi`` prints the description and starts nothing."""
    done = call(argv, "server", "--print-openapi", "--", "nosuchprogram")
    described = json.loads(done.stdout)
    assert (done.returncode, described["openapi"], "/message" in described["paths"]) == (0, "3.0.3", True)
    assert call(argv, "server", "--print-openapi", "--experimental-acp", "--", "true").returncode == 1


def test_help(argv: list[str]) -> None:
    """Without a subcommand, and when it is asked for, there is help."""
    for args in ([], ["--help"], ["server", "--help"], ["attach", "--help"]):
        done = call(argv, *args)
        assert (done.returncode, bool(done.stdout.strip())) == (0, True), args
    assert "--term-height" in call(argv, "server", "--help").stdout
    assert "0.12.1" in call(argv, "--version").stdout


def test_acp(run: Run) -> None:
    """An agent on ACP is served by the same routes: its answers are messages, its errors are told."""
    with run(fake_command("acp", "whole"), flags=["--experimental-acp"]) as server:
        server.wait_stable()
        status = server.client.get("/status").json()
        assert (status["status"], status["transport"]) == ("stable", "acp")
        assert server.client.messages() == []
        with server.client.events() as events:
            events.until_stable()
            assert server.client.send("hello").status == 200
            events.until_message("You said hello")
        rows = [(row["id"], row["role"], row["content"]) for row in server.client.messages()]
        assert rows == [(0, "user", "hello"), (1, "agent", "You said hello")]
    with run(fake_command("acp", "error", "overloaded"), flags=["--experimental-acp"]) as server:
        server.wait_stable()
        reply = server.client.send("hello")
        assert reply.status == 500
        assert "overloaded" in reply.json()["errors"][0]["message"]
        assert [row["role"] for row in server.client.messages()] == ["user"]


def test_saved_on_a_signal(run: Run, tmp_path: Path) -> None:
    """SIGUSR1 saves the state and nothing else happens; SIGUSR2 does nothing at all."""
    path = tmp_path / "deep" / "state.json"
    with run(fake_command("tui"), flags=[f"--state-file={path}"]) as server:
        server.wait_stable()
        server.signal(signal.SIGUSR1)
        server.log.wait("the state", lambda _log: path.exists())
        saved = json.loads(path.read_text())
        assert [row["message"].rstrip() for row in saved["messages"]] == ["hello from tui"]
        assert (saved["initial_prompt"], saved["initial_prompt_sent"]) == ("", False)
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert server.client.get("/status").status == 200


def test_a_state_that_shall_not_be_used(run: Run, tmp_path: Path) -> None:
    """``--load-state=false`` begins anew, ``--save-state=false`` leaves the file as it is."""
    path = tmp_path / "state.json"
    text = '{"version":1,"messages":[{"id":0,"message":"old","role":"agent","time":"2026-01-01T00:00:00Z"}]}\n'
    path.write_text(text)
    flags = [f"--state-file={path}", "--load-state=false", "--save-state=false"]
    with run(fake_command("tui"), flags=flags) as server:
        server.wait_stable()
        assert [row["content"] for row in server.client.messages()] == ["hello from tui"]
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
    assert path.read_text() == text


@pytest.mark.parametrize("text", ["{", '{"version":2,"messages":[]}', '{"version":1,"messages":5}'])
def test_a_state_that_cannot_be_read(run: Run, tmp_path: Path, text: str) -> None:
    """It is told as a warning, and the agent can be used."""
    path = tmp_path / "state.json"
    path.write_text(text)
    with run(fake_command("tui"), flags=[f"--state-file={path}"]) as server:
        with server.client.events() as events:
            event = events.until(lambda event: event.name == "agent_error")
        assert event.data["level"] == "warning"
        assert event.data["message"].startswith("Failed to restore previous session: ")
        server.wait_stable()
        assert server.client.send("hello").status == 200
