"""Opening a database: a new one, one of this version, a newer one, a damaged one."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import pytest_twisted
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from twisted.internet import reactor

from agentproxy.store import Sealer, Store, StoreError, copying, schema_version, tending
from agentproxy.store.schema import metadata
from tests.store.making import a_session, a_store


def execute(file: Path, statement: str) -> None:
    """Run one statement on a database file and commit it."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(statement)
        connection.commit()


def newest() -> str:
    """Return the schema of this version."""
    return str(ScriptDirectory(str(schema_version.MIGRATIONS)).get_current_head())


def tables(file: Path) -> set[str]:
    """Return the names of the tables in a database file."""
    with closing(sqlite3.connect(file)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


@pytest_twisted.ensureDeferred
async def test_the_steps_make_the_tables_of_the_code(file_store: Store, tmp_path: Path) -> None:
    """A new database has the tables, columns and indexes that the code describes."""
    engine = create_engine(f"sqlite:///{tmp_path}/agentproxy.db")
    with engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()
    assert differences == []


@pytest_twisted.ensureDeferred
async def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    """A database of a newer version stops the start with a sentence, and an older program changes nothing in it."""
    store, file = a_store(tmp_path), tmp_path / "agentproxy.db"
    await store.open()
    await store.close()
    execute(file, "UPDATE alembic_version SET version_num = '9999'")
    before = file.read_bytes()
    with pytest.raises(StoreError, match=r"'9999'.*newer agentproxy"):
        await store.open()
    assert file.read_bytes() == before
    assert store.healthy() == "the store is closed"
    execute(file, f"UPDATE alembic_version SET version_num = '{newest()}'")
    await store.open()
    await store.close()


@pytest_twisted.ensureDeferred
async def test_a_file_that_another_server_uses_is_refused(tmp_path: Path) -> None:
    """Two servers with one SQLite address do not share it, whatever name it has: the second one gets a sentence."""
    first, link = a_store(tmp_path), tmp_path / "link.db"
    await first.open()
    link.symlink_to(tmp_path / "agentproxy.db")
    own = tmp_path / "own"
    own.mkdir()
    second = Store(reactor, f"sqlite:///{link}", own, secrets=Sealer.from_directory(own))
    with pytest.raises(StoreError, match=r"another agentproxy uses the database .*link\.db.*store\.url"):
        await second.open()
    with pytest.raises(StoreError, match="another agentproxy"), tending.opened(None, tmp_path, alone=True):
        pass
    await first.run(lambda connection: connection.exec_driver_sql("DELETE FROM counters WHERE 0"), writes=True)
    await first.close()
    await second.open()
    await second.close()


@pytest_twisted.ensureDeferred
async def test_a_database_is_used_beside_its_server(
    url: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command uses it for a moment, before, while and after a server does; it does not upgrade it under a server."""

    def store(beside: bool) -> Store:
        return Store(reactor, url, tmp_path, secrets=Sealer.from_directory(tmp_path), beside=beside)

    early, server, late = store(True), store(False), store(True)
    await early.open()
    await server.open()
    await late.open()
    await late.add_session(a_session(), [])
    assert await server.session("one") == a_session()
    await late.close()
    monkeypatch.setattr("agentproxy.store.database.is_newest", lambda _engine: False)
    monkeypatch.setattr("agentproxy.store.engines._LOCK_WAIT", 0.2)
    with pytest.raises(StoreError, match=r"another (agentproxy|program)"):
        await late.open()
    await server.close()
    await early.close()
    await late.open()
    await late.close()


def test_the_newest_schema_is_known_without_the_library_of_migrations() -> None:
    """What a start compares is what the steps end with; a start imports nothing that only few need."""
    assert schema_version.newest() == newest()
    program = "import sys, agentproxy.service.daemon; print(sorted({'alembic', 'mako', 'pygments', 'joserfc'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest_twisted.ensureDeferred
async def test_an_older_schema_is_copied_then_upgraded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start on an older database keeps its sessions, brings the new tables, and leaves a copy of what was before."""
    store = a_store(tmp_path)
    await store.open()
    await store.add_session(a_session(), [])
    await store.close()
    steps = tmp_path / "migrations"
    shutil.copytree(schema_version.MIGRATIONS, steps)
    (steps / "versions" / "v8000_more.py").write_text(
        f"from alembic import op\nrevision, down_revision = '8000', '{newest()}'\n"
        "def upgrade():\n    op.execute('CREATE TABLE more (id INTEGER)')\n"
    )
    monkeypatch.setattr(schema_version, "MIGRATIONS", steps)
    await store.open()
    assert await store.session("one") == a_session()
    await store.close()
    assert tables(tmp_path / "agentproxy.db") - tables(tmp_path / "agentproxy.db.before-8000") == {"more"}


@pytest_twisted.ensureDeferred
async def test_a_backup_copy_is_a_whole_database(file_store: Store, tmp_path: Path) -> None:
    """A copy taken while the store is in use opens and holds what was committed; only its owner reads it."""
    session = a_session(environment={"A": "b"})
    await file_store.add_session(session, [])
    place = tmp_path / "elsewhere"
    place.mkdir()
    copying.backup(tmp_path / "agentproxy.db", place / "agentproxy.db")
    assert (place / "agentproxy.db").stat().st_mode & 0o777 == 0o600
    (place / "secret.key").write_bytes((tmp_path / "secret.key").read_bytes())
    (place / "secret.key").chmod(0o600)
    copy = a_store(place)
    await copy.open()
    assert await copy.session("one") == session
    await copy.close()


@pytest_twisted.ensureDeferred
async def test_a_damaged_file_stops_the_start(tmp_path: Path) -> None:
    """A file that is no database is named, not written over."""
    (tmp_path / "agentproxy.db").write_bytes(b"something else " * 1000)
    with pytest.raises(StoreError, match=r"agentproxy\.db.*damaged"):
        await a_store(tmp_path).open()
    assert (tmp_path / "agentproxy.db").read_bytes().startswith(b"something else")


@pytest.mark.parametrize("url", ["nonsense", "mysql://host/name", "sqlite://"])
def test_a_wrong_address_is_refused(url: str, tmp_path: Path) -> None:
    """Only files and PostgreSQL are known; the refusal shows no password."""
    with pytest.raises(StoreError, match="address of the database"):
        Store(None, url, tmp_path, secrets=Sealer({"a": b"k" * 32}))  # type: ignore[arg-type]
