"""Which schema a database has, known without alembic: its import is dear, and a database is nearly always up to date."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine, column, inspect, select, table

MIGRATIONS = Path(__file__).parent / "migrations"
_VERSION = table("alembic_version", column("version_num"))


def newest() -> str:
    """Return the newest schema of this version: its step is the file ``vNNNN_NAME.py`` with the highest number."""
    return max(path.name for path in MIGRATIONS.glob("versions/v*.py"))[1:5]


def present(engine: Engine) -> str | None:
    """Return the schema of a database, None when it is empty."""
    with engine.connect() as connection:
        if not inspect(connection).has_table(_VERSION.name):
            return None
        found: str | None = connection.execute(select(_VERSION.c.version_num)).scalar()
        return found


def is_newest(engine: Engine) -> bool:
    """Return whether a database has the newest schema of this version."""
    return present(engine) == newest()
