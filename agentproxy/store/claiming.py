"""One server at a time: a lock file beside what two servers would spoil for each other. It is free again when its holder dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO

from agentproxy.store.trouble import StoreError


def claim(path: Path, refusal: str) -> IO[str]:
    """Return a lock file, open and locked; closing it gives it free.

    :param path: made when it is missing; its directory is there.
    :param refusal: the sentence when another process, or another caller in this one, has it.
    :raises StoreError: *refusal*.
    """
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "a", encoding="ascii")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise StoreError(refusal) from None
    return file


def claim_database(file: Path) -> IO[str]:
    """Return the lock of an SQLite database, whatever name and directory it was reached by.

    It is no lock of the file itself: SQLite loses its own when any descriptor of the file is closed.

    :raises StoreError: a server uses the database.
    """
    place = file.resolve()
    return claim(
        place.with_name(f"{place.name}.lock"),
        f"another agentproxy uses the database {file} and would take this one's sessions for lost; "
        "give each its own with store.url",
    )
