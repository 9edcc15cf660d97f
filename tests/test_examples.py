"""Every example in conf/examples starts a server that does what its comments say."""

from __future__ import annotations

import json
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from agentproxy.client import Client, Refused
from tests.bubblewrap import needs_bubblewrap
from tests.daemon import Daemon
from tests.store import postgresql
from tests.waiting import wait_for

EXAMPLES = Path(__file__).parent.parent / "conf" / "examples"
NAME = "agents.example.org"
Start = Callable[..., Daemon]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts a daemon with an example; ended afterwards."""
    running: list[Daemon] = []

    def call(example: str, **settings: str) -> Daemon:
        shutil.copy(EXAMPLES / example, tmp_path / "agentproxy.yaml")
        running.append(Daemon(tmp_path, settings={"AGENTPROXY_AGENT_SERVER_LISTEN": "tcp", **settings}))
        return running[-1]

    yield call
    for one in running:
        one.stop()


def first_key(daemon: Daemon) -> str:
    """Return the key of the administrator that the first start made."""
    found = re.search(r"\bap_[0-9a-f]{40}\b", daemon.log.read_text())
    if found is not None:
        return found[0]
    [file] = [one for one in (daemon.log.parent / "data").iterdir() if "key" in one.name and one.name != "secret.key"]
    return file.read_text().strip()


def test_all_of_them_are_tried() -> None:
    """A new example needs a test here."""
    assert {one.name for one in EXAMPLES.iterdir()} == {
        "minimal.yaml", "team-github.yaml", "behind-nginx.yaml", "nginx.conf", "postgresql.yaml"
    }  # fmt: skip


def test_minimal(start: Start) -> None:
    """Whoever is on this machine starts a session and is answered."""
    client = Client(f"http://127.0.0.1:{start('minimal.yaml').port}")
    session = client.start(wait="stable")
    assert "You said: hello" in client.ask(session.session_id, "hello")


@needs_bubblewrap
def test_a_team_with_github(start: Start) -> None:
    """Nobody comes in without a key or a log-in; a log-in goes to GitHub with our client id and comes back to our name only."""
    daemon = start("team-github.yaml", GITHUB_CLIENT_ID="id-of-the-app", GITHUB_CLIENT_SECRET="secret")
    kinds = {one["type"] for one in daemon.client.get("/auth/types").json()["types"]}
    assert "github_oauth" in kinds
    assert daemon.client.get("/search").status == 401
    ours = daemon.client.post_json("/oauth/authorize", {"redirect_uri": f"https://{NAME}/oauth/callback"})
    assert ours.json()["auth_url"].startswith("https://github.com/login/oauth/authorize?client_id=id-of-the-app")
    assert daemon.client.post_json("/oauth/authorize", {"redirect_uri": "https://evil.example"}).status == 400


@pytest.mark.skipif(postgresql.program("initdb") is None, reason="PostgreSQL is not installed")
def test_postgresql(start: Start) -> None:
    """Sessions are kept in the database that the environment names."""
    with postgresql.server() as place:
        assert place is not None
        with postgresql.database(place) as url:
            daemon = start("postgresql.yaml", AGENTPROXY_STORE_URL=url)
            client = Client(f"http://127.0.0.1:{daemon.port}")
            session = client.start(wait="stable", description="kept elsewhere").session_id
            with psycopg.connect(url) as connection:
                row = connection.execute("select phase from sessions where id = %s", (session,)).fetchone()
            assert row == ("ready",)
            assert not list((daemon.log.parent / "data").glob("*.db"))
            daemon.stop()


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Return a folder with a certificate of our name, and its key."""
    folder = tmp_path / "tls"
    folder.mkdir()
    names = ["-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"]
    out = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names, *out],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


class TlsClient(Client):
    """A client that finds our name at a port of this machine."""

    def __init__(self, port: int, folder: Path, key: str) -> None:
        super().__init__(
            f"https://{NAME}:{port}", key, context=ssl.create_default_context(cafile=str(folder / "cert.pem"))
        )

    def _connection(self, patience: float) -> Any:
        connection = super()._connection(patience)
        connection._create_connection = (  # type: ignore[attr-defined]
            lambda address, *rest: socket.create_connection(("127.0.0.1", address[1]), *rest)
        )
        return connection


@pytest.mark.skipif(shutil.which("nginx") is None or shutil.which("openssl") is None, reason="nginx is not installed")
def test_behind_nginx(start: Start, certificate: Path, tmp_path: Path) -> None:
    """Through nginx with TLS: keys, answers, streams as they happen, the name and the address of the client, request ids."""
    daemon = start("behind-nginx.yaml")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    text = (EXAMPLES / "nginx.conf").read_text()
    for before, after in {
        "127.0.0.1:8080": f"127.0.0.1:{daemon.port}",
        "listen 443": f"listen 127.0.0.1:{port}",
        f"/etc/ssl/{NAME}.pem": str(certificate / "cert.pem"),
        f"/etc/ssl/{NAME}.key": str(certificate / "key.pem"),
    }.items():
        assert before in text
        text = text.replace(before, after)
    places = "".join(
        f"{kind}_temp_path {tmp_path}/{kind};" for kind in ("proxy", "client_body", "fastcgi", "uwsgi", "scgi")
    )
    around = f"daemon off; pid {tmp_path}/pid; error_log {tmp_path}/error.log; events {{}}"
    whole = f"{around} http {{ access_log off; {places} {text} }}"
    (tmp_path / "nginx.conf").write_text(whole)
    nginx = subprocess.Popen(
        ["nginx", "-c", str(tmp_path / "nginx.conf"), "-p", str(tmp_path)], stderr=subprocess.DEVNULL
    )
    try:
        wait_for("nginx listens", lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
        with pytest.raises(Refused) as caught:
            TlsClient(port, certificate, "wrong").search()
        assert caught.value.status == 401
        client = TlsClient(port, certificate, first_key(daemon))
        steps: list[str] = []
        session = client.start(lambda event: steps.append(event.type), wait="stable").session_id
        assert steps[-1] == "session.ready"
        assert "You said: hello" in client.ask(session, "hello")
        for event in client.events(session):  # not the end of the stream: each event comes when it happens
            if event.type == "delivery" and event.data["state"] == "answered":
                break
        wait_for("the address is nginx's client's", lambda: "127.0.0.1" in {one.address for one in client.audit()})
    finally:
        nginx.terminate()
        nginx.wait(20)


def test_the_dashboard_is_json_that_grafana_reads() -> None:
    """It has a title, panels with places, and a variable for the source of data."""
    board = json.loads((EXAMPLES.parent / "grafana.json").read_text())
    assert board["title"] == "agentproxy"
    assert all({"id", "title", "type", "gridPos", "targets"} <= set(panel) for panel in board["panels"])
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_the_unit_is_hardened(tmp_path: Path) -> None:
    """What the service could do to the machine is little: below 4 of 10 by systemd's own measure."""
    shutil.copy(EXAMPLES.parent / "agentproxy.service", tmp_path)
    analyze = ["systemd-analyze", "--no-pager", "security", "--offline=true", "--threshold=40"]
    rated = subprocess.run([*analyze, str(tmp_path / "agentproxy.service")], capture_output=True, text=True, timeout=60)
    assert rated.returncode == 0, rated.stdout[-300:]
