"""Several people on one server: what each sees, what they share, and how it ends when it is taken back."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.agent_servers import clean_environment
from tests.journeys.people import KEYS, ROWS, GuardedDaemon, write_configuration
from tests.waiting import wait_for


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedDaemon]:
    """A daemon that asks everybody who they are; it is used by all tests that leave it as it was."""
    running = GuardedDaemon(tmp_path_factory.mktemp("daemon"))
    yield running
    running.stop()


@pytest.fixture
def own_daemon(tmp_path: Path) -> Iterator[GuardedDaemon]:
    """A daemon for one test, with its data in ``tmp_path``."""
    running = GuardedDaemon(tmp_path)
    yield running
    running.stop()


def has_ended(stream: object) -> bool:
    """Return whether a stream is cut off; it must end soon."""
    try:
        for _event in stream:  # type: ignore[attr-defined]
            pass
    except TimeoutError:
        return False
    except (OSError, ValueError, EOFError):
        return True
    except Exception as error:
        return "IncompleteRead" in type(error).__name__
    return True


def test_each_sees_their_own_and_the_administrator_all(daemon: GuardedDaemon) -> None:
    """Lists, records and agents of others are not there; one cannot start for others; logs show no key."""
    alices, bobs = daemon.started("alice"), daemon.started("bob")
    for name, seen in (("alice", {alices}), ("bob", {bobs}), ("view", set()), ("root", {alices, bobs})):
        listed = daemon.ask(name, "GET", "/search").json()["sessions"]
        assert {one["session_id"] for one in listed} & {alices, bobs} == seen
    assert daemon.ask("root", "GET", f"/{alices}/status").status == 200
    assert daemon.ask("alice", "POST", "/start", {"user_id": "bob"}).json()["error"] == "Insufficient permissions"
    assert daemon.ask("view", "POST", "/start", {}).status == 403
    shown = daemon.ask("root", "POST", "/start", {"user_id": "bob"}).json()["session"]
    assert shown["user_id"] == "bob"
    text = daemon.log.read_text()
    assert not [name for name, key in KEYS.items() if key in text]


def test_a_team_has_its_sessions_in_common(daemon: GuardedDaemon) -> None:
    """Members see, use and stop a session of the team; only its owner deletes it; who is not in it cannot make one."""
    theirs = daemon.ask("root", "POST", "/start", {"scope": "team", "team_id": "o/t"}).json()["session_id"]
    assert daemon.ask("carl", "GET", f"/{theirs}/status").status == 200
    assert [one["session_id"] for one in daemon.ask("carl", "GET", "/search").json()["sessions"]] == [theirs]
    assert daemon.ask("carl", "DELETE", f"/sessions/{theirs}").json()["code"] == "forbidden"
    assert daemon.ask("carl", "POST", f"/sessions/{theirs}/stop").json()["phase"] == "ended"
    assert daemon.ask("bob", "GET", f"/sessions/{theirs}").status == 404
    assert daemon.ask("bob", "POST", "/start", {"scope": "team", "team_id": "o/t"}).status == 403


def test_starts_at_once_get_no_more_than_is_allowed(tmp_path: Path) -> None:
    """Neither more sessions at the same time nor more starts than a budget has, however many requests come together."""
    budget = {"subject": "user bob", "measure": "starts", "limit": 1, "per": "day"}
    daemon = GuardedDaemon(tmp_path, limits={"sessions_per_user": 2}, top={"budgets": [budget]})
    try:
        for name, allowed, code in (("alice", 2, "too_many_sessions"), ("bob", 1, "budget_spent")):
            with ThreadPoolExecutor(8) as pool:
                replies = list(pool.map(lambda _n, name=name: daemon.ask(name, "POST", "/start", {}), range(8)))  # type: ignore[misc]
            assert sorted(one.json().get("code", "") for one in replies) == [""] * allowed + [code] * (8 - allowed)
        ids = [one["session_id"] for one in daemon.ask("alice", "GET", "/search").json()["sessions"]]
        for session_id in ids:
            daemon.ask("alice", "POST", f"/sessions/{session_id}/stop")
        third = daemon.started("alice")
        with ThreadPoolExecutor(2) as pool:
            replies = list(pool.map(lambda one: daemon.ask("alice", "POST", f"/sessions/{one}/restart"), ids))
        assert sorted(one.status for one in replies) == [200, 429]
        assert daemon.ask("alice", "GET", f"/sessions/{third}").json()["phase"] == "ready"
    finally:
        daemon.stop()


def test_a_key_that_is_removed_from_the_file_is_cut_off(own_daemon: GuardedDaemon, tmp_path: Path) -> None:
    """Without a restart: its open stream ends and its next request is refused; the others go on; a new key opens."""
    daemon = own_daemon
    session_id = daemon.started("alice")
    new = {"key": "dora-key-0123456789abcdef0123456789", "user_id": "dora"}
    with (
        daemon.client.events(f"/{session_id}/events", X_API_Key=KEYS["alice"]) as lost,
        daemon.client.events(f"/{session_id}/events", X_API_Key=KEYS["root"]) as kept,
    ):
        kept.until_stable()
        write_configuration(tmp_path, [row for row in ROWS if row["user_id"] != "alice"] + [new])
        assert has_ended(lost)
        assert daemon.ask("alice", "GET", "/search").status == 401
        assert daemon.ask(new["key"], "GET", "/search").status == 200
        daemon.ask(
            "root",
            "POST",
            f"/{session_id}/message",
            {"content": "hello", "type": "user"},
            Content_Type="application/json",
        )
        kept.until_message("You said: hello")


def test_a_revoked_token_loses_its_streams(daemon: GuardedDaemon) -> None:
    """Made through the API it works in the next request; revoked, its stream ends and the next request is refused."""
    session_id = daemon.started("alice")
    made = daemon.ask("alice", "POST", "/auth/tokens", {"name": "watcher", "scopes": ["session.read:own"]})
    assert (made.status, made.headers["Cache-Control"]) == (201, "no-store")
    token = made.json()
    assert daemon.ask(token["token"], "GET", f"/{session_id}/status").status == 200
    assert daemon.ask(token["token"], "POST", f"/{session_id}/message", {"content": "x", "type": "user"}).status == 403
    assert "token" not in daemon.ask("alice", "GET", "/auth/tokens").json()["tokens"][0]
    with daemon.client.events(f"/{session_id}/events", Authorization=f"Bearer {token['token']}") as stream:
        stream.until_stable()
        assert daemon.ask("alice", "DELETE", f"/auth/tokens/{token['id']}").status == 200
        assert has_ended(stream)
    assert daemon.ask(token["token"], "GET", f"/{session_id}/status").status == 401
    assert token["token"] not in daemon.log.read_text()


def test_a_grant_opens_a_session_until_it_is_taken_back(daemon: GuardedDaemon) -> None:
    """Bob reads, then writes, then is a stranger again and loses his stream; the access page says why he could."""
    session_id = daemon.started("alice")
    path = f"/sessions/{session_id}/access"
    assert daemon.ask("alice", "PUT", f"{path}/user:bob", {"access": "read"}).status == 200
    assert session_id in daemon.ask("bob", "GET", "/search").body.decode()
    message = {"content": "from bob", "type": "user"}
    assert daemon.ask("bob", "POST", f"/{session_id}/message", message).status == 403
    assert daemon.ask("alice", "PUT", f"{path}/user:bob", {"access": "write"}).status == 200
    shown = daemon.ask("alice", "GET", f"{path}?user=bob").json()["access"][0]
    verbs = shown["verbs"]
    assert shown["credential"] == "", "she need not know which keys he has"
    assert daemon.ask("root", "GET", f"{path}?user=bob").json()["access"][0]["credential"]
    assert verbs["session.message"] == {"allowed": True, "because": "shared for write with user:bob"}
    assert verbs["session.stop"]["allowed"] is False
    assert daemon.ask("bob", "GET", f"{path}?user=alice").json()["code"] == "forbidden"
    with daemon.client.events(f"/{session_id}/events", X_API_Key=KEYS["bob"]) as stream:
        stream.until_stable()
        assert daemon.ask("alice", "DELETE", f"{path}/user:bob").status == 200
        assert has_ended(stream)
    assert daemon.ask("bob", "GET", f"/sessions/{session_id}").status == 404


def test_no_way_to_write_a_path_keeps_a_stream(daemon: GuardedDaemon) -> None:
    """What is taken back is taken back however the session's path was written."""
    session_id = daemon.started("alice")
    grant = f"/sessions/{session_id}/access/user:bob"
    for path in (f"/sessions/%{ord(session_id[0]):x}{session_id[1:]}/events", f"/%73essions/{session_id}/events"):
        assert daemon.ask("alice", "PUT", grant, {"access": "read"}).status == 200
        with daemon.client.events(path, X_API_Key=KEYS["bob"], Accept="text/event-stream") as stream:
            stream.until(lambda event: event.name == "session.ready")
            assert daemon.ask("alice", "DELETE", grant).status == 200
            assert has_ended(stream)


def test_a_share_link_reads_and_is_taken_back(own_daemon: GuardedDaemon, tmp_path: Path) -> None:
    """As agentapi-proxy: one link a session, for whoever has a key, read-only; revoked it ends what it had opened."""
    daemon = own_daemon
    session_id = daemon.started("alice")
    path = f"/sessions/{session_id}/share"
    assert daemon.ask("alice", "GET", path).json()["error"] == "Share not found for this session"
    assert daemon.ask("bob", "POST", path).status == 404
    made, again = daemon.ask("alice", "POST", path), daemon.ask("alice", "POST", path)
    assert (made.status, again.status, made.json()) == (201, 200, again.json())
    link = made.json()["share_url"]
    assert daemon.ask("alice", "GET", path).json()["is_expired"] is False
    assert daemon.ask("bob", "GET", f"{link}status").status == 200
    assert daemon.ask("bob", "GET", f"/{session_id}/status").status == 404
    assert daemon.ask(None, "GET", f"{link}status").status == 401
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert daemon.ask("bob", method, f"{link}message", {}).json()["error"] == "Shared sessions are read-only"
    assert daemon.ask("alice", "POST", f"{link}message", {}).status == 403
    assert daemon.ask("bob", "GET", f"/s/{'0' * 32}/status").json()["error"] == "Invalid share token"
    with daemon.client.events(f"{link}events", X_API_Key=KEYS["bob"]) as stream:
        stream.until_stable()
        assert daemon.ask("alice", "DELETE", path).json()["message"] == "Share revoked successfully"
        assert has_ended(stream)
    assert daemon.ask("bob", "GET", f"{link}status").json()["error"] == "Invalid share token"
    daemon.stop()
    token = made.json()["token"].encode()
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and token in path.read_bytes()]


def test_a_link_may_write_and_expire(daemon: GuardedDaemon) -> None:
    """A link made for writing lets messages in; a viewer cannot even then; an expired one is gone; a deleted session's too."""
    session_id = daemon.started("alice")
    path = f"/sessions/{session_id}/share"
    assert daemon.ask("alice", "POST", path, {"access": "own"}).status == 400
    link = daemon.ask("alice", "POST", path, {"access": "write", "expires_in": 3600}).json()["share_url"]
    message = {"content": "hello", "type": "user"}
    with daemon.client.events(f"{link}events", X_API_Key=KEYS["bob"]) as stream:
        stream.until_stable()
        assert daemon.ask("bob", "POST", f"{link}message", message, Content_Type="application/json").status == 200
        stream.until_message("You said: hello")
    assert daemon.ask("view", "POST", f"{link}message", message).status in (403, 404)
    daemon.ask("alice", "DELETE", path)
    short = daemon.ask("alice", "POST", path, {"expires_in": 1}).json()["share_url"]
    gone = wait_for(
        "the link expires", lambda: (one := daemon.ask("bob", "GET", f"{short}status")).status != 200 and one
    )
    assert (gone.status, gone.json()["error"]) == (410, "Share link has expired")
    daemon.ask("alice", "DELETE", path)
    last = daemon.ask("alice", "POST", path).json()["share_url"]
    assert daemon.ask("alice", "DELETE", f"/sessions/{session_id}").status == 200
    assert daemon.ask("bob", "GET", f"{last}status").json()["error"] == "Invalid share token"


def test_a_grant_to_a_team_opens_for_its_members(daemon: GuardedDaemon) -> None:
    """The slash of a team's name may be written either way."""
    session_id = daemon.started("alice")
    for team in ("o/t", "o%2Ft"):
        path = f"/sessions/{session_id}/access/team:{team}"
        assert daemon.ask("alice", "PUT", path, {"access": "read"}).json()["grantee"] == "team:o/t"
        assert daemon.ask("carl", "GET", f"/{session_id}/status").status == 200
        assert daemon.ask("bob", "GET", f"/{session_id}/status").status == 404
        assert daemon.ask("alice", "DELETE", path).status == 200
        assert daemon.ask("carl", "GET", f"/{session_id}/status").status == 404


def test_a_logged_out_front_end_learns_how_to_log_in(daemon: GuardedDaemon) -> None:
    """Types and status answer everybody; user info only who has a key."""
    types = daemon.ask(None, "GET", "/auth/types").json()
    assert types == {"enabled": True, "types": [{"type": "api_key", "name": "API Key", "available": True}]}
    assert daemon.ask(None, "GET", "/auth/status").json() == {"authenticated": False}
    assert daemon.ask("wrong", "GET", "/auth/status").json() == {"authenticated": False}
    known = daemon.ask("root", "GET", "/auth/status").json()
    assert (known["authenticated"], known["auth_type"], known["user_id"], known["role"]) == (
        True,
        "api_key",
        "root",
        "admin",
    )
    assert known["permissions"] == ["*"]
    assert daemon.ask(None, "GET", "/user/info").json()["message"].startswith("Authentication required")
    assert daemon.ask("carl", "GET", "/user/info").json() == {"username": "carl", "teams": ["o/t"]}


def test_the_audit_says_who_tried_what_and_is_whole(own_daemon: GuardedDaemon, tmp_path: Path) -> None:
    """Starts, refusals and messages with actor and address; one's own with one's own permission; a change is found."""
    daemon = own_daemon
    session_id = daemon.started("alice")
    daemon.ask("bob", "DELETE", f"/sessions/{session_id}")
    daemon.ask("root", "POST", f"/{session_id}/message", {"content": "hi", "type": "user"})
    daemon.ask(None, "GET", "/search")
    daemon.ask("wrong-key", "GET", "/search")

    def noted() -> list[tuple[object, ...]] | None:
        entries = daemon.ask("root", "GET", f"/audit?session_id={session_id}").json()["entries"]
        rows = [(one["actor"], one["verb"], one["allowed"], one["address"]) for one in entries]
        return rows if len(rows) >= 3 else None

    assert wait_for("the audit is written", noted)[:3] == [
        ("alice", "session.start", True, "127.0.0.1"),
        ("bob", "session.delete", False, "127.0.0.1"),
        ("root", "session.message", True, "127.0.0.1"),
    ]
    refused = wait_for("the refusal", lambda: daemon.ask("root", "GET", "/audit?actor=").json()["entries"])
    assert "auth.refused" in {one["verb"] for one in refused}
    assert daemon.ask("bob", "GET", "/audit").status == 403
    assert daemon.ask("bob", "POST", "/auth/accounts", {"name": "bobs", "role": "admin"}).status == 403
    wanted = {("GET /audit", False), ("POST /auth/accounts", False)}
    wait_for(
        "other refusals",
        lambda: (
            wanted
            <= {
                (one["verb"], one["allowed"]) for one in daemon.ask("root", "GET", "/audit?actor=bob").json()["entries"]
            }
        ),
    )
    assert {one["actor"] for one in daemon.ask("carl", "GET", "/audit").json()["entries"]} <= {"carl"}
    daemon.stop()
    whole = verify(tmp_path)
    assert (whole.returncode, "none changed" in whole.stdout) == (0, True), whole.stderr
    with sqlite3.connect(tmp_path / "data" / "agentproxy.db") as connection:
        connection.execute("UPDATE audit SET record = replace(record, '\"bob\"', '\"eve\"')")
    broken = verify(tmp_path)
    assert (broken.returncode, "was changed" in broken.stderr) == (1, True), broken.stdout


def verify(directory: Path) -> subprocess.CompletedProcess[str]:
    """Run ``agentproxy audit verify`` on the data of a daemon."""
    return subprocess.run(
        [sys.executable, "-c", "import sys; from agentproxy.cli import main; sys.exit(main())", "audit", "verify"],
        cwd=directory,
        env=clean_environment(directory, {"AGENTPROXY_DATA_DIR": str(directory / "data")}),
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_rates_and_counts_of_one_user(tmp_path: Path) -> None:
    """Starts and messages over the rate and sessions over the count are 429 with Retry-After, for that user only."""
    limits = {"starts_per_minute": 2, "messages_per_minute": 1, "sessions_per_user": 1}
    daemon = GuardedDaemon(tmp_path, limits=limits)
    try:
        session_id = daemon.started("alice")
        full = daemon.ask("alice", "POST", "/start", {})
        assert (full.status, full.json()["code"], bool(full.headers["Retry-After"])) == (429, "too_many_sessions", True)
        message = {"content": "x", "type": "user"}
        daemon.ask("alice", "POST", f"/{session_id}/message", message, Content_Type="application/json")
        often = daemon.ask("alice", "POST", f"/{session_id}/message", message)
        assert (often.status, often.json()["code"], bool(often.headers["Retry-After"])) == (
            429,
            "too_many_requests",
            True,
        )
        assert daemon.ask("alice", "GET", f"/{session_id}/status").status == 200
        daemon.ask("alice", "POST", f"/sessions/{session_id}/stop")
        second = daemon.started("alice")
        again = daemon.ask("alice", "POST", f"/sessions/{session_id}/restart")
        assert (again.status, again.json()["code"]) == (429, "too_many_sessions")
        daemon.ask("alice", "DELETE", f"/sessions/{second}")
        assert daemon.ask("alice", "POST", "/start", {}).json()["code"] == "too_many_requests"
        daemon.started("bob")
    finally:
        daemon.stop()


def test_the_first_administrator_gets_a_key_once(tmp_path: Path) -> None:
    """With authentication and nobody who could log in, a key is shown at the first start, works, and is not shown again."""
    first = GuardedDaemon(tmp_path, static={"enabled": False})
    try:
        [key] = [word for word in first.log.read_text().split() if word.startswith("ap_")]
        assert first.ask(key, "GET", "/auth/status").json()["role"] == "admin"
        assert first.ask("root", "GET", "/search").status == 401
    finally:
        first.stop()
    again = GuardedDaemon(tmp_path, static={"enabled": False})
    try:
        assert "ap_" not in again.log.read_text()
        assert again.ask(key, "GET", "/search").status == 200
    finally:
        again.stop()
