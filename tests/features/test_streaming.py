"""Readers of the journal at any speed: everything once, in order, and nothing held for the slow."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from agentproxy.errors import STORE_UNAVAILABLE, Refusal
from agentproxy.features.beginning import Beginning, begin
from agentproxy.features.looking import VisibleSessions
from agentproxy.features.reading import page
from agentproxy.features.roll import Roll
from agentproxy.features.streaming import Feed, Streams, Wanted
from agentproxy.model.event import Event
from agentproxy.model.principal import LOCAL
from agentproxy.store import Store
from agentproxy.store.journal import Read
from agentproxy.store.retention import Bounds
from tests.store.making import a_session, a_store, an_event


class Reader:
    """A sink that reads at its own speed."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.kinds: list[str] = []
        self.largest = 0
        self.idles = 0
        self.why: str | None = None
        self.feed: Feed | None = None
        self.reached: dict[int, Deferred[None]] = {}

    def events(self, events: Sequence[Event]) -> None:
        self.numbers += [one.number for one in events]
        self.kinds += [one.kind for one in events]
        self.largest = max(self.largest, len(events))
        done = self.reached.pop(self.numbers[-1], None)
        if done is not None:
            done.callback(None)

    def caught_up(self) -> None: ...

    def idle(self) -> None:
        self.idles += 1

    def over(self, why: str) -> None:
        self.why = why

    async def until(self, number: int) -> None:
        """Return when the event with this number has come."""
        if number not in self.numbers:
            self.reached[number] = Deferred()
            await self.reached[number]


async def made(directory: Path) -> tuple[Store, Streams, Clock]:
    """Return an open store with a session, its streams, and their clock."""
    store, clock = a_store(directory), Clock()
    await store.open()
    await store.add_session(a_session(), [an_event()])
    streams = Streams(store, VisibleSessions(store, Roll(), cast(Any, None)), clock)
    streams.start()
    return store, streams, clock


@pytest_twisted.ensureDeferred
async def test_every_event_comes_once_and_in_order_at_any_speed(tmp_path: Path) -> None:
    """Readers that stop and go at random, of one session and of all, get exactly what was committed."""
    store, streams, _clock = await made(tmp_path)
    choose = random.Random(7)
    readers = [Reader() for _ in range(12)]
    for number, reader in enumerate(readers):
        wanted = Wanted("one" if number % 2 else None)
        reader.feed = streams.open(LOCAL, wanted, 0, reader)
    for turn in range(150):
        appended = Deferred.fromCoroutine(store.append([an_event() for _ in range(choose.randrange(1, 40))]))
        for reader in choose.sample(readers, 5):
            assert reader.feed is not None
            choose.choice([reader.feed.pause, reader.feed.resume])()
        if turn % 3 == 0:
            await appended
    await appended
    last = await store.last_event_number()
    for reader in readers:
        assert reader.feed is not None
        reader.feed.resume()
        await reader.until(last)
        assert reader.numbers == list(range(1, last + 1))
    streams.close()
    await store.close()
    assert {reader.why for reader in readers} == {"the server is shutting down"}
    assert len(streams) == 0


@pytest_twisted.ensureDeferred
async def test_nothing_is_held_for_a_reader_that_stands_still(tmp_path: Path) -> None:
    """A paused reader gets nothing and keeps nothing; afterwards it is caught up in pages."""
    store, streams, clock = await made(tmp_path)
    reader = Reader()
    reader.feed = streams.open(LOCAL, Wanted("one"), 0, reader, 50)
    await reader.until(1)
    reader.feed.pause()
    await store.append([an_event() for _ in range(1000)])
    assert reader.numbers == [1]
    held = [getattr(reader.feed, name) for name in Feed.__slots__]
    assert not [value for value in held if isinstance(value, list | dict | set | tuple | bytes) and len(value) > 0]
    clock.advance(60)
    assert reader.idles == 0
    reader.feed.resume()
    await reader.until(1001)
    assert reader.largest == 50
    clock.advance(15)
    clock.advance(15)
    assert reader.idles >= 1
    streams.close()
    await store.close()
    assert clock.getDelayedCalls() == []


@pytest_twisted.ensureDeferred
async def test_a_reader_that_retention_overtakes_is_told(tmp_path: Path) -> None:
    """One that stood still while its next events were removed gets one resync, then what comes after it; nothing silently less."""
    store, streams, _clock = await made(tmp_path)
    slow, sparse = Reader(), Reader()

    async def again(after: int) -> Beginning:
        async def snapshot() -> str:
            return "how things stand"

        return await begin(store, "one", after, snapshot)

    slow.feed = streams.open(LOCAL, Wanted("one"), 0, slow, 50, again)
    await slow.until(1)
    slow.feed.pause()
    await store.append([an_event() for _ in range(100)])
    sparse.feed = streams.open(LOCAL, Wanted("one", frozenset({"agent.error"})), 1, sparse, 50, again)
    while sparse.feed.cursor < 101:
        await store.last_event_number()
    sparse.feed.pause()
    while not (await store.remove_some(Bounds(journal_bytes=1000))).nothing:
        pass
    for reader in (slow, sparse):
        reader.feed.resume()  # type: ignore[union-attr]
    await slow.until(101)
    last = (await store.append([an_event("one", "agent.error", message="x", level="error")]))[0].number
    await slow.until(last)
    await sparse.until(last)
    assert slow.kinds == ["session.ready", "resync", "agent.error"]
    assert slow.numbers == [1, 101, 102]
    assert sparse.kinds == ["agent.error"], "it had read everything, though nothing of it was wanted"
    streams.close()
    await store.close()


@pytest_twisted.ensureDeferred
async def test_a_thousand_readers_cost_no_reading(tmp_path: Path) -> None:
    """Readers that have caught up are handed what is committed: the store is not asked once for each."""
    store, streams, _clock = await made(tmp_path)
    readers = [Reader() for _ in range(1000)]
    for reader in readers:
        streams.open(LOCAL, Wanted("one"), 1, reader)
    first = await store.append([an_event()])
    for reader in readers:
        await reader.until(first[0].number)
    await store.last_event_number()
    asked: list[object] = []
    read = store.next_events

    async def counted(*arguments: Any) -> Read:
        asked.append(arguments)
        return await read(*arguments)

    for _settling in range(3):
        await store.append([an_event()])
    store.next_events = counted  # type: ignore[method-assign,assignment]
    last = (await store.append([an_event()]))[0].number
    for reader in readers:
        await reader.until(last)
    assert len(asked) < 10
    streams.close()
    await store.close()


@pytest_twisted.ensureDeferred
async def test_a_journal_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    """A stream ends with the reason, so that its reader comes again; a page is refused."""
    store, streams, clock = await made(tmp_path)
    await store.close()
    reader = Reader()
    streams.open(LOCAL, Wanted("one"), 0, reader)
    assert reader.why == "the journal cannot be read now"
    try:
        await page(streams, LOCAL, Wanted("one"), 0, 10, 0, clock)
    except Refusal as refusal:
        assert refusal.kind is STORE_UNAVAILABLE
    else:
        raise AssertionError("a page of a closed store")
    streams.close()
    assert clock.getDelayedCalls() == []
