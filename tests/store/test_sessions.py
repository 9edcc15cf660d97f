"""Sessions and incarnations come back as they were kept, and lists page through them."""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_twisted

from agentproxy.errors import INVALID_REQUEST, SESSION_NOT_FOUND, Refusal
from agentproxy.model.search import Listed, SessionQuery, VisibleTo
from agentproxy.model.session import Ending, EndReason, ExitStatus, Phase
from agentproxy.store import Store, StoreError
from tests.store.making import NOW, a_session, a_store, an_event, an_incarnation

FULL = {
    "scope": "team",
    "team_id": "org/blue",
    "description": "Größe \ud800 \0",
    "tags": {"repository": "a/b", "": "empty"},
    "annotations": {"x": "y"},
    "environment": {"API_TOKEN": "hunter2-hunter2"},
    "options": {"wait": [1, None, {"deep": True}]},
    "incarnation": 3,
    "port": 9001,
    "ending": Ending(EndReason.FAILED, "It broke.", "exec", ExitStatus(signal="SIGKILL"), ("a", "b")),
    "ready_at": NOW,
    "ended_at": NOW + timedelta(microseconds=1),
}


@pytest_twisted.ensureDeferred
async def test_a_session_comes_back_whole(store: Store) -> None:
    """Every field of a session is what it was, times to the microsecond."""
    session = a_session(**FULL)
    [event] = await store.add_session(session, [an_event(step="first")])
    assert await store.session("one") == session
    assert event.number == 1
    assert await store.session("two") is None


@pytest_twisted.ensureDeferred
async def test_secrets_are_sealed_in_the_file(file_store: Store, tmp_path: Path) -> None:
    """Neither a request's environment nor a door secret can be read in the files of the database."""
    await file_store.add_session(a_session(**FULL), [])
    await file_store.add_incarnation(an_incarnation())
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("agentproxy.db*"))
    assert b"org/blue" in kept
    assert b"hunter2" not in kept
    assert b"sesame" not in kept
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.glob("agentproxy.db*"))


@pytest_twisted.ensureDeferred
async def test_a_change_is_kept_with_its_events(store: Store) -> None:
    """Changed fields, tags among them, are seen by the next reader; the others stay."""
    await store.add_session(a_session(**FULL), [])
    changed, [event] = await store.change_session("one", {"phase": Phase.ENDED, "tags": {"k": "v"}}, [an_event()])
    assert (changed.phase, changed.tags, changed.environment) == (Phase.ENDED, {"k": "v"}, FULL["environment"])
    assert changed.updated_at > NOW
    assert await store.session("one") == changed
    assert await store.events("one", 0, 10) == [event]
    assert [s.id for s in (await store.search(SessionQuery(tags={"k": "v"}))).sessions] == ["one"]
    assert (await store.search(SessionQuery(tags={"repository": "a/b"}))).sessions == ()


@pytest_twisted.ensureDeferred
async def test_wrong_changes_are_refused(store: Store) -> None:
    """An unknown session, an unknown field and an id that exists already change nothing, and leave no events."""
    await store.add_session(a_session(), [])
    with pytest.raises(Refusal) as refused:
        await store.change_session("nobody", {}, [an_event("nobody")])
    assert refused.value.kind is SESSION_NOT_FOUND
    with pytest.raises(TypeError):
        await store.change_session("one", {"colour": "red"}, [an_event()])
    with pytest.raises(StoreError):
        await store.add_session(a_session(), [an_event()])
    assert await store.events(None, 0, 10) == []
    assert store.healthy() is None


@pytest_twisted.ensureDeferred
async def test_a_list_is_filtered(store: Store) -> None:
    """Status, owner, agent, tags and who looks narrow the list; a deleted session is in none."""
    await store.add_session(a_session("a", 3, tags={"k": "v", "l": "w"}), [])
    await store.add_session(a_session("b", 2, phase=Phase.ENDED, tags={"k": "v"}), [])
    await store.add_session(a_session("c", 1, owner="bob", agent="claude", scope="team", team_id="o/t"), [])
    await store.add_session(a_session("d", 0, deleted_at=NOW), [])

    async def ids(**wanted: object) -> str:
        return "".join(s.id for s in (await store.search(SessionQuery(**wanted))).sessions)  # type: ignore[arg-type]

    assert await ids() == "cba"
    assert await ids(status=Listed.ACTIVE) == "ca"
    assert await ids(status=Listed.INACTIVE) == "b"
    assert await ids(user_id="ann") == "ba"
    assert await ids(agent="claude") == "c"
    assert await ids(tags={"k": "v"}) == "ba"
    assert await ids(tags={"k": "v", "l": "w"}) == "a"
    assert await ids(visible_to=(VisibleTo("ann"),)) == "ba"
    assert await ids(visible_to=(VisibleTo("ann", frozenset({"o/t"})),)) == "cba"
    assert [s.id for s in await store.living_sessions()] == ["a", "c", "d"]


@pytest_twisted.ensureDeferred
async def test_pages_stay_right_while_sessions_are_added(store: Store) -> None:
    """Nothing is shown twice or left out when newer sessions come between two pages, also at equal times."""
    for number in range(7):
        await store.add_session(a_session(f"s{number}", number // 3), [])
    seen, cursor = [], None
    while True:
        page = await store.search(SessionQuery(limit=2, cursor=cursor))
        seen += [session.id for session in page.sessions]
        await store.add_session(a_session(f"new{len(seen)}", -len(seen)), [])
        cursor = page.cursor
        if cursor is None:
            break
    assert seen == ["s2", "s1", "s0", "s5", "s4", "s3", "s6"]


@pytest.mark.parametrize("cursor", ["", "x", "é", "AAAA", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5LmE"])
@pytest_twisted.ensureDeferred
async def test_a_wrong_cursor_is_refused(store: Store, cursor: str) -> None:
    """A cursor that no list gave is the caller's mistake and named so."""
    with pytest.raises(Refusal) as refused:
        await store.search(SessionQuery(cursor=cursor))
    assert refused.value.kind is INVALID_REQUEST
    assert "$.cursor" in refused.value.details


@pytest_twisted.ensureDeferred
async def test_incarnations(store: Store) -> None:
    """Each life of an agent server is kept, completed, and found again while it is open."""
    for number in (2, 1):
        await store.add_incarnation(an_incarnation(number=number))
    ended = Ending(EndReason.EXITED, "It ended.", exit=ExitStatus(3))
    changed = await store.change_incarnation("one", 1, {"ended_at": NOW, "ending": ended, "pid": 7})
    assert await store.incarnations("one") == [changed, an_incarnation(number=2)]
    assert (changed.ending, changed.pid, changed.door) == (ended, 7, "open sesame")
    assert await store.open_incarnations() == [an_incarnation(number=2)]
    with pytest.raises(StoreError):
        await store.change_incarnation("one", 9, {})


@pytest_twisted.ensureDeferred
async def test_a_moved_secret_does_not_open(file_store: Store, tmp_path: Path) -> None:
    """A sealed environment that somebody copied to another session is not opened there."""
    await file_store.add_session(a_session("one", environment={"A": "b"}), [])
    await file_store.add_session(a_session("two"), [])
    with sqlite3.connect(tmp_path / "agentproxy.db") as file:
        file.execute("UPDATE sessions SET environment = (SELECT environment FROM sessions WHERE id = 'one')")
    file.close()
    assert (await file_store.session("one")).environment == {"A": "b"}  # type: ignore[union-attr]
    with pytest.raises(StoreError, match="moved"):
        dict((await file_store.session("two")).environment)  # type: ignore[union-attr]


@pytest_twisted.ensureDeferred
async def test_a_lost_key_hides_only_the_secrets(tmp_path: Path) -> None:
    """Sessions whose key is lost are listed, changed and read; only their environments stay closed, and a found key opens them."""
    first = a_store(tmp_path)
    await first.open()
    await first.add_session(a_session(environment={"A": "b"}), [])
    await first.close()
    (tmp_path / "secret.key").rename(tmp_path / "found.key")
    second = a_store(tmp_path)
    await second.open()
    assert [one.id for one in (await second.search(SessionQuery())).sessions] == ["one"]
    changed, _events = await second.change_session("one", {"description": "new"})
    assert changed.description == "new"
    with pytest.raises(StoreError, match="the key file does not have"):
        dict(changed.environment)
    await second.close()
    (tmp_path / "found.key").rename(tmp_path / "secret.key")
    third = a_store(tmp_path)
    await third.open()
    found = await third.session("one")
    await third.close()
    assert found is not None
    assert (found.environment, found.description) == ({"A": "b"}, "new")
