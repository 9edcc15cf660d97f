"""A restart under a service manager that holds the listening socket: nobody is refused, no agent notices."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.agent_servers import clean_environment, free_port
from tests.waiting import wait_for
from tests.wire import Client

UNITS = Path(__file__).resolve().parents[2] / "conf"
TWO_SERVERS = 'for life in 1 2; do sh -c \'export LISTEN_PID=$$; exec "$@"\' server "$@"; done'
"""What systemd does: the socket stays open in the shell while one server ends and the next one begins."""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Client]:
    """A server behind ``systemd-socket-activate``, started again once when it ends; gives a client of it."""
    program = shutil.which("systemd-socket-activate")
    if program is None:
        pytest.skip("there is no systemd-socket-activate")
    port = free_port()
    settings = {
        "data_dir": str(tmp_path / "data"),
        "listeners": [{"endpoint": "systemd:domain=INET:name=agentproxy.socket"}],
        "default_agent": "demo",
        "sessions": {"on_shutdown": "keep"},
        "auth": {"allow_anonymous": True},  # the address of the socket is the service manager's
    }
    (tmp_path / "agentproxy.json").write_text(json.dumps(settings))
    server = [sys.executable, "-m", "agentproxy", "-c", str(tmp_path / "agentproxy.json")]
    with (tmp_path / "log").open("wb") as log:
        running = subprocess.Popen(
            [program, "--fdname=agentproxy.socket", "-l", f"127.0.0.1:{port}", "sh", "-c", TWO_SERVERS, "two", *server],
            cwd=tmp_path, env=clean_environment(tmp_path), stdout=log, stderr=log, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    try:
        wait_for("the socket", lambda: b"Listening on" in (tmp_path / "log").read_bytes())
        client = Client("127.0.0.1", port)
        yield client
        for row in client.get("/search").json()["sessions"]:
            client.request("DELETE", f"/sessions/{row['session_id']}")
    finally:
        family = [running, *psutil.Process(running.pid).children(recursive=True)]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        running.wait(30)


def server_of(directory: Path) -> int | None:
    """Return the process id of the server that has the lock of a data directory."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(file.path == str(directory / "data" / "lock") for file in process.open_files()):
                return process.pid
    return None


def test_no_connection_is_refused_during_a_restart(service: Client, tmp_path: Path) -> None:
    """Clients that connect without a pause while one server follows the other are all taken; the session goes on."""
    session_id = service.post_json("/start", {}).json()["session_id"]
    refused: list[str] = []
    answered: list[int] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            try:
                answered.append(service.get("/health").status)
            except ConnectionRefusedError as error:
                refused.append(str(error))
            except OSError:
                continue  # taken by the server that was about to end

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        first = wait_for("the first server", lambda: server_of(tmp_path))
        os.kill(first, signal.SIGTERM)
        wait_for("the second server", lambda: server_of(tmp_path) not in (None, first), 60)
        before = len(answered)
        wait_for("an answer of the second server", lambda: len(answered) > before + 5, 60)
    finally:
        over.set()
        asking.join(60)
    assert not refused
    assert set(answered) == {200}
    shown = service.get(f"/sessions/{session_id}").json()
    assert (shown["phase"], shown["incarnation"]) == ("ready", 1)
    assert service.get(f"/{session_id}/status").status == 200


def test_the_units_are_right(tmp_path: Path) -> None:
    """`systemd-analyze verify` has nothing to say about the units that we ship."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("there is no systemd-analyze")
    for name in ("agentproxy.service", "agentproxy.socket"):
        shutil.copy(UNITS / name, tmp_path / name)
    names = [str(tmp_path / name) for name in ("agentproxy.service", "agentproxy.socket")]
    told = subprocess.run([program, "verify", *names], capture_output=True, text=True, timeout=60)
    assert (told.returncode, told.stdout, told.stderr) == (0, "", "")
