"""A whole server whose store is a real PostgreSQL, given by its URL."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.agent_servers import clean_environment
from tests.daemon import Daemon
from tests.journeys.talking import said, talk
from tests.store import postgresql
from tests.waiting import wait_for


@pytest.fixture
def place() -> Iterator[str]:
    """The folder of the socket of a PostgreSQL of this test's own."""
    with postgresql.server() as found:
        if found is None:
            pytest.skip("PostgreSQL is not installed")
        yield found


@pytest.fixture
def settings(place: str) -> Iterator[dict[str, str]]:
    """What a server is told to keep everything in an empty database there."""
    with postgresql.database(place) as url:
        yield {"AGENTPROXY_STORE_URL": url}


def test_sessions_outlive_a_crash(settings: dict[str, str], tmp_path: Path) -> None:
    """Start, talk, `kill -9`, adopt, read on from a cursor, wait, search, delete: all as with the file, and there is no file."""
    first = Daemon(tmp_path, settings=settings)
    second = None
    try:
        session_id = first.start(tags={"colour": "red"}, environment={"API_TOKEN": "open sesame"})
        talk(first, session_id, "before")
        wait_for("the transcript", lambda: said(first, session_id) == ["before"])
        before = first.client.get(f"/sessions/{session_id}/events?limit=1000").json()
        first.crash()
        with psycopg.connect(settings["AGENTPROXY_STORE_URL"]) as connection:
            kept = connection.execute("SELECT environment FROM sessions").fetchall()
        assert "sesame" not in str(kept)
        second = Daemon(tmp_path, settings=settings)
        assert second.client.get(f"/sessions/{session_id}").json()["phase"] == "ready"
        rest = f"/sessions/{session_id}/events?after={before['cursor']}&types=session.adopted&wait=10"
        assert [one["type"] for one in second.client.get(rest).json()["events"]] == ["session.adopted"]
        talk(second, session_id, "after")
        wait_for("the transcript", lambda: said(second, session_id) == ["before", "after"])
        search = f"/sessions/{session_id}/messages?q=SAID%20After"
        found = wait_for("the answer", lambda: second.client.get(search).json()["messages"])
        assert [one["role"] for one in found] == ["agent"]
        assert [one["session_id"] for one in second.client.get("/search?tag.colour=red").json()["sessions"]] == [
            session_id
        ]
        assert second.delete(session_id).status == 200
        assert second.client.get("/search").json()["sessions"] == []
        assert not list((tmp_path / "data").glob("*.db*"))
    finally:
        (second or first).stop()


def test_a_database_that_goes_away(settings: dict[str, str], place: str, tmp_path: Path) -> None:
    """While PostgreSQL is down writes are refused and agents are talked to; when it is back, everything said is there."""
    daemon = Daemon(tmp_path, settings=settings)
    try:
        session_id = daemon.start()
        talk(daemon, session_id, "before")
        postgresql.stop(place)
        try:
            change = daemon.client.request("PATCH", f"/sessions/{session_id}", '{"description": "new"}')
            assert (change.status, change.json()["code"]) == (503, "store_unavailable")
            assert daemon.client.post_json("/start", {}).status == 503
            talk(daemon, session_id, "meanwhile")
        finally:
            postgresql.start(place)
        ready = lambda: daemon.client.get("/health/ready").json()["checks"]["store"]  # noqa: E731
        wait_for("the store works again", lambda: ready() is None)
        wait_for("the transcript is caught up", lambda: said(daemon, session_id) == ["before", "meanwhile"])
        assert daemon.client.request("PATCH", f"/sessions/{session_id}", '{"description": "new"}').status == 200
    finally:
        daemon.stop()


def test_two_servers_do_not_share_a_database(settings: dict[str, str], tmp_path: Path) -> None:
    """A second server with a data directory of its own is told that the database is taken, and takes nobody's session for lost."""
    daemon = Daemon(tmp_path, settings=settings)
    try:
        session_id = daemon.start()
        other = tmp_path / "other"
        other.mkdir()
        environment = clean_environment(other, {"AGENTPROXY_DATA_DIR": str(other / "data"), **settings})
        second = subprocess.run(
            [sys.executable, "-m", "agentproxy", "--port", "0"],
            cwd=other, env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert second.returncode == 1
        assert "a second agentproxy, holds the lock" in second.stdout + second.stderr
        assert daemon.client.get(f"/sessions/{session_id}").json()["phase"] == "ready"
        assert daemon.client.request("PATCH", f"/sessions/{session_id}", '{"description": "new"}').status == 200
    finally:
        daemon.stop()
