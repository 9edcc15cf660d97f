"""A PostgreSQL of our own for the tests: one server a run, on a UNIX socket in a temporary folder, a database for each test."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg

_NUMBERS = count(1)


def program(name: str) -> list[str] | None:
    """Return the command of a program of PostgreSQL, run as its own user when we are root; None without it."""
    places = [*Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), *filter(None, [shutil.which(name)])]
    if not places:
        return None
    return [*(["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []), str(places[0])]


@contextmanager
def server() -> Iterator[str | None]:
    """Run a server and give the folder of its socket; None where PostgreSQL is not installed."""
    initdb, control = program("initdb"), program("pg_ctl")
    if initdb is None or control is None:
        yield None
        return
    place = tempfile.mkdtemp(prefix="agentproxy-pg-")
    if os.geteuid() == 0:
        shutil.chown(place, "postgres")
    data = f"{place}/data"
    options = f"-k {place} -c listen_addresses='' -c fsync=off"
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "cwd": "/"}
    try:
        subprocess.run([*initdb, "-D", data, "-U", "owner", "-A", "trust", "-N"], **quiet)  # type: ignore[call-overload]
        start = [*control, "-D", data, "-o", options, "-l", f"{place}/log", "-w", "start"]
        subprocess.run(start, **quiet)  # type: ignore[call-overload]
        try:
            yield place
        finally:
            subprocess.run([*control, "-D", data, "-m", "immediate", "-w", "stop"], **quiet)  # type: ignore[call-overload]
    finally:
        shutil.rmtree(place)


@contextmanager
def database(place: str) -> Iterator[str]:
    """Make an empty database on the server at *place*, give its URL, and drop it afterwards."""
    name = f"test{next(_NUMBERS)}"
    with psycopg.connect(f"host={place} user=owner dbname=postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
        try:
            yield f"postgresql://owner@/{name}?host={place}"
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[arg-type]
