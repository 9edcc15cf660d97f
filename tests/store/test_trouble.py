"""A failing disk makes writing fail with its reason, and nothing else; the store recovers when the disk does."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater

from agentproxy.errors import STORE_UNAVAILABLE, Refusal
from agentproxy.store import Store, StoreError, copying, engines
from tests import disks
from tests.store.making import a_session, a_store, an_event


async def recovered(store: Store) -> None:
    """Return when the store says by itself that it can be written."""
    for _ in range(500):
        if store.healthy() is None:
            return
        await deferLater(reactor, 0.01)
    raise AssertionError(f"not recovered: {store.healthy()}")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    with disks.small_disk(tmp_path / "small", 1) as place:
        yield place


def fill(path: Path) -> None:
    """Write into the file until the disk is full."""
    with contextlib.suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


async def append_much(store: Store) -> None:
    """Write ten megabytes into the journal."""
    for _ in range(100):
        await store.append([an_event(text="y" * 100_000)])


@pytest_twisted.ensureDeferred
async def test_a_full_disk(small_disk: Path) -> None:
    """On a full disk writes are refused with the reason and reads go on; with space again the store writes again."""
    store = a_store(small_disk)
    await store.open()
    try:
        await store.add_session(a_session(), [])
        filler = small_disk / "filler"
        fill(filler)
        with pytest.raises(Refusal) as refused:
            await append_much(store)
        assert refused.value.kind is STORE_UNAVAILABLE
        assert "full" in refused.value.details
        assert "full" in (store.healthy() or "")
        assert await store.session("one") == a_session()
        number = await store.last_event_number()
        filler.unlink()
        await recovered(store)
        assert [event.number for event in await store.append([an_event()])] == [number + 1]
    finally:
        await store.close()


@pytest_twisted.ensureDeferred
async def test_a_copy_that_does_not_fit(small_disk: Path) -> None:
    """A backup on a disk that is too full is a sentence, and nothing half-made stays."""
    store = a_store(small_disk)
    await store.open()
    try:
        fill(small_disk / "filler")
        with pytest.raises(StoreError, match=r"copy.*cannot be written.*full"):
            copying.backup(small_disk / "agentproxy.db", small_disk / "copy.db")
        assert not list(small_disk.glob("*copy.db*"))
    finally:
        await store.close()


@pytest_twisted.ensureDeferred
async def test_a_locked_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another program holds the lock writes are refused; afterwards they work, without anybody's help."""
    monkeypatch.setattr(engines, "_LOCK_WAIT", 0.05)
    store = a_store(tmp_path)
    await store.open()
    try:
        with closing(sqlite3.connect(tmp_path / "agentproxy.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(Refusal) as refused:
                await store.append([an_event()])
            assert "lock" in refused.value.details
            assert await store.events(None, 0, 9) == []
            other.execute("ROLLBACK")
        await recovered(store)
        assert [event.number for event in await store.append([an_event()])] == [1]
    finally:
        await store.close()
