"""Bringing an older database to the schema of this version: a backup copy, then the steps, in one transaction."""

from __future__ import annotations

import threading
from pathlib import Path

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, RevisionStep, StampStep
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from agentproxy.store import schema_version
from agentproxy.store.copying import backup
from agentproxy.store.trouble import StoreError

_ONE_AT_A_TIME = threading.Lock()  # alembic's ``op`` is one for the whole process


def upgrade(engine: Engine, file: Path | None) -> None:
    """Bring the database behind *engine* to the newest schema of this version.

    :param file: the SQLite file, copied to ``NAME.before-REVISION`` before a step runs; None for other databases.
    :raises StoreError: the schema is newer than this version.
    """
    steps = ScriptDirectory(str(schema_version.MIGRATIONS))
    known = {step.revision for step in steps.walk_revisions()}
    before, after = schema_version.present(engine), schema_version.newest()
    if before is not None and before not in known:
        raise StoreError(
            f"the database has the schema {before!r}, which this version does not know (its newest is {after!r}): "
            "install the newer agentproxy that wrote it, or put a backup copy in its place"
        )
    if before is not None and file is not None:
        backup(file, file.with_name(f"{file.name}.before-{after}"))
    with engine.begin() as connection:
        _run(steps, connection)


def _run(steps: ScriptDirectory, connection: Connection, to: str = "head") -> None:
    def wanted(revision: object, _context: MigrationContext) -> list[StampStep | RevisionStep]:
        return list(steps._upgrade_revs(to, revision))  # type: ignore[arg-type]

    with _ONE_AT_A_TIME, EnvironmentContext(Config(), steps, fn=wanted) as environment:
        environment.configure(connection=connection, transactional_ddl=True)
        environment.run_migrations()
