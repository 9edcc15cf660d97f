"""What an operator does with the database: check it, copy it, write it out, rotate its key; with the real command."""

from __future__ import annotations

import ast
import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import pytest_twisted
from click.testing import CliRunner, Result
from sqlalchemy import create_engine
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from agentproxy.commands.store import store as command
from agentproxy.model.message import Message
from agentproxy.store import Sealer, Store, StoreError, resealing, tending
from tests.store.making import NOW, a_session, a_store, an_event, an_incarnation

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory with a database in use once, which the command finds."""

    async def fill() -> None:
        opened = a_store(tmp_path)
        await opened.open()
        await opened.add_session(a_session(environment={"API_KEY": "hunter2"}), [an_event()])
        await opened.add_incarnation(an_incarnation())
        await opened.put_messages("one", [Message(0, "user", "Grüße \0", NOW)])
        await opened.close()

    pytest_twisted.blockon(Deferred.fromCoroutine(fill()))
    monkeypatch.setenv("AGENTPROXY_DATA_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> Result:
    """Run ``agentproxy store`` in this process."""
    return CliRunner().invoke(command, arguments)


def spoil(place: Path, statement: str) -> None:
    """Change the database behind everybody's back."""
    with closing(sqlite3.connect(place / "agentproxy.db")) as connection:
        connection.execute(statement)
        connection.commit()


def test_a_good_database_is_well(place: Path) -> None:
    """The check counts what is there."""
    result = run("check")
    assert (result.exit_code, result.output.splitlines()[-1]) == (0, "everything is well")
    assert "1 sessions" in result.output


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        (
            "UPDATE counters SET value = 0 WHERE name = 'event'",
            "the journal has the event 2, but its counter stands at 0",
        ),
        ("UPDATE counters SET bytes = 7 WHERE name = 'event'", "its counter says 7"),
        ("DELETE FROM sessions", "1 rows of incarnations belong to no session"),
        ("UPDATE sessions SET environment = 'x:' || environment", "key file does not have"),
        ("UPDATE incarnations SET door = (SELECT environment FROM sessions)", "was changed or moved"),
        ("UPDATE alembic_version SET version_num = '0001'", "the schema is '0001'"),
    ],
)
def test_what_is_wrong_is_said(place: Path, statement: str, sentence: str) -> None:
    """Each kind of damage has its sentence, and the command ends with 1."""
    spoil(place, statement)
    result = run("check")
    assert result.exit_code == 1
    assert sentence in result.output


def test_a_damaged_or_missing_file_is_said(place: Path) -> None:
    """A file that is no database, and no file, are named."""
    data = bytearray((place / "agentproxy.db").read_bytes())
    data[8192:16384] = b"\x55" * 8192
    (place / "agentproxy.db").write_bytes(data)
    result = run("check")
    assert result.exit_code == 1
    assert "damaged" in result.output
    (place / "agentproxy.db").unlink()
    result = run("check")
    assert (result.exit_code, "there is no database at" in result.output) == (1, True)


@pytest_twisted.ensureDeferred
async def test_a_copy_taken_while_the_server_works_opens(place: Path, tmp_path: Path) -> None:
    """A backup holds everything that was committed, secrets included, is for its owner only, and is never written over."""
    used = a_store(place)
    await used.open()
    await used.append([an_event(n=1)])
    result = await deferToThread(run, "backup", str(tmp_path / "copy"))
    assert result.exit_code == 0, result.output
    await used.close()
    assert [path.stat().st_mode & 0o777 for path in sorted((tmp_path / "copy").iterdir())] == [0o600, 0o600]
    copy = a_store(tmp_path / "copy")
    await copy.open()
    session = await copy.session("one")
    assert session is not None
    assert session.environment == {"API_KEY": "hunter2"}
    assert await copy.last_event_number() == 3
    await copy.close()
    assert run("backup", str(tmp_path / "copy")).exit_code == 1
    run("backup", str(tmp_path / "bare"), "--without-key")
    assert [path.name for path in (tmp_path / "bare").iterdir()] == ["agentproxy.db"]


def test_everything_is_written_out_but_secrets(place: Path) -> None:
    """Each line is one object; neither environments nor door secrets nor markers are in it."""
    result = run("export")
    rows = [json.loads(line) for line in result.output.splitlines()]
    assert [row["kind"] for row in rows] == ["session", "incarnation", "message", "event", "event"]
    assert rows[2]["content"] == "Grüße \ufffd"
    assert not re.search("hunter2|open sesame|environment|marker", result.output)


@pytest_twisted.ensureDeferred
async def test_a_rotated_key_opens_everything(place: Path) -> None:
    """After a rotation the old key is not needed, and not there when it was to be forgotten."""
    old = (place / "secret.key").read_text()
    result = run("rotate-key", "--forget-old")
    assert (result.exit_code, result.output[:25]) == (0, "2 values are sealed with "), result.output
    new = (place / "secret.key").read_text()
    assert len(new.splitlines()) == 1
    assert new != old
    assert run("check").exit_code == 0
    again = a_store(place)
    await again.open()
    assert (await again.incarnations("one"))[0].door == "open sesame"
    await again.close()
    run("rotate-key")
    assert (place / "secret.key").read_text().splitlines()[1:] == new.splitlines()


def test_a_rotation_that_fails_leaves_everything_readable(place: Path) -> None:
    """One value that does not open stops the rotation before anything is sealed again; the old key stays."""
    old = (place / "secret.key").read_text()
    spoil(place, "UPDATE incarnations SET door = 'x:y'")
    result = run("rotate-key", "--forget-old")
    assert (result.exit_code, "which the key file does not have" in result.output) == (1, True)
    assert old in (place / "secret.key").read_text()
    engine = create_engine(f"sqlite:///{place}/agentproxy.db")
    with engine.connect() as connection:
        assert len(list(resealing.faults(connection, Sealer.from_directory(place)))) == 1
    engine.dispose()


def test_a_rotation_waits_for_no_server(place: Path) -> None:
    """A server holds the old key in its memory, so the rotation is refused while one runs."""
    with resealing.alone(place):
        result = run("rotate-key")
    assert (result.exit_code, "stop it first" in result.output) == (1, True)


def test_every_sealed_column_is_known() -> None:
    """What is sealed anywhere is in the table that rotation and check go through."""
    known = {f"{one.table.name}/{one.column.name}" for one in resealing.SEALED}
    found = set()
    for path in (ROOT / "agentproxy" / "store").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "*" for part in node.values]
                match = re.fullmatch(r"([a-z_]+)/[*.]+/([a-z_]+)", "".join(map(str, parts)))
                if match:
                    found.add(f"{match[1]}/{match[2]}")
    assert found == known


@pytest_twisted.ensureDeferred
async def test_all_of_it_on_postgresql(url: str | None, store: Store, tmp_path: Path) -> None:
    """Check, export and rotation work on each kind of database; a backup of PostgreSQL is left to its own tools."""
    await store.add_session(a_session(environment={"A": "b"}), [an_event()])

    def work() -> tuple[tuple[str, ...], int, int]:
        faults = tending.check(url, tmp_path).faults
        with tending.opened(url, tmp_path) as (_where, engine):
            sealed = resealing.rotate(engine, tmp_path, forget=False)
        if url is not None:
            with pytest.raises(StoreError, match="pg_dump"):
                tending.backup(url, tmp_path, tmp_path / "copy", True)
        return faults, sealed, len(list(tending.export(url, tmp_path)))

    assert await deferToThread(work) == ((), 1, 2)
