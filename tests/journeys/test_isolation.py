"""A hostile agent below each fence: what it gets of the server, of others and their sessions, and of this machine's network."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.bubblewrap import bubblewrap_runs, needs_bubblewrap
from tests.journeys.open_python import find_open_python, make_python
from tests.journeys.people import KEYS, GuardedDaemon
from tests.waiting import wait_for

HOSTILE = Path(__file__).parent.parent / "fakes" / "hostile.py"
GONE = {"FileNotFoundError", "PermissionError", "NotADirectoryError"}
SECRET = "alices-secret"
ORDINARY = 64_321


def network_can_be_had() -> bool:
    """Return whether a session can have a network of its own here."""
    return (
        shutil.which("slirp4netns") is not None
        and os.access("/dev/net/tun", os.R_OK | os.W_OK)
        and bubblewrap_runs("--unshare-net")
    )


needs_network = pytest.mark.skipif(not network_can_be_had(), reason="slirp4netns or /dev/net/tun is missing")


class FencedDaemon(GuardedDaemon):
    """A daemon whose agent ``hostile`` tries what :meth:`attack` says."""

    def __init__(
        self,
        directory: Path,
        isolation: str,
        network: str = "auto",
        python: str = sys.executable,
        user: int | None = None,
        runtime: Path | None = None,
    ) -> None:
        self.directory = directory
        self.python = self.agent_python = python
        self._runtime = tempfile.TemporaryDirectory(prefix="ap-")  # short: the kernel takes about 100 characters
        settings = {
            "AGENTPROXY_SESSIONS_ISOLATION": isolation,
            "AGENTPROXY_SESSIONS_NETWORK": network,
            "AGENTPROXY_ALLOW_COMMANDS": "true",
            "AGENTPROXY_RUNTIME_DIR": str(runtime or self._runtime.name),
        }
        if user is not None:
            os.chown(self._runtime.name, user, user)
        super().__init__(directory, settings)

    def stop(self) -> int:
        """Ask it to end and return its exit status."""
        status = super().stop()
        self._runtime.cleanup()
        return status

    def attack(self, wanted: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Let Bob start the hostile agent and return its session and its report."""
        session_id = self.started("bob", command=[self.agent_python, str(HOSTILE), json.dumps(wanted)])
        path = self.directory / "data" / "sessions" / session_id / "work" / "report.json"
        wait_for("the agent's report", path.exists, timeout=120)  # what is dropped takes it 50 s to give up
        found: dict[str, Any] = json.loads(path.read_text())
        return session_id, found


@pytest.fixture
def fenced(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[FencedDaemon]:
    """A daemon with the fence of the parameter."""
    running = FencedDaemon(tmp_path, *request.param)
    yield running
    running.stop()


class Neighbour:
    """A server of somebody else on this machine: a port of loopback and an abstract socket, both without a password."""

    def __init__(self) -> None:
        self.port = socket.create_server(("127.0.0.1", 0))
        self.abstract = socket.socket(socket.AF_UNIX)
        self.name = f"agentproxy-test-{os.getpid()}"
        self.abstract.bind("\0" + self.name)
        self.abstract.listen()

    def close(self) -> None:
        """Close both."""
        self.port.close()
        self.abstract.close()


def attacked(daemon: FencedDaemon, write: dict[str, str] | None = None) -> tuple[dict[str, Any], str]:
    """Let Alice have a session with a secret in her HOME, attack it, and return the report and the id of her session.

    :param write: what the agent tries to write, by name.
    """
    directory = daemon.directory
    alices = daemon.started("alice", environment={"SECRET": SECRET})
    data, hers = directory / "data", directory / "data" / "sessions" / alices
    [home] = [path for path in (data / "homes").iterdir() if path.name == "alice"]
    (home / "secret").write_text(SECRET)
    shown = daemon.ask("alice", "GET", f"/sessions/{alices}").json()
    victim = subprocess.Popen(["sleep", "600"])
    with closing(Neighbour()) as neighbour:
        port, ours = neighbour.port.getsockname()[1], daemon.port
        try:
            session_id, report = daemon.attack(
                {
                    "read": {
                        "key": str(data / "secret.key"),
                        "store": str(data / "agentproxy.db"),
                        "configuration": str(directory / "config.json"),
                        "home": str(home / "secret"),
                        "log": str(hers / "log" / "agent-server.log"),
                        "door": str(hers / "records" / "door"),
                    },
                    "list": {"data": str(data), "tmp": str(directory), "homes": str(data / "homes"), "hers": str(hers)},
                    "write": write or {},
                    "links": {
                        "../log/agent-server.log": str(data / "secret.key"),
                        "../log/agent-server.log.1": str(data / "secret.key"),
                        "../records/end.json": str(data / "secret.key"),
                        "../home": str(home),
                    },
                    "open": {
                        "server": ["127.0.0.1", ours],
                        "neighbour": ["127.0.0.1", port],
                        "gateway": ["10.0.2.2", port],
                        "resolver": ["10.0.2.3", port],
                    },
                    "sockets": {"abstract": f"@{neighbour.name}", "hers": shown["addr"].removeprefix("unix:")},
                    "kill": victim.pid,
                    "port": shown["port"] or port,
                }
            )
            report["victim"] = victim.poll()
        finally:
            victim.kill()
            victim.wait()
    printed = daemon.ask("bob", "GET", f"/sessions/{session_id}/log").body
    assert (data / "secret.key").read_bytes().split()[-1][:16] not in printed
    assert daemon.ask("bob", "POST", f"/sessions/{session_id}/stop").json()["phase"] == "ended"
    assert (data / "secret.key").stat().st_size > 0
    return report, alices


def got_nothing(report: dict[str, Any], alices: str) -> None:
    """Assert that the agent read nothing of the server or of Alice, and sent no signal to others."""
    text = json.dumps(report)
    assert SECRET not in text
    assert KEYS["root"] not in text
    assert report["environments"] == [report["own"]]
    assert alices not in report["environments"]
    assert report["read"].pop("configuration") in {"", *GONE}
    assert set(report["read"].values()) <= GONE
    assert report["list"]["hers"] in GONE
    assert report["victim"] is None
    assert report["steer"].pop("/proc/self/oom_score_adj") is None
    assert None not in report["steer"].values()
    assert report["capabilities"] == ["0000000000000000"]


BWRAP = [
    pytest.param(("bwrap", "private"), marks=needs_network),
    pytest.param(("bwrap", "none"), marks=needs_bubblewrap),
    pytest.param(("bwrap", "shared"), marks=needs_bubblewrap),
]


@pytest.mark.parametrize("fenced", BWRAP, indirect=True, ids=lambda given: given[1])
def test_behind_bubblewrap_an_agent_gets_nothing_of_others(
    fenced: FencedDaemon, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """No data, key or HOME, no process or environment of others, no capability, nothing writable but its own."""
    data = str(tmp_path / "data" / "was-here")
    outside = {"etc": "/etc/agentproxy-was-here", "data": data, "cgroup": "/sys/fs/cgroup/x"}
    report, alices = attacked(fenced, outside)
    got_nothing(report, alices)
    assert set(report["list"]["data"]) <= {"homes", "run", "sessions"}
    assert report["list"]["homes"] == ["bob"]
    assert set(report["list"]["tmp"]) <= {"data", "config.json"}
    assert all(isinstance(found, str) for found in (report["write"]["etc"], report["write"]["cgroup"]))
    assert not (tmp_path / "data" / "was-here").exists()
    assert not Path("/etc/agentproxy-was-here").exists()
    assert report["kill"] == "ProcessLookupError"
    assert isinstance(report["home"], int)
    assert (tmp_path / "data" / "homes" / "bob" / "note").read_text() == report["own"]
    if request.node.callspec.params["fenced"][1] == "shared":
        assert set(report["ports"].values()) <= {401, 403, 404}
    else:
        assert "open" not in {*report["open"].values(), *report["sockets"].values()}
        assert not [found for found in report["ports"].values() if isinstance(found, int)]


@needs_network
def test_a_network_of_its_own_reaches_other_machines(tmp_path: Path) -> None:
    """Names are looked up and other addresses reached as from this machine; a stop leaves nothing of the network behind."""
    with closing(socket.create_server(("0.0.0.0", 0))) as elsewhere:
        address = outer_address()
        daemon = FencedDaemon(tmp_path, "bwrap", "private")
        try:
            session_id, report = daemon.attack(
                {"open": {"elsewhere": [address, elsewhere.getsockname()[1]]}, "kill": 4_194_303, "port": 1,
                 "read": {"names": "/etc/resolv.conf"}}
            )  # fmt: skip
            assert report["open"] == {"elsewhere": "open"}
            assert report["read"]["names"].startswith("nameserver 10.0.2.3\n")
            assert children_named(daemon.process.pid, "slirp4netns")
            assert daemon.ask("bob", "DELETE", f"/sessions/{session_id}").status == 200
            assert not children_named(daemon.process.pid, "slirp4netns")
        finally:
            daemon.stop()


@needs_network
def test_a_fenced_session_outlives_its_server(open_path: Path) -> None:
    """After a crash the next server has it back, on its socket and with its network; a stop leaves nothing of either."""
    runtime = open_path / "run"
    daemon = FencedDaemon(open_path, "bwrap", "private", runtime=runtime)
    session_id = daemon.started("alice")
    daemon.process.kill()
    daemon.stop()
    daemon = FencedDaemon(open_path, "bwrap", "private", runtime=runtime)
    try:
        assert daemon.ask("alice", "GET", f"/sessions/{session_id}").json()["phase"] == "ready"
        assert daemon.ask("alice", "GET", f"/{session_id}/status").status == 200
        assert processes_with("slirp4netns", session_id)
        assert daemon.ask("alice", "DELETE", f"/sessions/{session_id}").status == 200
        assert not processes_with("slirp4netns", session_id)
        assert list(runtime.iterdir()) == []
    finally:
        daemon.stop()


def processes_with(name: str, session_id: str) -> list[int]:
    """Return the processes with this name that a session has started."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            named = entry.name.isdigit() and f"({name})" in (entry / "stat").read_text()
            if named and session_id.encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return found


def outer_address() -> str:
    """Return an address of this machine that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        try:
            client.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine has no address but loopback")
        return str(client.getsockname()[0])


def children_named(parent: int, name: str) -> list[int]:
    """Return the children of a process with this name, dead ones that nobody has reaped too."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "stat").read_text()
            except OSError:
                continue
            if f"({name})" in text and int(text.rpartition(")")[2].split()[1]) == parent:
                found.append(int(entry.name))
    return found


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root can become other users")
def test_as_a_user_of_its_own_an_agent_gets_nothing_of_others(open_path: Path) -> None:
    """No data, key or HOME of another owner, no environment, no signal; other agent servers' doors are shut."""
    daemon = FencedDaemon(open_path, "user", python=find_open_python(open_path))
    try:
        outside = {"etc": "/etc/agentproxy-was-here", "data": str(open_path / "data" / "was-here")}
        report, alices = attacked(daemon, outside)
        got_nothing(report, alices)
        assert report["list"]["data"] in GONE
        assert report["list"]["homes"] in GONE
        assert set(report["write"].values()) == {"PermissionError"}
        assert report["links"].pop("../records/end.json") == "linked"
        assert set(report["links"].values()) <= GONE
        assert report["kill"] == "PermissionError"
        assert set(report["ports"].values()) <= {401, 403, 404}
        assert isinstance(report["home"], int)
    finally:
        daemon.stop()


@needs_bubblewrap
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root can become other users")
@pytest.mark.parametrize("network", ["none", "auto"])
def test_a_server_that_is_no_root_has_the_same_fence(network: str, open_path: Path) -> None:
    """The recommended way: a server with a user of its own, and bubblewrap without privileges."""
    python = find_open_python(open_path)
    ordinary = open_path / "ordinary-python"
    words = f"setpriv --reuid={ORDINARY} --regid={ORDINARY} --clear-groups"
    ordinary.write_text(f'#!/bin/sh\nexec {words} {python} "$@"\n')
    ordinary.chmod(0o755)
    place = open_path / "server"
    place.mkdir()
    os.chown(place, ORDINARY, ORDINARY)
    daemon = FencedDaemon(place, "bwrap", network, str(ordinary), ORDINARY)
    try:
        daemon.agent_python = python
        report, alices = attacked(daemon, {"etc": "/etc/agentproxy-was-here", "data": str(place / "data" / "was-here")})
        got_nothing(report, alices)
        assert report["list"]["homes"] == ["bob"]
        assert not (place / "data" / "was-here").exists()
        if network == "none":
            assert "open" not in {*report["open"].values(), *report["sockets"].values()}
    finally:
        daemon.stop()


@pytest.mark.parametrize("fenced", [("none",)], indirect=True)
def test_without_a_fence_the_start_says_what_is_open(fenced: FencedDaemon) -> None:
    """The same agent reads what the server reads, which is what the warning says; other agent servers' doors are shut."""
    report, _alices = attacked(fenced)
    assert report["read"]["home"] == SECRET
    assert "every agent can read what this server can read" in fenced.log.read_text()
    assert set(report["ports"].values()) <= {401, 403, 404}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"ISOLATION": "none", "NETWORK": "private"}, "needs sessions.isolation: bwrap"),
        pytest.param(
            {"ISOLATION": "bwrap", "NETWORK": "private", "PATH": "/nowhere"}, "slirp4netns", marks=needs_bubblewrap
        ),
    ],
)
def test_a_fence_that_cannot_be_had_is_refused_at_the_start(
    settings: dict[str, str], sentence: str, tmp_path: Path
) -> None:
    """The server does not start with less than was asked for; it says what is missing."""
    environment = {f"AGENTPROXY_SESSIONS_{name}": value for name, value in settings.items() if name != "PATH"}
    if "PATH" in settings:
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "bwrap").symlink_to(shutil.which("bwrap") or "")
        environment["PATH"] = str(tmp_path / "bin")
    with pytest.raises(AssertionError, match=sentence):
        GuardedDaemon(tmp_path, environment).stop()


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root can become other users")
def test_users_of_their_own_need_a_server_that_they_can_read(tmp_path: Path) -> None:
    """No agent server could start, so the server does not; it says what to do."""
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    with pytest.raises(AssertionError, match="install it elsewhere, such as in /opt/agentproxy: ") as refused:
        FencedDaemon(tmp_path, "user", python=make_python(private, sys.executable)).stop()
    assert "No module named 'agentproxy'" in str(refused.value)
