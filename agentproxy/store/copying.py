"""A copy of the database file, and folders whose entries survive a loss of power. Blocking."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from agentproxy.store.trouble import StoreError, sentence


def backup(file: Path, copy: Path) -> None:
    """Write a consistent copy of the SQLite *file*, mode 0600, to *copy*; it appears whole or not at all.

    Blocks for as long as the disk takes.

    :raises StoreError: it cannot be read or written.
    """
    half_made = copy.with_name(f".{copy.name}.half")
    try:
        half_made.unlink(missing_ok=True)
        os.close(os.open(half_made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(half_made)) as target:
            source.backup(target)
        half_made.replace(copy)
        flush_folder(copy.parent)
    except (sqlite3.Error, OSError) as error:
        half_made.unlink(missing_ok=True)
        raise StoreError(f"the copy {copy} cannot be written: {sentence(error)}") from error


def flush_folder(folder: Path) -> None:
    """Flush the entries of a folder: a new or renamed file is found again after a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
