"""Databases of each released schema, as they were stored then, are opened by this version with everything in them."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_twisted
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData, create_engine, insert, select
from twisted.internet import reactor

from agentproxy.model.credentials import digest
from agentproxy.model.message import Message
from agentproxy.model.permission import Grant
from agentproxy.model.search import SessionQuery
from agentproxy.model.session import Ending, EndReason, ExitStatus, Phase
from agentproxy.store import Sealer, Store, approvals, deliveries, schema_version, spending, tending, upgrade
from agentproxy.store.audit import AuditStore
from agentproxy.store.engines import address
from agentproxy.store.identity import IdentityStore
from agentproxy.store.sharing import SharingStore
from tests.daemon import Daemon
from tests.store.making import NOW, a_session, an_event, an_incarnation

STORED = Path(__file__).parent / "released"
RELEASED = sorted(path.stem for path in STORED.glob("*.sql"))


def read(revision: str, file: Path) -> None:
    """Put the stored database of *revision* into an SQLite file."""
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript((STORED / f"{revision}.sql").read_text())


def put(revision: str, url: str | None, directory: Path) -> None:
    """Put the stored database of *revision*, and its key, where a store looks for them."""
    shutil.copy(STORED / "secret.key", directory / "secret.key")
    (directory / "secret.key").chmod(0o600)
    if url is None:
        read(revision, directory / "agentproxy.db")
        return
    read(revision, directory / "stored.db")
    old, new = create_engine(f"sqlite:///{directory}/stored.db"), create_engine(address(url, directory))
    with old.connect() as stored, new.begin() as connection:
        upgrade._run(ScriptDirectory(str(schema_version.MIGRATIONS)), connection, revision)
        theirs, ours = MetaData(), MetaData()
        theirs.reflect(stored)
        ours.reflect(connection)
        for name, table in theirs.tables.items():
            rows = [dict(row._mapping) for row in stored.execute(select(table))]
            if name == "counters":
                connection.execute(ours.tables[name].delete())
            if rows and name != "alembic_version":
                connection.execute(insert(ours.tables[name]), rows)
    old.dispose()
    new.dispose()


@pytest.mark.parametrize("revision", RELEASED)
@pytest_twisted.ensureDeferred
async def test_a_stored_database_is_opened(url: str | None, revision: str, tmp_path: Path) -> None:
    """Sessions, lives, secrets, journal, transcript and whatever else it had are there; the journal goes on; a check is content."""
    put(revision, url, tmp_path)
    store = Store(reactor, url, tmp_path, secrets=Sealer.from_directory(tmp_path))  # type: ignore[arg-type]
    await store.open()
    try:
        await _sessions(store)
        await _history(store)
        if revision >= "0002":
            await _identity(store)
        if revision >= "0003":
            await _deliveries(store)
    finally:
        await store.close()
    assert tending.check(url, tmp_path).faults == ()
    if url is None and revision != schema_version.newest():
        [copy] = tmp_path.glob("agentproxy.db.before-*")
        assert schema_version.present(create_engine(f"sqlite:///{copy}")) == revision


async def _sessions(store: Store) -> None:
    ready = await store.session("ready")
    assert ready is not None
    assert (ready.phase, ready.environment, ready.tags, ready.description, ready.port, ready.ready_at) == (
        Phase.READY, {"API_TOKEN": "open sesame"}, {"colour": "red"}, "Über", 9000, NOW,
    )  # fmt: skip
    ending = Ending(EndReason.EXITED, "the agent ended by itself", None, ExitStatus(code=3), ("last words",))
    team = {"owner": "bob", "scope": "team", "team_id": "o/t"}
    ended = a_session("ended", 10, phase=Phase.ENDED, ending=ending, ended_at=NOW, **team)
    assert await store.session("ended") == ended
    assert [one.id for one in (await store.search(SessionQuery())).sessions] == ["ready", "ended"]
    assert [one.id for one in (await store.search(SessionQuery(tags={"colour": "red"}))).sessions] == ["ready"]
    assert await store.open_incarnations() == [an_incarnation("ready", pid=4711, start_ticks=12345)]
    assert [one.ending for one in await store.incarnations("ended")] == [ending]


async def _history(store: Store) -> None:
    kinds = [one.kind for one in await store.events(None, 0, 7)]
    assert kinds == ["session.queued", "session.starting", "session.ready", "agent.status",
                     "session.queued", "session.ended", "session.deleted"]  # fmt: skip
    said = [Message(0, "agent", "Welcome", NOW, True), Message(1, "user", "hello", NOW + timedelta(seconds=1), True)]
    assert (await store.messages("ready"))[:2] == said
    assert await store.put_messages("ready", said) == [], "what the agent server repeats is known"
    last = await store.last_event_number()
    assert [one.number for one in await store.append([an_event("ready")])] == [last + 1]
    before = await store.messages("ready")
    await store.put_messages("ready", [Message(1, "agent", "Back", NOW, True)], incarnation=2)
    after = await store.messages("ready")
    assert (after[:-1], after[-1].content) == (before, "Back"), "another life writes over nothing"


async def _identity(store: Store) -> None:
    identity = IdentityStore(store)
    assert [one.name for one in await identity.accounts()] == ["ci"]
    assert [one.hash for one in await identity.tokens("ci")] == [digest("secret of t1")]
    assert [one.upstream for one in await identity.logins(NOW)] == ["gho"]
    sharing = SharingStore(store)
    assert await sharing.grants() == [Grant("ready", "user:bob", "read")]
    assert [one.token for one in await sharing.shares()] == ["0123456789abcdef0123456789abcdef"]
    count, _last, fault = await AuditStore(store).verify()
    assert (count, fault) == (1, None)


async def _deliveries(store: Store) -> None:
    [delivery], _served = (await store.run(lambda it: deliveries.read_queues(it, ["ready"])))["ready"]
    assert (delivery.id, delivery.sender, delivery.text) == ("d1", "ann", "good morning")
    [approval] = await store.run(approvals.read_open)
    assert (approval.prompt.subject, approval.prompt.choices[0].keys) == ("pytest -q", ("1",))
    assert [one.command for one in await store.run(approvals.read_rules)] == ["pytest *"]
    assert [one.amount for one in await store.run(spending.read_all)] == [3]


def test_every_released_schema_is_stored() -> None:
    """Each step but the newest has its database in ``tests/store/released``: the newest is stored when the next one is made."""
    steps = [step.revision for step in ScriptDirectory(str(schema_version.MIGRATIONS)).walk_revisions()]
    assert set(steps[1:]) <= set(RELEASED)


def test_a_server_goes_on_with_the_oldest_database(tmp_path: Path) -> None:
    """A start on it shows its sessions; the one that ran then is lost, because the machine was started anew, and says so."""
    (tmp_path / "data").mkdir(mode=0o700)
    put("0001", None, tmp_path / "data")
    daemon = Daemon(tmp_path)
    try:
        rows = daemon.client.get("/search?limit=10").json()["sessions"]
        assert [(row["session_id"], row["phase"]) for row in rows] == [("ready", "ended"), ("ended", "ended")]
        ending = daemon.client.get("/sessions/ready").json()["ending"]
        assert (ending["reason"], ending["message"]) == ("lost", "the machine was started anew")
        texts = [row["content"] for row in daemon.client.get("/sessions/ready/messages").json()["messages"]]
        assert texts == ["Welcome", "hello", "You said: hello"]
    finally:
        daemon.stop()
