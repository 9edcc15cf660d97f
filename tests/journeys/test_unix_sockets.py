"""Agent servers on UNIX sockets instead of ports."""

from __future__ import annotations

import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon import Daemon
from tests.waiting import wait_for


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path, because the kernel takes about 100 characters."""
    with tempfile.TemporaryDirectory(prefix="ap-") as name:
        yield Path(name) / "run"


@pytest.fixture
def daemon(tmp_path: Path, folder: Path) -> Iterator[Daemon]:
    """A daemon whose agent servers listen on UNIX sockets."""
    settings = {"AGENTPROXY_AGENT_SERVER_LISTEN": "unix", "AGENTPROXY_RUNTIME_DIR": str(folder)}
    running = Daemon(tmp_path, settings=settings)
    yield running
    running.stop()


def _shown(daemon: Daemon) -> tuple[int, str]:
    [listed] = daemon.client.get("/search").json()["sessions"]
    return listed["port"], listed["addr"]


def _wait_shown(daemon: Daemon, session_id: str, text: str) -> None:
    wait_for(text, lambda: text in daemon.client.get(f"/{session_id}/screen").json()["text"])


def _answer(path: str, door: str = "") -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        client.sendall(f"GET /status HTTP/1.0\r\nHost: localhost\r\n{door}\r\n".encode())
        return client.recv(65536).split(b"\r\n")[0]


def test_a_session_is_reached_through_its_socket(daemon: Daemon, folder: Path) -> None:
    """Keys, screens and streams go over the socket; the list says where it is; only its owner and the gateway come in."""
    session_id = daemon.start()
    with daemon.client.events(f"/{session_id}/events") as events:
        events.until(lambda event: event.name == "status_change")
    _wait_shown(daemon, session_id, "[1] >")
    assert daemon.client.post_json(f"/{session_id}/message", {"content": "hello\r", "type": "raw"}).status == 200
    _wait_shown(daemon, session_id, "You said: hello")
    port, address = _shown(daemon)
    path = address.removeprefix("unix:")
    assert (port, Path(path).parent.parent) == (0, folder)
    assert stat.S_IMODE(Path(path).stat().st_mode) == 0o600
    assert stat.S_IMODE(Path(path).parent.stat().st_mode) == 0o700
    assert b" 403 " in _answer(path) + b" "
    assert daemon.client.get(f"/{session_id}/status").json()["status"] in ("running", "stable")
    again = daemon.client.request("POST", f"/sessions/{session_id}/restart").json()
    assert (again["phase"], again["port"]) == ("ready", 0)
    assert _shown(daemon)[1] != address
    assert daemon.client.get(f"/{session_id}/status").status == 200
    daemon.client.request("POST", f"/sessions/{session_id}/stop")
    assert _shown(daemon) == (0, "")
    assert list(folder.iterdir()) == []
