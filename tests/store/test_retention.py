"""Retention removes what is old, a little at a time, and leaves a note of what it removed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
import pytest_twisted
from twisted.internet.task import Clock

from agentproxy.features.retaining import BETWEEN_ROUNDS, Keep, Retention
from agentproxy.model.event import NewEvent
from agentproxy.model.message import Message
from agentproxy.model.session import Phase
from agentproxy.store import Store, retention
from agentproxy.store.retention import Bounds
from tests.store.making import NOW, a_session, an_event, an_incarnation

YEAR = timedelta(days=365)


async def remove(store: Store, bounds: Bounds) -> tuple[int, list[str]]:
    """Take steps until nothing is left to remove; return how many events and which sessions went."""
    events, gone = 0, []
    while not (removed := await store.remove_some(bounds)).nothing:
        assert removed.events <= retention.STEP
        events += removed.events
        gone += removed.sessions
    return events, gone


@pytest_twisted.ensureDeferred
async def test_old_events_leave_from_the_front(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events that are too old go in steps; each session knows the last number that it lost, and the numbers go on."""
    monkeypatch.setattr(retention, "STEP", 3)
    old = [NewEvent("a" if n % 2 else "b", "agent.error", NOW - YEAR, {"n": n}) for n in range(8)]
    await store.append([*old, an_event("a"), an_event("c")])
    assert await remove(store, Bounds(events_before=NOW - timedelta(days=1))) == (8, [])
    assert [event.number for event in await store.events(None, 0, 99)] == [9, 10]
    lost = [await store.last_removed_event(name) for name in (None, "a", "b", "c")]
    assert lost == [8, 8, 7, 0]
    assert (await store.append([an_event("b")]))[0].number == 11


@pytest_twisted.ensureDeferred
async def test_a_journal_that_is_too_large_loses_its_oldest(store: Store) -> None:
    """The size is known without counting, and holds after the oldest events went."""
    assert await store.journal_size() == 0
    await store.append([an_event("a", "agent.error", text="x" * 1000) for _ in range(20)])
    full = await store.journal_size()
    assert 20_000 < full < 25_000
    await remove(store, Bounds(journal_bytes=full // 2))
    left = await store.events(None, 0, 99)
    assert [event.number for event in left] == list(range(11, 21))
    assert await store.journal_size() == full // 2


@pytest_twisted.ensureDeferred
async def test_sessions_leave_whole(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of a session that was deleted, or ended, too long ago is left; living ones stay however old they are."""
    monkeypatch.setattr(retention, "STEP", 2)
    old = {"updated_at": NOW - YEAR}
    for name, fields in {
        "ended": {"phase": Phase.ENDED},
        "deleted": {"phase": Phase.ENDED, "deleted_at": NOW - YEAR},
        "living": {"phase": Phase.READY},
    }.items():
        session = replace(a_session(name, tags={"k": "v"}, **fields), **old)  # type: ignore[arg-type]
        await store.add_session(session, [an_event(name) for _ in range(5)])
        await store.add_incarnation(an_incarnation(name))
        await store.put_messages(name, [Message(0, "user", "hi", NOW)])
    assert (await remove(store, Bounds(deleted_before=NOW - timedelta(days=1))))[1] == ["deleted"]
    assert (await remove(store, Bounds(ended_before=NOW - timedelta(days=1))))[1] == ["ended"]
    for name, there in {"ended": False, "deleted": False, "living": True}.items():
        facts = (
            await store.session(name),
            await store.events(name, 0, 9),
            await store.messages(name),
            await store.incarnations(name),
        )
        assert [bool(fact) for fact in facts] == [there] * 4
    await store.add_session(a_session("ended"), [])


@pytest_twisted.ensureDeferred
async def test_rounds_go_on_by_themselves(store: Store) -> None:
    """Retention looks at the start and every hour, clears the directories of sessions that went, and stops when told."""
    clock, cleared = Clock(), []

    async def clear(session_id: str) -> None:
        cleared.append(session_id)

    async def gone(session_id: str) -> None:
        while session_id not in cleared:
            await store.last_event_number()  # lets the store's threads work
            clock.advance(0.1)

    worker = Retention(store, Keep(deleted=1), clear, clock)
    await store.add_session(a_session("one", phase=Phase.ENDED, deleted_at=NOW - YEAR), [])
    worker.start()
    await gone("one")
    await store.add_session(a_session("two", phase=Phase.ENDED, deleted_at=NOW - YEAR), [])
    clock.advance(BETWEEN_ROUNDS)
    await gone("two")
    worker.stop()
    worker.stop()
    assert clock.getDelayedCalls() == []
