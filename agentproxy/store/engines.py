"""Connections: one engine that writes and one that reads, for SQLite and PostgreSQL.

SQLite: WAL; the driver's own transactions are off, because it begins none before a SELECT; the writing engine begins
with ``BEGIN IMMEDIATE``, so that a lock is waited for at the beginning and never met in the middle.

PostgreSQL: whoever writes holds an advisory lock of the database as long as its connection lives, because two servers on one
database would take each other's sessions for lost.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from agentproxy.store.copying import flush_folder
from agentproxy.store.trouble import StoreError

FILE = "agentproxy.db"
SYNCHRONOUS = ("normal", "full")
_LOCK_WAIT = 5.0  # seconds
_WIRE = {"connect_timeout": 10, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3,
         "tcp_user_timeout": 20_000}  # fmt: skip
"""How long a PostgreSQL behind a broken network is waited for: seconds, and milliseconds for what was sent."""
_CLAIM = 7307497766  # of all advisory locks of the database, ours


def address(url: str | None, directory: Path) -> URL:
    """Return the URL of the database: the given one, else the SQLite file in *directory*.

    :raises StoreError: it is no URL, or neither SQLite nor PostgreSQL.
    """
    if url is None:
        return URL.create("sqlite", database=str(directory / FILE))
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise StoreError("the address of the database is not a URL such as postgresql://host/name") from error
    kind = parsed.get_backend_name()
    if kind == "sqlite" and parsed.database not in (None, "", ":memory:"):
        return parsed
    if kind in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    raise StoreError(f"the address of the database starts with {parsed.drivername!r}: expected a file or PostgreSQL")


def sqlite_file(url: URL) -> Path | None:
    """Return the file of an SQLite database, None for another one."""
    return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None


def make_engines(url: URL, synchronous: str, readers: int, *, alone: bool = True) -> tuple[Engine, Engine]:
    """Return the engine that writes (one connection) and the one that reads (at most *readers*); nothing is opened.

    :param alone: whether nobody else who asks for this may use a PostgreSQL database meanwhile; for a file see ``claiming.py``.
    """
    if synchronous not in SYNCHRONOUS:
        raise StoreError(f"synchronous is {synchronous!r}: expected one of {', '.join(SYNCHRONOUS)}")
    is_file = sqlite_file(url) is not None
    options: dict[str, Any] = {"max_overflow": 0, "pool_pre_ping": not is_file}
    if is_file:
        options["connect_args"] = {"timeout": _LOCK_WAIT, "check_same_thread": False}
    else:
        options["connect_args"] = {name: value for name, value in _WIRE.items() if name not in url.query}
    writing = create_engine(url, pool_size=1, **options)
    reading = create_engine(url, pool_size=readers, **options)
    if is_file:
        _prepare_sqlite(writing, synchronous, "BEGIN IMMEDIATE")
        _prepare_sqlite(reading, synchronous, "BEGIN")
    elif alone:
        _claim_postgresql(writing)
    return writing, reading


def make_private_file(path: Path) -> None:
    """Make the database file readable by its owner only, before SQLite would make it with the umask."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.exists():
        return
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    flush_folder(path.parent)  # SQLite does this for a file that it made itself


def _prepare_sqlite(engine: Engine, synchronous: str, begin: str) -> None:
    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={synchronous}")
        connection.create_function("lower", 1, _lower, deterministic=True)

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        connection.exec_driver_sql(begin)


def _claim_postgresql(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: Any) -> None:
        connection.execute(f"SET lock_timeout = {int(_LOCK_WAIT * 1000)}")
        connection.execute(f"SELECT pg_advisory_lock({_CLAIM})")
        connection.commit()


def _lower(text: Any) -> Any:
    """Return a text in small letters, of every alphabet; SQLite's own function knows only A to Z."""
    return text.lower() if isinstance(text, str) else text
