"""Key rotation: a new key seals, and every sealed value is sealed again with it. Blocking; no server may use the database.

The new key is in the file before the first value is sealed with it, and the old ones leave it only after the last one, so that a
crash at any moment leaves every value readable.
"""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Connection, Engine, Table, select, update

from agentproxy.store.claiming import claim
from agentproxy.store.identity_tables import logins, shares
from agentproxy.store.schema import incarnations, sessions
from agentproxy.store.sealing import KEY_FILE, Sealer, read_keys
from agentproxy.store.trouble import StoreError


@dataclass(frozen=True, slots=True)
class Sealed:
    """A column with sealed values.

    :param place: returns where the value of a row stands, as it was sealed for.
    """

    column: Column[Any]
    place: Callable[[Any], str]

    @property
    def table(self) -> Table:
        """Return the table of the column."""
        table = self.column.table
        assert isinstance(table, Table)
        return table


SEALED = (
    Sealed(sessions.c.environment, lambda row: f"sessions/{row.id}/environment"),
    Sealed(incarnations.c.door, lambda row: f"incarnations/{row.session_id}.{row.number}/door"),
    Sealed(shares.c.sealed, lambda row: f"shares/{row.session_id}/sealed"),
    Sealed(logins.c.sealed, lambda row: f"logins/{row.id}/sealed"),
)
"""Every column with sealed values."""


def rows_of(connection: Connection, sealed: Sealed) -> Iterator[tuple[str, str, Any]]:
    """Yield place, sealed value and the condition that finds the row, of every value in a column."""
    keys = list(sealed.table.primary_key.columns)
    wanted = select(*keys, sealed.column.label("sealed_value")).where(sealed.column.is_not(None))
    for row in connection.execute(wanted).all():
        found = [key == value for key, value in zip(keys, row, strict=False)]
        yield sealed.place(row), row.sealed_value, found


def faults(connection: Connection, sealer: Sealer) -> Iterator[str]:
    """Yield a sentence for each sealed value that does not open."""
    for sealed in SEALED:
        for place, value, _found in rows_of(connection, sealed):
            try:
                sealer.open(value, place)
            except StoreError as error:
                yield str(error)


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Hold the lock of a data directory.

    :raises StoreError: a server uses it.
    """
    with claim(directory / "lock", f"a server uses {directory}: stop it first"):
        yield


def rotate(engine: Engine, directory: Path, forget: bool) -> int:
    """Make a new key, seal everything with it, and return how many values were sealed again.

    :param forget: take the old keys out of the key file afterwards; backup copies need them.
    :raises StoreError: a value does not open (then nothing was sealed again), or the key file cannot be used.
    """
    path = directory / KEY_FILE
    Sealer.from_directory(directory)
    old = path.read_text(encoding="ascii")
    line = f"{secrets.token_hex(4)}:{base64.b64encode(os.urandom(32)).decode('ascii')}\n"
    _replace(path, line + old)
    sealer = Sealer(read_keys(line + old, str(path)))
    with engine.begin() as connection:
        count = sum(_seal_again(connection, sealed, sealer) for sealed in SEALED)
    if forget:
        _replace(path, line)
    return count


def _seal_again(connection: Connection, sealed: Sealed, sealer: Sealer) -> int:
    count = 0
    for place, value, found in rows_of(connection, sealed):
        fresh = sealer.seal(sealer.open(value, place), place)
        connection.execute(update(sealed.table).where(*found).values({sealed.column: fresh}))
        count += 1
    return count


def _replace(path: Path, text: str) -> None:
    """Write a file of secrets so that it is whole at any moment and on the disk afterwards."""
    half_made = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    with open(os.open(half_made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    half_made.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
