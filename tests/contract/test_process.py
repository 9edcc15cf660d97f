"""The process: its command line, the ends it may come to, and the files that it keeps."""

from __future__ import annotations

import json
import shlex
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from tests.contract.conftest import Run
from tests.fakes import fake_command
from tests.waiting import wait_for


def call(argv: list[str], *args: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run the program to its end."""
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [*argv, *args], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, **options
    )  # type: ignore[call-overload]
    return done


WRONG_FLAGS = [
    "--nonsense",
    "--port=abc",
    "--type=bogus",
    "--term-width=9",
    "--term-height=9",
    "--load-state",
    "--save-state=true",
    "--load-state=maybe --state-file=x",
    "--port=70000",
    "--term-width=70000",
    "--allowed-hosts=",
    "--allowed-hosts=http://x",
    "--allowed-hosts='a b'",
    "--allowed-hosts=x:80",
    "--allowed-hosts=::1",
    "--allowed-origins=",
    "--allowed-origins='a b'",
    "--experimental-acp --state-file=x",
    "--experimental-acp",
]
"""With an agent that stays: one that ends at once may do so before a flag is found to be wrong."""


@pytest.mark.parametrize(
    "line",
    ["server", "version", *(f"server {flags} -- cat" for flags in WRONG_FLAGS)],
)
def test_wrong_command_lines(argv: list[str], line: str) -> None:
    """A command line that makes no sense ends with status 1 and a text."""
    done = call(argv, *shlex.split(line))
    assert done.returncode == 1
    assert (done.stdout + done.stderr).strip()


def test_a_program_that_is_not_there(run: Run) -> None:
    """An agent that cannot be executed ends the server with status 1, and is named."""
    with run(["nosuchprogram"], answering=False) as server:
        assert server.wait() == 1
        assert "nosuchprogram" in server.outputs


def test_a_program_that_cannot_be_run(run: Run, tmp_path: Path) -> None:
    """A file that is executable and no program is told as well."""
    program = tmp_path / "nothing"
    program.write_bytes(b"\x00\x01")
    program.chmod(0o755)
    with run([str(program)], answering=False) as server:
        assert server.wait() == 1
        assert "exec format error" in server.outputs.lower()


@pytest.mark.parametrize(
    ("given", "told"), [("claude", "claude"), ("cursor-agent", "cursor"), ("q", "amazonq"), (None, "custom")]
)
def test_agent_types(run: Run, given: str | None, told: str) -> None:
    """Types have other names, and an unknown program is custom."""
    with run(fake_command("mute"), agent_type=given) as server:
        assert server.client.get("/status").json()["agent_type"] == told


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_server_and_agent(run: Run, number: int) -> None:
    """One polite signal ends both, with status 0."""
    with run(fake_command("tui")) as server:
        server.log.wait("the agent", lambda log: log.events("started"))
        server.signal(number)
        assert server.wait() == 0
        wait_for("the end of the agent", lambda: not server.log.living())


def test_pid_file(run: Run, tmp_path: Path) -> None:
    """The pid file has the server's number while it runs, readable by its owner alone."""
    path = tmp_path / "new" / "server.pid"
    with run(fake_command("tui"), flags=[f"--pid-file={path}"]) as server:
        assert path.read_text() == f"{server.process.pid}\n"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        server.log.wait("the agent", lambda log: log.events("started"))
        server.signal(signal.SIGTERM)
        server.wait()
        assert not path.exists()


def test_state_file_and_initial_prompt(run: Run, tmp_path: Path) -> None:
    """The initial prompt is sent once; a later server around the same file remembers it and the talk."""
    path = tmp_path / "state.json"
    flags = [f"--state-file={path}", "--initial-prompt=first words"]
    with run(fake_command("tui"), flags=flags) as server:
        with server.client.events() as events:
            events.until_message("reply: first words")
            events.until_stable()
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
    saved = json.loads(path.read_text())
    assert (saved["version"], saved["initial_prompt"], saved["initial_prompt_sent"]) == (1, "first words", True)
    assert [list(row) for row in saved["messages"]] == [["id", "message", "role", "time"]] * 3
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with run(fake_command("tui"), flags=flags) as server:
        with server.client.events() as events:
            events.until_message("first words", role="user")
            events.until_stable()
        assert [row["content"] for row in server.client.messages()][1] == "first words"
        assert server.log.entered() == []


@pytest.mark.parametrize("args", [["die", 0, "bye"], ["die", 1, "bye"]], ids=["0", "1"])
def test_the_agent_exits(run: Run, args: list[object]) -> None:
    """The server ends with its agent: 0 for a good end, otherwise 1 with the last words on the error output."""
    with run(fake_command(*args), answering=False) as server:  # type: ignore[arg-type]
        assert server.wait() == args[1]
        assert ("bye" in server.stderr()) is (args[1] == 1)


def test_a_taken_port(run: Run) -> None:
    """A port that somebody has ends the server with status 1, and the port is named."""
    with run(fake_command("mute")) as first, run(fake_command("mute"), port=first.port, answering=False) as second:
        assert second.wait() == 1
        assert str(first.port) in second.outputs
        assert first.client.get("/status").status == 200


def test_pid_files_of_others(run: Run, tmp_path: Path) -> None:
    """The pid file of a living server stops a second one; that of a dead one is overwritten."""
    path = tmp_path / "server.pid"
    flags = [f"--pid-file={path}"]
    with (
        run(fake_command("mute"), flags=flags) as first,
        run(fake_command("mute"), flags=flags, answering=False) as second,
    ):
        assert second.wait() == 1
        assert path.read_text() == f"{first.process.pid}\n"
        first.signal(signal.SIGKILL)
        first.wait()
        with run(fake_command("mute"), flags=flags) as third:
            assert path.read_text() == f"{third.process.pid}\n"


def test_readers_are_let_go(run: Run) -> None:
    """A stop ends open event streams at once, and the agent's terminal with it."""
    with run(fake_command("tui")) as server:
        server.wait_stable()
        with server.client.events() as events:
            events.until_stable()
            server.signal(signal.SIGTERM)
            assert list(events) is not None
        assert server.wait(4) == 0


def test_a_slow_farewell_is_waited_for(run: Run) -> None:
    """An agent that tidies up for a second may, and whatever it exits with, the stop was in good order."""
    with run(fake_command("politeslow", 1, 5)) as server:
        server.wait_stable()
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert [row["code"] for row in server.log.events("ended")] == [5]
