"""Whole lives of sessions whose agent server is forked: ready, stopped, killed, and stopped in the middle of the fork."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest_twisted
from twisted.internet.defer import Deferred

from agentproxy.model.session import EndReason, ExitStatus
from agentproxy.runtime.agent_servers import EmbeddedServer, Serving, resolve
from agentproxy.runtime.launching import Launch, Launcher
from agentproxy.runtime.supervisor import Supervisor
from tests.runtime.forking import DOOR, Forks
from tests.runtime.test_supervisor import Kit, Prepares, end_from_outside

DEAF = "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('deaf', flush=True)\ntime.sleep(600)"


@pytest_twisted.async_yield_fixture
async def forks(tmp_path: Path) -> AsyncIterator[Forks]:
    """A fork server."""
    running = Forks(tmp_path)
    yield running
    await running.close()


def _kit(tmp_path: Path, launcher: Launcher, *command: str, grace: float = 11, **plan: Any) -> Kit:
    prepares = Prepares(tmp_path, command=command or ("cat",))
    kit = Kit(tmp_path, EmbeddedServer(grace=grace), prepares, door=DOOR, height=24, **plan)
    ground = replace(kit.ground, launcher=launcher)
    kit.supervisor = Supervisor(ground, kit.plan, prepares, kit.notes)
    return kit


class Slow:
    """A launcher that tells what it has launched when it is let."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher
        self.launched: Deferred[int] = Deferred()
        self.go: Deferred[None] = Deferred()

    async def launch(self, wanted: Launch) -> int:
        pid = await self._launcher.launch(wanted)
        self.launched.callback(pid)
        await Held(self.go)
        return pid


class Held(Deferred[None]):
    """Waits for another Deferred and cannot be cancelled."""

    def __init__(self, other: Deferred[None]) -> None:
        super().__init__()
        other.addCallback(self.callback)

    def cancel(self) -> None:
        """Do nothing."""


@pytest_twisted.ensureDeferred
async def test_a_forked_session_starts_and_stops(forks: Forks, tmp_path: Path) -> None:
    """It gets ready, and a stop ends it in good order with nothing left."""
    kit = _kit(tmp_path, forks.launcher)
    kit.supervisor.start()
    await kit.notes.is_ready
    pid = kit.notes.incarnations[1].pid
    assert b"agentproxy session s1" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ending = await kit.supervisor.stop(EndReason.STOPPED, "stopped by ann")
    assert (ending.reason, ending.exit) == (EndReason.STOPPED, ExitStatus(code=0))
    kit.assert_nothing_left()


@pytest_twisted.ensureDeferred
async def test_it_listens_on_a_socket(forks: Forks, tmp_path: Path) -> None:
    """With a UNIX socket it takes no port, and the socket goes with it."""
    socket = tmp_path / "run" / "1"
    kit = _kit(tmp_path, forks.launcher, socket=socket)
    kit.supervisor.start()
    backend = await kit.notes.is_ready
    assert (backend.port, backend.unix_path) == (None, str(socket))
    assert kit.ports.leased == frozenset()
    await kit.supervisor.stop(EndReason.STOPPED, "stopped by ann")
    assert not socket.parent.exists()
    kit.assert_nothing_left()


@pytest_twisted.ensureDeferred
async def test_a_killed_one_is_told_with_its_signal(forks: Forks, tmp_path: Path) -> None:
    """Killed from outside, its session has exited, its agent is ended, and the fork server goes on."""
    kit = _kit(tmp_path, forks.launcher)
    await end_from_outside(kit)


@pytest_twisted.ensureDeferred
async def test_a_stop_in_the_middle_of_the_fork_leaves_nothing(forks: Forks, tmp_path: Path) -> None:
    """A session that is stopped while its process is being made ends when that process is gone."""
    slow = Slow(forks.launcher)
    kit = _kit(tmp_path, slow)
    kit.supervisor.start()
    await slow.launched
    stopped = kit.supervisor.stop(EndReason.STOPPED, "stopped by ann")
    slow.go.callback(None)
    assert (await stopped).reason is EndReason.STOPPED
    assert not kit.notes.is_ready.called
    kit.assert_nothing_left()


@pytest_twisted.ensureDeferred
async def test_a_deaf_agent_is_killed_when_the_grace_is_over(forks: Forks, tmp_path: Path) -> None:
    """An agent that ignores its interrupt costs the grace; its server still ends in good order."""
    kit = _kit(tmp_path, forks.launcher, sys.executable, "-c", DEAF, grace=4)
    kit.supervisor.start()
    await kit.notes.is_ready
    ending = await kit.supervisor.stop(EndReason.STOPPED, "stopped by ann")
    assert ending.exit == ExitStatus(code=0)
    kit.assert_nothing_left()


def test_the_grace_is_the_configurations() -> None:
    """What the configuration says is what an agent server gets, and the agent a little less."""
    assert resolve("agentapi", which=lambda _name: "/bin/agentapi", grace=3).grace == 3
    server = resolve("embedded", embedded=lambda: True, grace=30)
    assert server.grace == 30
    serving = Serving(9000, "custom", Path("door"), Path("end"))
    assert "--stop-grace=28" in server.command(serving)
