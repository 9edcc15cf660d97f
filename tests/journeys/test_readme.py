"""The README, done literally: what stands there to be typed is typed, around both agent servers."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agent_servers import clean_environment
from tests.daemon import Daemon

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """Return the text below a heading of the README."""
    return README.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def block(title: str, language: str) -> str:
    """Return the first block of code of a section."""
    found = re.search(rf"```{language}\n(.*?)```", section(title), re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture(params=["agentapi", "embedded"])
def daemon(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Daemon]:
    """A daemon with the demo agent below each agent server."""
    running = Daemon(tmp_path, request.param)
    yield running
    running.stop()


class Shell:
    """Types the commands of a conversation, with the port of the daemon and the id of its session in their places."""

    def __init__(self, daemon: Daemon) -> None:
        self._words = {"127.0.0.1:8080": f"127.0.0.1:{daemon.port}"}
        text = section("A first conversation").replace("\\\n", "")
        self.lines = [line.partition("  #")[0].strip() for line in text.splitlines() if line.startswith("curl")]

    def knows(self, session_id: str) -> None:
        """Put the session's id where the README has ``$ID``."""
        self._words["$ID"] = session_id

    def take(self, part: str) -> str:
        """Return the next command that contains *part*, as it is typed."""
        line = next(line for line in self.lines if part in line)
        self.lines.remove(line)
        for shown, meant in self._words.items():
            line = line.replace(shown, meant)
        return line

    def answer(self, part: str) -> Any:
        """Type the next command that contains *part* and return its JSON."""
        return json.loads(self.text(part))

    def text(self, part: str) -> str:
        """Type the next command that contains *part* and return what it prints."""
        done = subprocess.run(["bash", "-c", self.take(part)], capture_output=True, text=True, timeout=60, check=True)
        return done.stdout

    def stream(self, part: str, wanted: str) -> None:
        """Type the next command that contains *part* and read what it prints until *wanted* is there."""
        with subprocess.Popen(
            ["bash", "-c", f"exec {self.take(part)}"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as process:
            assert process.stdout is not None
            assert any(wanted in line for line in process.stdout), f"the stream ended without {wanted}"
            process.kill()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_a_first_conversation(daemon: Daemon) -> None:
    """Every command of the section works as it stands, in its order, and shows what its comment says."""
    shell = Shell(daemon)
    started = shell.answer("POST http://127.0.0.1:8080/start")
    assert (started["session"]["phase"], started["session"]["agent"]) == ("ready", "demo")
    shell.knows(started["session_id"])
    assert shell.answer("/$ID/messages")["messages"][0]["role"] == "agent"
    shell.stream("/$ID/events", "You said: hello")
    daemon.client.get(f"/sessions/{started['session_id']}/wait?until=stable&timeout=60")
    said = shell.answer("/sessions/$ID/messages?wait=answered")
    assert said["state"] == "answered", said
    assert "Commands of the demo agent" in json.dumps(said)
    [listed] = shell.answer("/search")["sessions"]
    assert listed["session_id"] == started["session_id"]
    shell.stream("/sessions/$ID/events", "Commands of the demo agent")
    assert shell.text("/sessions/$ID/log").strip()
    said = [one["content"] for one in shell.answer("/sessions/$ID/messages")["messages"] if one["role"] == "user"]
    assert said == ["hello", "help"]
    assert shell.answer("DELETE")["status"] == "terminated"
    assert shell.lines == []


def test_the_configuration_can_be_used(tmp_path: Path) -> None:
    """The example is a configuration without a fault."""
    (tmp_path / "agentproxy.yaml").write_text(block("Configuration", "yaml"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "agentproxy", "config", "check"],
        cwd=tmp_path,
        env=clean_environment(tmp_path, {"ALICE_KEY": "a-long-key-of-alice", "PATH": os.environ["PATH"]}),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert 'sessions.isolation: "bwrap"' in done.stdout
    assert "a-long-key-of-alice" not in done.stdout


def routes() -> list[tuple[str, str]]:
    """Return method and path of every route of the table; ``/restart`` alone is below the session of its row."""
    found: list[tuple[str, str]] = []
    for cell in re.findall(r"^\| (`.*?) \|", section("Routes"), re.MULTILINE):
        words = " ".join(re.findall(r"`([^`]*)`", cell)).split()
        methods = [word for word in words if not word.startswith("/")]
        paths = [word for word in words if word.startswith("/")]
        whole = [path if path.startswith(paths[0][:9]) else "/sessions/ID" + path for path in paths]
        found.extend((method, path) for path in whole for method in methods)
    return found


def test_the_routes_exist(daemon: Daemon) -> None:
    """Each route of the table answers as it should for a session that lives."""
    session_id = daemon.start()
    asked = sorted(routes(), key=lambda route: route[0] == "DELETE")
    assert len(asked) == 14
    for method, path in asked:
        target = path.replace("ID", session_id).replace("/*", "/status").replace("/events", "/events?limit=1")
        method = {"ANY": "GET"}.get(method, method)
        body = '{"content": "hello"}' if path.endswith("/messages") else "{}"
        reply = daemon.client.request(method, target, body if method in ("POST", "PATCH") else None)
        assert reply.status in (200, 202), (method, target, reply.body)
