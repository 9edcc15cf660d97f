"""What an operator does with the database beside the server: check it, copy it, write everything out. Blocking."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, Select, func, select
from sqlalchemy.exc import DBAPIError

from agentproxy.store import journal, resealing, schema_version
from agentproxy.store.claiming import claim_database
from agentproxy.store.copying import backup as copy_file
from agentproxy.store.engines import FILE, address, make_engines, sqlite_file
from agentproxy.store.rows import event_of, message_of, moment
from agentproxy.store.schema import EVENT_COUNTER, counters, events, incarnations, messages, sessions
from agentproxy.store.sealing import KEY_FILE, Sealer
from agentproxy.store.trouble import StoreError, sentence

_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Found:
    """What a check found: facts, and sentences about what is wrong."""

    facts: tuple[str, ...]
    faults: tuple[str, ...]


@contextmanager
def opened(url: str | None, directory: Path, *, alone: bool = False) -> Iterator[tuple[URL, Engine]]:
    """Give the address and the engine of a database that exists.

    :param alone: no server may use it.
    :raises StoreError: there is none, or it cannot be opened or read.
    """
    where = address(url, directory)
    file = sqlite_file(where)
    if file is not None and not file.is_file():
        raise StoreError(f"there is no database at {file}")
    held = claim_database(file) if alone and file is not None else None
    engine, unused = make_engines(where, "full", 1, alone=alone)
    try:
        yield where, engine
    except DBAPIError as error:
        raise StoreError(f"the database {where.render_as_string()} cannot be used: {sentence(error)}") from error
    finally:
        engine.dispose()
        unused.dispose()
        if held is not None:
            held.close()


def check(url: str | None, directory: Path) -> Found:
    """Look whether the database is whole, of this version, and can be read with the keys that are there.

    :raises StoreError: it cannot be opened at all.
    """
    with opened(url, directory) as (where, engine):
        present = schema_version.present(engine)
        with engine.connect() as connection:
            return _checked(connection, where, directory, present)


def _checked(connection: Connection, where: URL, directory: Path, present: str | None) -> Found:
    if present != (newest := schema_version.newest()):
        wrong = f"the schema is {present!r}, this version has {newest!r}: a start of the server brings it up to date"
        return Found((where.render_as_string(),), (*_damage(connection, where), wrong))
    faults = [*_damage(connection, where), *_wrong_numbers(connection)]
    if not faults:
        faults += resealing.faults(connection, Sealer.from_directory(directory))
    return Found((where.render_as_string(), f"schema {present}", *_counts(connection)), tuple(faults))


def _damage(connection: Connection, where: URL) -> Iterator[str]:
    if sqlite_file(where) is not None:
        for (text,) in connection.exec_driver_sql("PRAGMA integrity_check(20)"):
            if text != "ok":
                yield f"the file is damaged: {text}"


def _wrong_numbers(connection: Connection) -> Iterator[str]:
    row = connection.execute(select(counters).where(counters.c.name == EVENT_COUNTER)).one_or_none()
    if row is None:
        yield "the counter of events is missing"
        return
    last, size = connection.execute(
        select(func.max(events.c.number), func.coalesce(func.sum(journal.stored_size()), 0))
    ).one()
    if (last or 0) > row.value:
        yield f"the journal has the event {last}, but its counter stands at {row.value}"
    if size != row.bytes:
        yield f"the journal has {size} bytes, but its counter says {row.bytes}"
    for table in (incarnations, messages):
        stray = select(func.count()).select_from(table).where(table.c.session_id.not_in(select(sessions.c.id)))
        if count := connection.execute(stray).scalar_one():
            yield f"{count} rows of {table.name} belong to no session"


def _counts(connection: Connection) -> Iterator[str]:
    for table in (sessions, incarnations, messages, events):
        yield f"{connection.execute(select(func.count()).select_from(table)).scalar_one()} {table.name}"


def backup(url: str | None, directory: Path, folder: Path, with_key: bool) -> list[Path]:
    """Write a consistent copy of the database, and the key file, into *folder*; a server may be running.

    :returns: the files that were written.
    :raises StoreError: there is a copy already, or the database is no file.
    """
    with opened(url, directory) as (where, _engine):
        file = sqlite_file(where)
        if file is None:
            raise StoreError("this database is not a file: use the tools of PostgreSQL (pg_dump), and copy secret.key")
        target = folder / FILE
        if target.exists():
            raise StoreError(f"there is a copy already: {target}")
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        copy_file(file, target)
        written = [target]
    if with_key and (directory / KEY_FILE).is_file():
        shutil.copyfile(directory / KEY_FILE, folder / KEY_FILE, follow_symlinks=True)
        (folder / KEY_FILE).chmod(0o600)
        written.append(folder / KEY_FILE)
    return written


def export(url: str | None, directory: Path) -> Iterator[str]:
    """Yield one JSON object a line for every session, incarnation, message and event; secrets are left out.

    :raises StoreError: the database cannot be read.
    """
    kinds: tuple[tuple[Select[Any], Callable[[Any], dict[str, Any]]], ...] = (
        (select(sessions).order_by(sessions.c.created_at, sessions.c.id), _session),
        (select(incarnations).order_by(incarnations.c.created_at), _incarnation),
        (select(messages).order_by(messages.c.session_id, messages.c.id), _message),
        (select(events).order_by(events.c.number), _event),
    )
    with opened(url, directory) as (_where, engine), engine.connect() as connection:
        for wanted, shown in kinds:
            for row in connection.execution_options(yield_per=_PAGE).execute(wanted):
                yield json.dumps(shown(row), ensure_ascii=False, default=str)


def _session(row: Any) -> dict[str, Any]:
    facts = {name: getattr(row, name) for name in ("id", "owner", "agent", "phase", "scope", "team_id")}
    times = {name: _time(getattr(row, name)) for name in ("created_at", "updated_at", "deleted_at")}
    return {"kind": "session", **facts, **times, **json.loads(row.record)}


def _incarnation(row: Any) -> dict[str, Any]:
    record = {name: value for name, value in json.loads(row.record).items() if name != "marker"}
    times = {name: _time(getattr(row, name)) for name in ("created_at", "ended_at")}
    return {"kind": "incarnation", "session_id": row.session_id, "number": row.number, **times, **record}


def _message(row: Any) -> dict[str, Any]:
    one = message_of(row)
    facts = {"id": one.id, "incarnation": row.incarnation, "role": one.role, "content": one.content}
    return {"kind": "message", "session_id": row.session_id, **facts, "time": one.time.isoformat(), "final": one.final}


def _event(row: Any) -> dict[str, Any]:
    one = event_of(row)
    facts = {"number": one.number, "session_id": one.session_id, "type": one.kind}
    return {"kind": "event", **facts, "time": one.time.isoformat(), "data": dict(one.data)}


def _time(value: int | None) -> str | None:
    return None if value is None else moment(value).isoformat()
