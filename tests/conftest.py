"""Settings of the whole suite."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from hypothesis import HealthCheck, settings

from agentproxy.store import journal
from tests.described import hold_faces
from tests.waiting import wait_for

# A property is about values, not about time: a busy machine is no reason to fail.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

# An event of a kind that is not in the table is a defect here; a server keeps it and says so.
journal.strict = True

LONGEST_WAIT = 100
"""Seconds in the reactor after which a test fails where it waits. It is less than pytest-timeout's: the reactor logs what that
plugin raises there and goes on, so that the run would not end."""

_wait_for_ever = pytest_twisted.blockon_default


def _wait(deferred: Any) -> Any:
    from twisted.internet import reactor  # not before pytest-twisted has installed it

    return _wait_for_ever(deferred.addTimeout(LONGEST_WAIT, reactor))


pytest_twisted.blockon_default = _wait


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A directory that other users of this machine may pass through, which pytest's own forbids again with each run."""
    with tempfile.TemporaryDirectory(prefix="open-") as name:
        path = Path(name)
        path.chmod(0o711)
        yield path


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """After the last test no process of the run is left: none works below its directory or has it in its environment."""
    yield
    base = tmp_path_factory.getbasetemp()
    try:
        wait_for("the end of all that tests have started", lambda: not processes_of(base), 10)
    except TimeoutError:
        pytest.fail(f"tests have left processes behind: {processes_of(base)}")


def processes_of(directory: Path) -> dict[int, str]:
    """Return the processes, but this one, whose working directory or environment is below *directory*, and what they run."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            inside = Path(os.readlink(entry / "cwd")).is_relative_to(directory)
            if inside or f"{directory}/".encode() in (entry / "environ").read_bytes():
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # gone, or another user's
    return found


@pytest.fixture(autouse=True)
def answers_as_described(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Fail a test in which a face of ours answers anything that the OpenAPI document does not describe."""
    faults: list[str] = []
    hold_faces(monkeypatch, faults)
    yield faults
    assert not faults, "\n".join(faults)
