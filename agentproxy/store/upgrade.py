"""Bringing a database to the schema of this version: a backup copy, then the steps, in one transaction."""

from __future__ import annotations

import threading
from pathlib import Path

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, RevisionStep, StampStep
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from agentproxy.store.copying import backup
from agentproxy.store.trouble import StoreError

_SCRIPTS = Path(__file__).parent / "migrations"
_ONE_AT_A_TIME = threading.Lock()  # alembic's ``op`` is one for the whole process


def upgrade(engine: Engine, file: Path | None) -> None:
    """Bring the database behind *engine* to the newest schema of this version.

    :param file: the SQLite file, copied to ``NAME.before-REVISION`` before a step runs; None for other databases.
    :raises StoreError: the schema is newer than this version.
    """
    steps = ScriptDirectory(str(_SCRIPTS))
    known = {step.revision for step in steps.walk_revisions()}
    present, newest = revisions(engine)
    if present is not None and present not in known:
        raise StoreError(
            f"the database has the schema {present!r}, which this version does not know (its newest is {newest!r}): "
            "install the newer agentproxy that wrote it, or put a backup copy in its place"
        )
    if present == newest:
        return
    if present is not None and file is not None:
        backup(file, file.with_name(f"{file.name}.before-{newest}"))
    with engine.begin() as connection:
        _run(steps, connection)


def revisions(engine: Engine) -> tuple[str | None, str | None]:
    """Return the schema that a database has (None when it is empty) and the newest one of this version."""
    with engine.connect() as connection:
        present = MigrationContext.configure(connection).get_current_revision()
    return present, ScriptDirectory(str(_SCRIPTS)).get_current_head()


def is_newest(engine: Engine) -> bool:
    """Return whether a database has the newest schema of this version."""
    present, newest = revisions(engine)
    return present == newest


def _run(steps: ScriptDirectory, connection: Connection, to: str = "head") -> None:
    def wanted(revision: object, _context: MigrationContext) -> list[StampStep | RevisionStep]:
        return list(steps._upgrade_revs(to, revision))  # type: ignore[arg-type]

    with _ONE_AT_A_TIME, EnvironmentContext(Config(), steps, fn=wanted) as environment:
        environment.configure(connection=connection, transactional_ddl=True)
        environment.run_migrations()
