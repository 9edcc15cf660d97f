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
from typing import Any

import psycopg

_NUMBERS = count(1)
_QUIET: Any = {"check": True, "stdout": subprocess.DEVNULL, "cwd": "/"}


def program(name: str) -> list[str] | None:
    """Return the command of a program of PostgreSQL, run as its own user when we are root; None without it."""
    places = [*Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), *filter(None, [shutil.which(name)])]
    if not places:
        return None
    return [*(["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []), str(places[0])]


@contextmanager
def server() -> Iterator[str | None]:
    """Run a server and give the folder of its socket; None where PostgreSQL is not installed."""
    initdb = program("initdb")
    if initdb is None or program("pg_ctl") is None:
        yield None
        return
    place = tempfile.mkdtemp(prefix="agentproxy-pg-")
    if os.geteuid() == 0:
        shutil.chown(place, "postgres")
    try:
        subprocess.run([*initdb, "-D", f"{place}/data", "-U", "owner", "-A", "trust", "-N"], **_QUIET)
        start(place)
        try:
            yield place
        finally:
            stop(place)
    finally:
        shutil.rmtree(place)


def start(place: str) -> None:
    """Start the server at *place* and return when it answers."""
    options = f"-k {place} -c listen_addresses='' -c fsync=off"
    _control("-D", f"{place}/data", "-o", options, "-l", f"{place}/log", "-w", "start")


def stop(place: str) -> None:
    """End the server at *place* as a crash does: every connection breaks."""
    _control("-D", f"{place}/data", "-m", "immediate", "-w", "stop")


def _control(*arguments: str) -> None:
    subprocess.run([*(program("pg_ctl") or ()), *arguments], **_QUIET)


@contextmanager
def database(place: str) -> Iterator[str]:
    """Make an empty database on the server at *place*, give its URL, and drop it afterwards."""
    name = f"test{next(_NUMBERS)}"
    _statement(place, f"CREATE DATABASE {name}")
    try:
        yield f"postgresql://owner@/{name}?host={place}"
    finally:
        _statement(place, f"DROP DATABASE {name} WITH (FORCE)")


def _statement(place: str, text: str) -> None:
    with psycopg.connect(f"host={place} user=owner dbname=postgres", autocommit=True) as connection:
        connection.execute(text)  # type: ignore[arg-type]
