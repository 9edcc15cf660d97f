"""An open store on each kind of database, and the proof that it leaves no thread behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from agentproxy.store import Sealer, Store
from tests.store import postgresql
from tests.store.making import a_store


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str | None]:
    """The folder of the socket of a PostgreSQL for this run, None where it is not installed."""
    with postgresql.server() as place:
        yield place


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """The address of an empty database; None is the SQLite file of the directory."""
    if request.param == "sqlite":
        yield None
        return
    place = request.getfixturevalue("postgresql_server")
    if place is None:
        pytest.skip("PostgreSQL is not installed")
    with postgresql.database(place) as address:
        yield address


def opened(store: Store) -> Iterator[Store]:
    """Open a store, give it, close it, and prove that its threads are gone."""
    pytest_twisted.blockon(Deferred.fromCoroutine(store.open()))
    yield store
    pytest_twisted.blockon(Deferred.fromCoroutine(store.close()))
    assert [t.name for t in threading.enumerate() if "agentproxy-store" in t.name] == []


@pytest.fixture
def store(url: str | None, tmp_path: Path) -> Iterator[Store]:
    """An open store on a new database, of each kind."""
    yield from opened(Store(reactor, url, tmp_path, secrets=Sealer.from_directory(tmp_path)))  # type: ignore[arg-type]


@pytest.fixture
def file_store(tmp_path: Path) -> Iterator[Store]:
    """An open store on a new SQLite file, for what is about the file."""
    yield from opened(a_store(tmp_path))
