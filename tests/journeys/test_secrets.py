"""Our credentials go nowhere: a server is used with every kind of secret, then all that it has written and sent is searched."""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.auth.fake_github import TOKEN
from tests.browser import Browser
from tests.journeys.people import KEYS
from tests.journeys.providers import CLIENT_SECRET, KnowingDaemon, ProvidersProcess
from tests.waiting import wait_for
from tests.wire import Reply

RECORDER = Path(__file__).parent.parent / "fakes" / "recording_server.py"
OIDC_SECRET = "canary-oidc-client-secret-0123456789"
STORE_SECRET = "canary-in-the-servers-environment-0123456789"
FOR_THE_AGENT = {"params": "ghp_" + "p" * 36, "environment": "canary-for-the-agent-0123456789"}
HELD_BY_CALLERS = {"key": KEYS["alice"], "administrator": KEYS["root"], "github": TOKEN}


def recorder(directory: Path) -> Path:
    """Return the recording server as a program that this Python runs."""
    program = directory / "recorder"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {RECORDER} "$@"\n')
    program.chmod(0o755)
    return program


@dataclass
class Scene:
    """A daemon, the secrets that were used with it, and everything that it answered to somebody who had not asked for them."""

    daemon: KnowingDaemon
    directory: Path
    session_id: str = ""
    secrets: dict[str, str] = field(default_factory=dict)
    answers: list[bytes] = field(default_factory=list)

    def keep(self, reply: Reply) -> Reply:
        """Keep an answer for the search."""
        self.answers.append(str(reply.headers).encode() + reply.body)
        return reply

    @property
    def work(self) -> Path:
        """Where the recording server works."""
        return self.directory / "data" / "sessions" / self.session_id / "work"

    def received(self) -> bytes:
        """Return what the agent server was sent."""
        return (self.work / "received").read_bytes()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A server that was used with every secret in every place, rightly and wrongly, and was told to log everything."""
    directory = tmp_path_factory.mktemp("scene")
    providers = ProvidersProcess()
    settings = {
        "AGENTPROXY_AGENT_SERVER": "agentapi",
        "AGENTPROXY_AGENTAPI_COMMAND": str(recorder(directory)),
        "AGENTPROXY_LOG_LEVEL": "debug",
        "AGENTPROXY_AUTH_OIDC_CLIENT_SECRET": OIDC_SECRET,
        "SOME_SECRET": STORE_SECRET,
    }
    daemon = KnowingDaemon(directory, providers, settings=settings)
    try:
        made = Scene(daemon, directory)
        use(made)
        yield made
    finally:
        daemon.stop()
        providers.stop()


def use(scene: Scene) -> None:
    """Do what people do, and what they do wrong."""
    daemon = scene.daemon
    issued = daemon.log_in()
    token = daemon.ask("alice", "POST", "/auth/tokens", {"name": "one"}).json()["token"]
    body = {
        "params": {"github_token": FOR_THE_AGENT["params"]},
        "environment": {"FOR_THE_AGENT": FOR_THE_AGENT["environment"]},
        "user_id": "ann",
    }
    scene.session_id = daemon.ask("root", "POST", "/start", body).json()["session_id"]
    path = f"/{scene.session_id}"
    share = daemon.ask("root", "POST", f"/sessions/{scene.session_id}/share", {"access": "write"}).json()["token"]
    scene.secrets = {**HELD_BY_CALLERS, "token": token, "log-in": issued["session_id"], "share link": share}
    wait_for("the agent server is asked", lambda: (scene.work / "received").exists())
    daemon.ask("root", "PUT", f"/sessions/{scene.session_id}/access/user:alice", {"access": "write"})
    for header in shown(scene.secrets):
        for target in (f"{path}/status", f"/s/{share}/status", f"/sessions/{scene.session_id}", "/search", "/nowhere"):
            scene.keep(daemon.client.request("GET", target, headers=header))
        message = json.dumps({"content": "hello", "type": "raw"})
        scene.keep(
            daemon.client.request("POST", f"{path}/message", message, {**header, "Content-Type": "application/json"})
        )
        scene.keep(daemon.client.request("POST", f"{path}/message", "{", header))
        scene.keep(daemon.client.request("POST", "/start", '{"agent": 7}', header))
        scene.keep(Reply(0, {}, daemon.client.raw(handshake(path, header))))  # type: ignore[arg-type]
    for secret in scene.secrets.values():
        daemon.client.request("GET", "/search", headers={"X-API-Key": secret + "x"})
        daemon.client.raw(f"GET /search HTTP/1.1\r\nX-API-Key : {secret}\r\nHost: x\r\n\r\n".encode())
    daemon.client.get(f"/oauth/callback?code={'c' * 20}&state=made-up")
    for target in (f"/sessions/{scene.session_id}/log", "/audit", "/events?limit=100", "/auth/tokens", "/auth/logins", "/metrics",
                   f"/sessions/{scene.session_id}/events?limit=100", f"/sessions/{scene.session_id}/export"):  # fmt: skip
        scene.keep(daemon.ask("root", "GET", target))
    scene.keep(daemon.client.request("POST", "/oauth/logout", headers={"X-Session-ID": issued["session_id"]}))


def shown(secrets: dict[str, str]) -> Iterator[dict[str, str]]:
    """Yield headers with each secret in each place where somebody may put it."""
    for secret in secrets.values():
        for name, value in (
            ("X-API-Key", secret),
            ("x-api-key", secret),
            ("Authorization", f"Bearer {secret}"),
            ("Authorization", f"token {secret}"),
            ("Authorization", secret),
            ("Authorization", "Basic " + base64.b64encode(f"x:{secret}".encode()).decode()),
            ("X-Session-ID", secret),
            ("Cookie", f"other=1; agentproxy_session={secret}; last=2"),
            ("Cookie", f"agentproxy_session={secret}"),
        ):
            yield {name: value}
            yield {name: value, "Connection": f"close, {name}"}


def handshake(path: str, header: dict[str, str]) -> bytes:
    """Return a handshake for a WebSocket with a secret."""
    lines = [f"{name}: {value}" for name, value in header.items() if name != "Connection"]
    fixed = ["Host: localhost", "Connection: Upgrade, close", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
    return "\r\n".join([f"GET {path}/ws HTTP/1.1", *fixed, key, *lines, "", ""]).encode()


def forms(secret: str) -> set[bytes]:
    """Return how a secret could have been written."""
    plain = secret.encode()
    return {
        plain,
        base64.b64encode(plain),
        base64.b64encode(b"x:" + plain),
        quote(secret).encode(),
        plain.hex().encode(),
    }


def found(data: bytes, secrets: dict[str, str]) -> list[str]:
    """Return the names of the secrets that stand in some bytes."""
    return [name for name, secret in secrets.items() if any(form in data for form in forms(secret))]


def test_an_agent_server_is_sent_none_of_our_credentials(scene: Scene) -> None:
    """Whatever the header, the case, the scheme, and what ``Connection`` names; the rest of a cookie arrives."""
    received = scene.received()
    assert received.count(b"/status HTTP/1.1") > 10, "nothing was forwarded"
    assert b"other=1; last=2" in received
    assert found(received, scene.secrets) == []


def test_an_agent_is_given_none_of_our_secrets(scene: Scene) -> None:
    """Its environment and arguments have what was meant for it, once, and nothing of the server's."""
    environment = (scene.work / "environment").read_bytes()
    assert found(environment, FOR_THE_AGENT) == list(FOR_THE_AGENT)
    ours = {**scene.secrets, "oidc": OIDC_SECRET, "store": STORE_SECRET, "key file": secret_key(scene)}
    assert found(environment, ours) == []
    assert found((scene.work / "arguments").read_bytes(), {**ours, **FOR_THE_AGENT}) == []


def secret_key(scene: Scene) -> str:
    return (scene.directory / "data" / "secret.key").read_text().split()[-1]


def test_no_file_holds_a_secret(scene: Scene) -> None:
    """Neither store, journal, log nor anything else in the data: what stands there is hashed or sealed."""
    ours = {**scene.secrets, **FOR_THE_AGENT, "oidc": OIDC_SECRET, "store": STORE_SECRET}
    meant = {scene.work / "environment"}
    key = scene.directory / "data" / "secret.key"
    leaks = {}
    files = [scene.daemon.log, *(path for path in (scene.directory / "data").rglob("*") if path.is_file())]
    for path in set(files) - meant:
        names = found(path.read_bytes(), ours if path == key else {**ours, "key file": secret_key(scene)})
        if names:
            leaks[str(path)] = names
    assert leaks == {}
    assert any(path.suffix == ".db" for path in files)


def test_no_answer_tells_a_secret(scene: Scene) -> None:
    """Neither a refusal, nor a list, a log, the audit, the journal nor the numbers; a link is shown to those who may share it."""
    told = [(number, found(data, {**scene.secrets, **FOR_THE_AGENT})) for number, data in enumerate(scene.answers)]
    assert [one for one in told if one[1]] == []
    assert len(scene.answers) > 100


def test_no_process_shows_a_secret_to_other_users(scene: Scene) -> None:
    """Command lines, which everybody on the machine can read, have none; environments only what is meant for the agent."""
    ours = {**scene.secrets, **FOR_THE_AGENT, "oidc": OIDC_SECRET, "store": STORE_SECRET, "key file": secret_key(scene)}
    below = {scene.daemon.process.pid}
    for entry in sorted((one for one in Path("/proc").iterdir() if one.name.isdigit()), key=lambda one: int(one.name)):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if parent not in below and int(entry.name) not in below:
                continue
            below.add(int(entry.name))
            assert found((entry / "cmdline").read_bytes(), ours) == [], entry
            if int(entry.name) != scene.daemon.process.pid:
                kept = {name: secret for name, secret in ours.items() if name not in FOR_THE_AGENT}
                assert found((entry / "environ").read_bytes(), kept) == [], entry
        except (FileNotFoundError, ProcessLookupError):
            continue
    assert len(below) > 1, os.getpid()


def test_the_provider_alone_gets_its_secret(scene: Scene) -> None:
    """The client secret of the OAuth app, which the log-in needs, is in none of what the server has written."""
    data = scene.received() + b"".join(scene.answers) + scene.daemon.log.read_bytes()
    assert f'"client_secret": "{CLIENT_SECRET}"'.encode() not in data
    assert b"client_secret=" not in data


def test_a_page_of_an_agent_does_not_act_as_whoever_opens_it(scene: Scene) -> None:
    """In a real browser, logged in by cookie: the page's script runs as a stranger, reads nothing and logs nobody out."""
    with closing(Browser()) as browser:
        browser.go(f"http://127.0.0.1:{scene.daemon.port}/oauth/login?next=/{scene.session_id}/evil")
        assert "ann" not in browser.wait_text("got", "got ")
        assert browser.text("got").endswith(" null")
        browser.go(f"http://127.0.0.1:{scene.daemon.port}/user/info")
        wait_for("the log-in goes on", lambda: '"username":"ann"' in str(browser.value("document.body?.innerText")))
