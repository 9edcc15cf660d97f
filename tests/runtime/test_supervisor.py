"""One life of a session's agent server, with real processes."""

from __future__ import annotations

import os
import signal
import socket
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from agentproxy.model.session import EndReason, ExitStatus, Phase
from agentproxy.runtime import cgroups, orphans
from agentproxy.runtime.agent_servers import AgentapiServer, Serving
from agentproxy.runtime.fork_server import Asked
from agentproxy.runtime.launching import Executing, Launch
from agentproxy.runtime.output import OutputLog
from agentproxy.runtime.ports import Ports
from agentproxy.runtime.start_queue import StartQueue
from agentproxy.runtime.starting import Ground, Plan, Prepared
from agentproxy.runtime.steps import StepFailed
from agentproxy.runtime.supervisor import Supervisor
from agentproxy.runtime.watching import read_boot_id
from tests.agent_servers import find_agentapi

ANSWERING = """
import http.server, subprocess, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b'{}')
    def log_message(self, *a): pass
subprocess.Popen(["setsid", "sleep", "600"])
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""


@dataclass(frozen=True)
class Script:
    """An agent server that is a Python text; its first argument is the port."""

    text: str
    grace: float = 5
    name: str = "script"
    has_door: bool = False
    stop_signal: signal.Signals = signal.SIGTERM

    def command(self, serving: Serving) -> tuple[str, ...]:
        return (sys.executable, "-c", self.text, str(serving.port))


@dataclass
class Prepares:
    """Prepares nothing; waits, fails, or gives a directory."""

    directory: Path
    waits: Deferred[None] | None = None
    fails: StepFailed | None = None
    command: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": "/usr/bin:/bin"})

    async def prepare(self, port: int, report: Callable[[str], None]) -> Prepared:
        report("directory")
        if self.waits is not None:
            await self.waits
        if self.fails is not None:
            raise self.fails
        return Prepared(self.command, "custom", self.environment, self.directory)


class Notes:
    """A witness that writes everything down."""

    def __init__(self) -> None:
        self.phases: list[Phase] = []
        self.steps: list[str] = []
        self.endings: list[Any] = []
        self.endings_begun: list[Any] = []
        self.incarnations: list[Any] = []
        self.is_ready: Deferred[Any] = Deferred()

    def entered(self, phase: Phase) -> None:
        self.phases.append(phase)

    def step(self, name: str, facts: Any) -> None:
        self.steps.append(name)

    async def about_to_exec(self, incarnation: Any) -> None:
        self.incarnations.append(incarnation)

    async def executed(self, incarnation: Any) -> None:
        self.incarnations.append(incarnation)

    def ready(self, backend: Any) -> None:
        self.is_ready.callback(backend)

    def adopted(self, backend: Any) -> None:
        self.is_ready.callback(backend)

    def stopping(self, ending: Any) -> None:
        self.endings_begun.append(ending)

    def ended(self, ending: Any) -> None:
        self.endings.append(ending)


class Kit:
    """One supervisor and everything around it."""

    def __init__(self, tmp_path: Path, server: Any, prepares: Prepares | None = None, **plan: Any) -> None:
        self.notes = Notes()
        self.ports = Ports(21000, 21999)
        self.queue = StartQueue(1, 0)
        self.ground = Ground(reactor, self.ports, self.queue, read_boot_id())
        wanted = Plan("s1", 1, "ann", server, uuid.uuid4().hex, OutputLog(tmp_path / "log"), tmp_path / "records")
        self.plan = replace(wanted, **plan)
        self.supervisor = Supervisor(self.ground, self.plan, prepares or Prepares(tmp_path), self.notes)

    def assert_nothing_left(self) -> None:
        assert len(self.notes.endings) == 1
        assert not self.ports.leased
        assert self.queue.starting == 0
        assert orphans.find(self.plan.marker) == []


@pytest_twisted.ensureDeferred
async def test_a_session_starts_answers_and_stops(tmp_path: Path) -> None:
    """A started session goes through its phases, answers, and leaves no process behind, not even one in its own session."""
    kit = Kit(tmp_path, Script(ANSWERING))
    kit.supervisor.start()
    backend = await kit.notes.is_ready
    assert kit.supervisor.backend == backend
    assert len(orphans.find(kit.plan.marker)) == 2
    ending = await kit.supervisor.stop(EndReason.STOPPED, "stopped by ann")
    assert (ending.reason, ending.exit) == (EndReason.STOPPED, ExitStatus(signal="SIGTERM"))
    assert kit.notes.phases == [Phase.QUEUED, Phase.STARTING, Phase.READY, Phase.STOPPING, Phase.ENDED]
    assert kit.notes.steps == ["port", "directory", "exec", "listen", "answer"]
    assert kit.notes.incarnations[1].pid is not None
    kit.assert_nothing_left()


@pytest_twisted.ensureDeferred
async def test_a_real_agentapi_starts_and_stops(tmp_path: Path) -> None:
    """The real agentapi starts around a program and ends with exit status 0."""
    program = find_agentapi()
    if program is None:
        pytest.skip("no agentapi")
    prepares = Prepares(tmp_path, command=("cat",), environment={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)})
    kit = Kit(tmp_path, AgentapiServer(program), prepares, height=50)
    kit.supervisor.start()
    await kit.notes.is_ready
    ending = await kit.supervisor.stop(EndReason.STOPPED, "stopped by ann")
    assert ending.exit == ExitStatus(code=0)
    kit.assert_nothing_left()


@pytest_twisted.ensureDeferred
async def test_one_that_dies_while_it_starts_says_why(tmp_path: Path) -> None:
    """A start that fails names the step, the exit status and the last lines."""
    kit = Kit(tmp_path, Script("print('no key'); raise SystemExit(3)"))
    kit.supervisor.start()
    ending = await kit.supervisor.when_ended()
    assert (ending.reason, ending.step, ending.exit) == (EndReason.FAILED, "listen", ExitStatus(code=3))
    assert ending.output == ("no key",)
    kit.assert_nothing_left()


async def end_from_outside(kit: Kit) -> None:
    """Start one, kill its agent server, and check what is told and left."""
    kit.supervisor.start()
    await kit.notes.is_ready
    os.kill(kit.notes.incarnations[1].pid, signal.SIGKILL)
    ending = await kit.supervisor.when_ended()
    assert (ending.reason, ending.exit) == (EndReason.EXITED, ExitStatus(signal="SIGKILL"))
    kit.assert_nothing_left()


@pytest_twisted.ensureDeferred
async def test_one_that_ends_while_ready_has_exited(tmp_path: Path) -> None:
    """An agent server that is killed from outside is told as exited, with the signal."""
    kit = Kit(tmp_path, Script(ANSWERING))
    await end_from_outside(kit)


@pytest_twisted.ensureDeferred
async def test_one_that_never_listens_fails_at_its_deadline(tmp_path: Path) -> None:
    """A program that listens nowhere is ended when its time is over."""
    kit = Kit(tmp_path, Script("import time; time.sleep(600)"), listen_within=0.2)
    kit.supervisor.start()
    ending = await kit.supervisor.when_ended()
    assert (ending.reason, ending.step) == (EndReason.FAILED, "listen")
    assert "within 0.2 s" in ending.sentence
    kit.assert_nothing_left()


@pytest_twisted.ensureDeferred
async def test_one_that_ignores_the_signal_is_killed_after_the_grace(tmp_path: Path) -> None:
    """An agent server that does not end when it is told to is killed."""
    kit = Kit(tmp_path, Script("import signal; signal.signal(15, signal.SIG_IGN)\n" + ANSWERING, grace=0.1))
    kit.supervisor.start()
    await kit.notes.is_ready
    ending = await kit.supervisor.stop(EndReason.STOPPED, "stopped")
    assert ending.exit == ExitStatus(signal="SIGKILL")
    kit.assert_nothing_left()


@pytest_twisted.ensureDeferred
async def test_a_stop_cancels_the_preparation(tmp_path: Path) -> None:
    """A session that is stopped while it is prepared never runs a program."""
    waits: Deferred[None] = Deferred()
    kit = Kit(tmp_path, Script(ANSWERING), Prepares(tmp_path, waits))
    kit.supervisor.start()
    ending = await kit.supervisor.stop(EndReason.STOPPED, "stopped")
    assert ending.reason is EndReason.STOPPED
    assert kit.notes.incarnations == []
    kit.assert_nothing_left()


@pytest_twisted.ensureDeferred
async def test_a_step_that_fails_is_named(tmp_path: Path) -> None:
    """A preparation that fails is told with its own step and lines."""
    kit = Kit(tmp_path, Script(""), Prepares(tmp_path, fails=StepFailed("clone", "no such repository", output=("x",))))
    kit.supervisor.start()
    ending = await kit.supervisor.when_ended()
    assert (ending.step, ending.sentence, ending.output) == ("clone", "no such repository", ("x",))
    kit.assert_nothing_left()


@pytest_twisted.ensureDeferred
async def test_a_full_queue_fails_the_start(tmp_path: Path) -> None:
    """A start that finds the queue full ends at once with the step queue."""
    kit = Kit(tmp_path, Script(""))
    held = kit.queue.enter("bob")
    kit.supervisor.start()
    ending = await kit.supervisor.when_ended()
    assert ending.step == "queue"
    held.release()
    kit.assert_nothing_left()


@pytest_twisted.ensureDeferred
async def test_the_wall_time_limit_expires_a_session(tmp_path: Path) -> None:
    """A session over its time ends as expired."""
    kit = Kit(tmp_path, Script(ANSWERING), wall_seconds=1.5)
    kit.supervisor.start()
    assert (await kit.supervisor.when_ended()).reason is EndReason.EXPIRED
    kit.assert_nothing_left()


SAYING = """
import os, time
open("begun", "x").close()
while not os.path.exists("go"): time.sleep(0.01)
open("said", "x").close()
time.sleep(600)
"""


class Hearing(Executing):
    """Launches a program and waits for a word that the program has to say itself, as the fork server's forks do."""

    def __init__(self) -> None:
        self.pid: int | None = None
        self.heard = Asked()

    async def launch(self, wanted: Launch) -> int:
        self.pid = await super().launch(wanted)
        await self.heard
        return self.pid


@pytest_twisted.ensureDeferred
async def test_a_kill_lets_the_launch_under_way_say_what_it_launched(tmp_path: Path) -> None:
    """It is killed when it is known: killed before, it would say nothing, and the end of the server would wait for that."""
    root = cgroups.find_root()
    if root is None:
        pytest.skip(cgroups.CANNOT_PROMISE)
    launcher = Hearing()
    kit = Kit(tmp_path, Script(SAYING))
    kit.ground = replace(kit.ground, launcher=launcher, cgroups=cgroups.Cgroups(root))
    kit.plan = replace(kit.plan, session_id=str(uuid.uuid4()))
    kit.supervisor = Supervisor(kit.ground, kit.plan, Prepares(tmp_path), kit.notes)
    kit.supervisor.start()
    while not (tmp_path / "begun").exists():
        await deferLater(reactor, 0.01)
    kit.supervisor.kill_now()
    (tmp_path / "go").touch()
    while not (tmp_path / "said").exists():
        assert launcher.pid is not None
        assert os.waitid(os.P_PID, launcher.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        await deferLater(reactor, 0.01)
    launcher.heard.callback(launcher.pid)
    assert (await kit.supervisor.when_ended()).reason is EndReason.STOPPED
    kit.assert_nothing_left()


@pytest_twisted.ensureDeferred
async def test_the_port_is_free_again(tmp_path: Path) -> None:
    """Killed at once, a session gives its port back for others to listen on."""
    kit = Kit(tmp_path, Script(ANSWERING))
    kit.supervisor.start()
    backend = await kit.notes.is_ready
    kit.supervisor.kill_now()
    await kit.supervisor.when_ended()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", backend.port))
    kit.assert_nothing_left()
