"""Static keys as agentapi-proxy's users have them: the older flat form, a file of keys, hashes, the command that makes one."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agent_servers import clean_environment
from tests.daemon import Daemon
from tests.journeys.test_people import has_ended
from tests.waiting import wait_for

PLAIN = "plain-key-0123456789abcdef0123456789"
HASHED = "hashed-key-0123456789abcdef0123456789"
SPOKEN = "correct horse"
INLINE = "inline-key-0123456789abcdef0123456789"


def command(directory: Path, *words: str, said: str = "") -> str:
    """Run a command of ``agentproxy helpers`` and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", "from agentproxy.cli import main; main()", "helpers", *words],
        cwd=directory,
        env=clean_environment(directory, {}),
        input=said,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the older form of the configuration and a file of keys in every form."""
    directory = tmp_path_factory.mktemp("keys")
    write(
        directory,
        [
            {"key": PLAIN, "user_id": "plain", "role": "user", "permissions": ["session:create", "session:list"]},
            {"key": f"sha256:{hashlib.sha256(HASHED.encode()).hexdigest()}", "user_id": "hashed", "role": "admin"},
            {
                "key": command(directory, "hash-key", said=f"{SPOKEN}\n"),
                "user_id": "spoken",
                "role": "readonly",
                "permissions": ["session:list"],
            },
            {"key": "old-key-0123456789abcdef0123456789", "user_id": "old", "expires_at": "2020-01-01T00:00:00Z"},
            {"key": "odd-key-0123456789abcdef0123456789", "user_id": "odd", "expires_at": "someday"},
        ],
    )
    flat = {
        "enabled": True,
        "header_name": "X-My-Key",
        "keys_file": str(directory / "keys.json"),
        "api_keys": [{"key": INLINE, "user_id": "inline"}],
        "limits": {"failed_logins_per_minute": 0},
    }
    (directory / "config.json").touch(mode=0o600)
    (directory / "config.json").write_text(json.dumps({"auth": flat}))
    return directory


def write(directory: Path, rows: list[dict[str, Any]]) -> None:
    """Replace the file of keys, as editors do."""
    half_made = directory / "keys.new"
    half_made.touch(mode=0o600)
    half_made.write_text(json.dumps({"api_keys": rows}))
    half_made.replace(directory / "keys.json")


@pytest.fixture(scope="module")
def daemon(place: Path) -> Iterator[Daemon]:
    """The daemon over it."""
    running = Daemon(place)
    yield running
    running.stop()


def who(daemon: Daemon, key: str) -> str | None:
    """Return whose key it is, None when nobody's."""
    found: dict[str, Any] = daemon.client.get("/auth/status", X_My_Key=key).json()
    return found.get("user_id")


@pytest.mark.parametrize(
    ("key", "user"),
    [
        (PLAIN, "plain"),
        (HASHED, "hashed"),
        (SPOKEN, "spoken"),
        (INLINE, None),
        ("old-key-0123456789abcdef0123456789", None),
        ("odd-key-0123456789abcdef0123456789", None),
        (hashlib.sha256(HASHED.encode()).hexdigest(), None),
        ("correct horses", None),
    ],
)
def test_a_key_opens_in_every_form(key: str, user: str | None, daemon: Daemon) -> None:
    """Plain, as its hash, thought up; not one of the list that the file replaces, an expired or unclear one, nor a hash."""
    assert who(daemon, key) == user
    assert daemon.client.get("/user/info", Authorization=f"Bearer {key}").status == (200 if user else 401)
    assert daemon.client.get("/user/info", Authorization=key).status == (200 if user else 401)


def test_the_usual_header_opens_nothing_when_another_is_named(daemon: Daemon) -> None:
    """The name of the header is the configuration's."""
    assert daemon.client.get("/user/info", X_API_Key=PLAIN).status == 401


def test_a_key_that_is_made_while_it_runs_opens_and_is_taken_back(daemon: Daemon, place: Path) -> None:
    """``helpers generate-token`` adds one to the file; taken out, its stream ends and it opens nothing."""
    words = [
        "generate-token",
        "--output-path",
        "keys.json",
        "--user-id",
        "dora",
        "--role",
        "admin",
        "--hashed",
    ]
    key = command(place, *words)
    assert key.startswith("ap_dora_")
    assert key not in (place / "keys.json").read_text()
    wait_for("the new key opens", lambda: who(daemon, key) == "dora")
    sent = {"X-My-Key": key, "Content-Type": "application/json"}
    session_id = daemon.client.request("POST", "/start", "{}", sent).json()["session_id"]
    rows = json.loads((place / "keys.json").read_text())["api_keys"]
    with daemon.client.events(f"/{session_id}/events", X_My_Key=key) as stream:
        stream.until_stable()
        write(place, [row for row in rows if row["user_id"] != "dora"])
        assert has_ended(stream)
    assert who(daemon, key) is None
    assert who(daemon, PLAIN) == "plain"


def test_a_damaged_file_shuts_nobody_out_and_lets_nobody_in(daemon: Daemon, place: Path) -> None:
    """While it is wrong the keys from before count, and the log says what is wrong without a key."""
    rows = json.loads((place / "keys.json").read_text())["api_keys"]
    (place / "keys.json").write_text("{")
    wait_for("the log says so", lambda: "cannot be read again" in daemon.log.read_text())
    assert (who(daemon, PLAIN), who(daemon, "")) == ("plain", None)
    write(place, rows)
    assert who(daemon, HASHED) == "hashed"
    assert PLAIN not in daemon.log.read_text()
