"""An incarnation that one server leaves and the next one goes on with, with real processes."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater

from agentproxy.model.session import EndReason, ExitStatus, Phase
from agentproxy.runtime import orphans
from agentproxy.runtime.starting import Inherited
from tests.runtime.test_supervisor import ANSWERING, Kit, Script

PATIENT = "import os, time\nwhile not os.path.exists('go'): time.sleep(0.01)\n" + ANSWERING


async def left(kit: Kit) -> Inherited:
    """Let go what a kit has started, and return what the next server finds."""
    await _turn()  # off the stack of the start that has just told that it is ready
    one = kit.notes.incarnations[1]
    await kit.supervisor.let_go()
    return Inherited(one.pid, one.start_ticks, one.port)


async def left_ready(tmp_path: Path, **plan: Any) -> tuple[Kit, Inherited]:
    """Start one, let it go when it is ready, and return it with what the next server finds."""
    kit = Kit(tmp_path, Script(ANSWERING), **plan)
    kit.supervisor.start()
    await kit.notes.is_ready
    return kit, await left(kit)


def heir(tmp_path: Path, before: Kit, **plan: Any) -> Kit:
    """Return the next server's supervisor for what *before* began."""
    return Kit(tmp_path, before.plan.agent_server, marker=before.plan.marker, **plan)


@pytest_twisted.ensureDeferred
async def test_one_that_was_let_go_runs_on_and_is_adopted(tmp_path: Path) -> None:
    """Nothing is signalled or told by whoever lets go; the next one is ready at once, has the port, and can stop it."""
    first = Kit(tmp_path, Script(ANSWERING))
    first.supervisor.start()
    backend = await first.notes.is_ready
    found = await left(first)
    assert (first.notes.endings, first.notes.endings_begun) == ([], [])
    second = heir(tmp_path, first)
    second.supervisor.adopt(found, was_ready=True)
    assert await second.notes.is_ready == backend
    assert (second.supervisor.phase, second.ports.leased) == (Phase.READY, {backend.port})
    with pytest.raises(ValueError, match="leased already"):
        second.ports.take(found.port)
    ending = await second.supervisor.stop(EndReason.STOPPED, "stopped by ann")
    assert ending.exit == ExitStatus(signal="SIGTERM")
    assert second.notes.endings_begun[0].sentence == "stopped by ann"
    second.assert_nothing_left()


@pytest_twisted.ensureDeferred
async def test_a_start_that_was_let_go_is_finished(tmp_path: Path) -> None:
    """One whose process did not answer yet becomes ready under the next server."""
    first = Kit(tmp_path, Script(PATIENT))
    first.supervisor.start()
    while len(first.notes.incarnations) < 2:
        await _turn()
    found = await left(first)
    second = heir(tmp_path, first)
    second.supervisor.adopt(found, was_ready=False)
    (tmp_path / "go").touch()
    await second.notes.is_ready
    assert second.notes.phases == [Phase.READY]
    await second.supervisor.stop(EndReason.STOPPED, "stopped")
    second.assert_nothing_left()


@pytest_twisted.ensureDeferred
async def test_the_end_of_an_adopted_one_is_seen(tmp_path: Path) -> None:
    """An adopted agent server that is killed is told as exited."""
    first, found = await left_ready(tmp_path)
    second = heir(tmp_path, first)
    second.supervisor.adopt(found, was_ready=True)
    os.kill(found.pid, signal.SIGKILL)
    assert (await second.supervisor.when_ended()).reason is EndReason.EXITED
    second.assert_nothing_left()


@pytest_twisted.ensureDeferred
async def test_the_wall_time_goes_on(tmp_path: Path) -> None:
    """The limit counts from the first server's start."""
    first, found = await left_ready(tmp_path, wall_seconds=1000)
    second = heir(tmp_path, first, wall_seconds=1000)
    second.supervisor.adopt(replace(found, age=1000), was_ready=True)
    assert (await second.supervisor.when_ended()).reason is EndReason.EXPIRED
    second.assert_nothing_left()


@pytest_twisted.ensureDeferred
async def test_another_process_at_the_number_is_not_adopted(tmp_path: Path) -> None:
    """A start time that differs is refused, nothing is leased, and the process lives."""
    first, found = await left_ready(tmp_path)
    second = heir(tmp_path, first)
    with pytest.raises(ProcessLookupError):
        second.supervisor.adopt(replace(found, start_ticks=found.start_ticks + 1), was_ready=True)
    assert not second.ports.leased
    assert orphans.find(first.plan.marker)
    second.supervisor.adopt(found, was_ready=True)
    await second.supervisor.stop(EndReason.STOPPED, "stopped")
    second.assert_nothing_left()


@pytest_twisted.ensureDeferred
async def test_one_that_is_ending_is_not_left(tmp_path: Path) -> None:
    """Letting go of one that is being stopped waits for its end."""
    kit = Kit(tmp_path, Script(ANSWERING))
    kit.supervisor.start()
    await kit.notes.is_ready
    kit.supervisor.stop(EndReason.STOPPED, "stopped")
    await kit.supervisor.let_go()
    assert not kit.supervisor.left
    kit.assert_nothing_left()


async def _turn() -> None:
    await deferLater(reactor, 0.005)  # type: ignore[arg-type]
