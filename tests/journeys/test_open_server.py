"""A server without authentication: this machine may do everything, and web pages that somebody visits may not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon import Daemon


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with the default configuration."""
    running = Daemon(tmp_path_factory.mktemp("daemon"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def session_id(daemon: Daemon) -> str:
    """A session."""
    return daemon.start()


EVIL = {"Origin": "https://evil.example", "Content-Type": "text/plain"}


def test_the_start_says_who_may_do_what(daemon: Daemon) -> None:
    """One line in the log."""
    assert "whoever reaches 127.0.0.1:0 is the local administrator and may do everything" in daemon.log.read_text()


def test_a_page_of_another_origin_starts_and_says_nothing(daemon: Daemon, session_id: str) -> None:
    """A form that a page sends without asking is refused at every way in; nothing has happened."""
    before = len(daemon.client.get("/search").json()["sessions"])
    message = json.dumps({"content": "rm -rf", "type": "user"})
    for method, target, body in (
        ("POST", "/start", "{}"),
        ("POST", f"/{session_id}/message", message),
        ("POST", f"/sessions/{session_id}/messages", message),
        ("POST", f"/sessions/{session_id}/stop", ""),
        ("DELETE", f"/sessions/{session_id}", ""),
    ):
        for origin in ("https://evil.example", "null", f"http://127.0.0.1.evil.example:{daemon.port}"):
            reply = daemon.client.request(method, target, body, {**EVIL, "Origin": origin})
            assert (reply.status, reply.json()["code"]) == (403, "foreign_origin"), target
            assert "Access-Control-Allow-Origin" not in reply.headers
    assert len(daemon.client.get("/search").json()["sessions"]) == before
    assert b"rm -rf" not in daemon.client.get(f"/{session_id}/messages").body


def test_pages_of_this_machine_and_programs_may(daemon: Daemon) -> None:
    """A front end on another port of this machine, and whoever sends no origin."""
    for headers in ({"Origin": "http://localhost:3000"}, {"Origin": f"http://127.0.0.1:{daemon.port}"}, {}):
        reply = daemon.client.request("POST", "/start?wait=none", "{}", headers)
        assert reply.status == 200
        assert daemon.delete(reply.json()["session_id"]).status == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80"])
def test_a_name_that_somebody_pointed_at_us_is_not_answered(host: str, daemon: Daemon, session_id: str) -> None:
    """DNS rebinding: neither lists nor agents nor WebSockets under a name that is not ours."""
    for target in ("/search", f"/{session_id}/status", f"/sessions/{session_id}", "/events", "/metrics"):
        reply = daemon.client.request("GET", target, headers={"Host": host})
        assert (reply.status, reply.json()["code"]) == (421, "wrong_host"), target
    assert daemon.client.request("POST", "/start", "{}", {"Host": host}).status == 421


@pytest.mark.parametrize("place", ["0.0.0.0", "192.0.2.1", "::"])
def test_other_machines_are_let_in_only_when_that_is_written_out(place: str, tmp_path: Path) -> None:
    """The start is refused, with what would help."""
    with pytest.raises(AssertionError, match="authentication is off, and other machines reach"):
        Daemon(tmp_path, settings={"AGENTPROXY_LISTEN": place}).stop()
