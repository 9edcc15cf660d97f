"""``agentproxy admin`` and ``agentproxy audit verify`` while the server of this machine runs, and before it ever did."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agent_servers import clean_environment
from tests.commands.terminal import COMMAND
from tests.journeys.people import GuardedDaemon
from tests.waiting import wait_for

Ask = Callable[..., Any]


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """Return a function that runs a command beside the server's data and returns what it prints as JSON."""

    def call(*arguments: str) -> Any:
        environment = clean_environment(tmp_path, {"AGENTPROXY_DATA_DIR": str(tmp_path / "data")})
        done = subprocess.run(
            [*COMMAND, *arguments, "--json"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return call


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[GuardedDaemon]:
    """A daemon that asks who somebody is."""
    running = GuardedDaemon(tmp_path)
    yield running
    running.stop()


def test_a_key_is_made_and_taken_back_while_the_server_runs(daemon: GuardedDaemon, ask: Ask) -> None:
    """It opens, is listed, and opens nothing when it was revoked; the audit has both and is whole."""
    made = ask("admin", "create", "dora", "--role", "user")
    wait_for("the key opens", lambda: daemon.ask(made["token"], "GET", "/search").status == 200)
    assert [(one["id"], one["owner"]) for one in ask("admin", "tokens")["tokens"]] == [(made["id"], "dora")]
    ask("admin", "revoke", made["id"])
    wait_for("it opens nothing", lambda: daemon.ask(made["token"], "GET", "/search").status == 401)
    assert ask("audit", "verify")["entries"] >= 2
    daemon.started("alice")  # the server's own writing goes on


def test_a_key_is_made_before_the_first_start(tmp_path: Path, ask: Ask) -> None:
    """The server finds it."""
    key = ask("admin", "create", "root")["token"]
    daemon = GuardedDaemon(tmp_path)
    try:
        assert daemon.ask(key, "GET", "/auth/status").json()["role"] == "admin"
    finally:
        daemon.stop()


def test_who_is_not_known_is_told_how_to_say_it(daemon: GuardedDaemon, tmp_path: Path) -> None:
    """A command without a key, and a log-in with a wrong one, end with 1 and name what helps; nothing is kept."""
    url = f"http://127.0.0.1:{daemon.port}"
    for words in (("list", "--url", url), ("login", url, "--key", "wrong")):
        done = subprocess.run(
            [*COMMAND, *words], env=clean_environment(tmp_path, {}), capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, "agentproxy login" in done.stderr) == (1, True), done.stderr
    assert not (tmp_path / ".config" / "agentproxy").exists()
