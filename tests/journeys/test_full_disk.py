"""A disk that fails under a whole server: what must be written is refused with the reason, everything else goes on."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import Daemon
from tests.disks import small_disk
from tests.journeys.talking import said, talk
from tests.waiting import wait_for
from tests.wire import Reply


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """The data directory of the server, a disk of its own with some megabytes."""
    with small_disk(tmp_path / "data", 6) as place:
        yield place


@pytest.fixture
def daemon(disk: Path, tmp_path: Path) -> Iterator[Daemon]:
    """A server whose data is on that disk."""
    running = Daemon(tmp_path)
    yield running
    assert running.stop() is not None
    assert disk.exists()


def fill(path: Path) -> None:
    """Write into the file until the disk is full."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


def refused(reply: Reply, why: str) -> None:
    """Look that an answer is the refusal of a store that fails."""
    body = reply.json()
    assert (reply.status, body["code"]) == (503, "store_unavailable"), body
    assert why in body["details"], body


def change(daemon: Daemon, session_id: str) -> Reply:
    """Change the description of a session."""
    return daemon.client.request("PATCH", f"/sessions/{session_id}", '{"description": "new"}')


def trouble(daemon: Daemon) -> Any:
    """Return what the server says of its store."""
    return daemon.client.get("/health/ready").json()["checks"]["store"]


def test_a_full_disk(daemon: Daemon, disk: Path) -> None:
    """Starts, changes and stops are refused; the agent is talked to; with space again everything said is in the transcript."""
    session_id, other = daemon.start(), daemon.start()
    talk(daemon, session_id, "before")
    fill(disk / "filler")
    wait_for("the store says why", lambda: _write(daemon, session_id) and "full" in str(trouble(daemon)))
    refused(daemon.client.post_json("/start", {}), "full")
    refused(change(daemon, session_id), "full")
    talk(daemon, session_id, "meanwhile")
    assert daemon.client.get(f"/{session_id}/status").status == 200
    assert daemon.client.get(f"/sessions/{session_id}").json()["phase"] == "ready"
    assert daemon.client.get("/search").status == 200
    refused(daemon.client.request("POST", f"/sessions/{other}/stop"), "full")
    refused(daemon.delete(other), "full")

    (disk / "filler").unlink()
    wait_for("the store works again", lambda: trouble(daemon) is None)
    wait_for("the transcript is caught up", lambda: said(daemon, session_id) == ["before", "meanwhile"])
    assert daemon.client.get(f"/sessions/{session_id}").json()["description"] != "new"
    stopped = daemon.client.request("POST", f"/sessions/{other}/stop").json()
    assert (stopped["phase"], stopped["ending"]["reason"]) == ("ended", "stopped")
    assert daemon.delete(other).status == 200
    talk(daemon, session_id, "after")
    wait_for("it goes on", lambda: said(daemon, session_id) == ["before", "meanwhile", "after"])


def _write(daemon: Daemon, session_id: str) -> bool:
    """Have something written until it is refused."""
    body = '{"description": "%s"}' % ("y" * 1000)
    return daemon.client.request("PATCH", f"/sessions/{session_id}", body).status == 503


def test_a_read_only_disk(daemon: Daemon, disk: Path) -> None:
    """The same on a disk that is read-only when the server opens the database again, until it can be written."""
    session_id = daemon.start()
    # What is open for writing keeps a disk writable, so the server has to open its file again: a lock makes it do so.
    with closing(sqlite3.connect(disk / "agentproxy.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        subprocess.run(["mount", "--bind", str(disk), str(disk)], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", str(disk)], check=True)
        try:
            # Because of the lock; if the agent's first words met it before, because of the disk already.
            assert change(daemon, session_id).status == 503
            other.execute("ROLLBACK")
            wait_for("the store says why", lambda: "read-only" in str(trouble(daemon)))
            refused(change(daemon, session_id), "read-only")
            talk(daemon, session_id, "meanwhile")
        finally:
            subprocess.run(["umount", "-l", str(disk)], check=True)
    wait_for("the store works again", lambda: trouble(daemon) is None)
    wait_for("the transcript is caught up", lambda: said(daemon, session_id) == ["meanwhile"])
    assert change(daemon, session_id).status == 200


def test_a_database_that_another_program_locks(daemon: Daemon, disk: Path) -> None:
    """While somebody else holds the lock for long, writes are refused after a few seconds, and afterwards they work."""
    session_id = daemon.start()
    with closing(sqlite3.connect(disk / "agentproxy.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        refused(change(daemon, session_id), "lock")
        talk(daemon, session_id, "meanwhile")
        other.execute("ROLLBACK")
    wait_for("the store works again", lambda: trouble(daemon) is None)
    assert change(daemon, session_id).status == 200
    wait_for("the transcript is caught up", lambda: said(daemon, session_id) == ["meanwhile"])


def test_a_damaged_database(daemon: Daemon, disk: Path) -> None:
    """A database whose pages were overwritten is named; agents and forwarding go on; a backup copy put in place helps."""
    session_id = daemon.start()
    talk(daemon, session_id, "before")
    with closing(sqlite3.connect(disk / "agentproxy.db")) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = (disk / "agentproxy.db").stat().st_size
    whole = (disk / "agentproxy.db").read_bytes()
    with (disk / "agentproxy.db").open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(size - 4096))
    refused(daemon.client.post_json("/start", {}), "damaged")
    talk(daemon, session_id, "meanwhile")
    with (disk / "agentproxy.db").open("r+b") as file:
        file.write(whole)
    wait_for("the store works again", lambda: trouble(daemon) is None)
    wait_for("the transcript is caught up", lambda: said(daemon, session_id) == ["before", "meanwhile"])
