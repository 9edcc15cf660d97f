#!/usr/bin/env python3
"""Measure the store on a temporary SQLite file: appends, size of an event, lists, and what the reactor feels.

``scripts/bench_store.py [EVENTS] [SESSIONS]``; the defaults take a few seconds.
"""

from __future__ import annotations

import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import LoopingCall, deferLater, react

from agentproxy.model.event import NewEvent
from agentproxy.model.search import SessionQuery
from agentproxy.model.session import Phase, Session
from agentproxy.store import Sealer, Store

NOW = datetime(2026, 1, 1, tzinfo=UTC)
AT_ONCE = 50


async def appends(store: Store, count: int, pause: float) -> None:
    """Append single events, 50 requests at a time, *pause* seconds between two rounds (0 is as fast as it can)."""
    lags: list[float] = []
    last = begin = time.perf_counter()

    def tick() -> None:
        nonlocal last
        now = time.perf_counter()
        lags.append(max(0.0, now - last - 0.005))
        last = now

    ticking = LoopingCall(tick)
    ticking.start(0.005)
    event = NewEvent("session", "message", NOW, {"id": 1, "content": "x" * 100})
    for turn in range(count // AT_ONCE):
        await gatherResults([Deferred.fromCoroutine(store.append([event])) for _ in range(AT_ONCE)])
        if pause:
            await deferLater(reactor, max(0.0, begin + (turn + 1) * pause - time.perf_counter()))
    taken = time.perf_counter() - begin
    ticking.stop()
    lag = sorted(lags)[int(len(lags) * 0.99)] * 1000
    print(
        f"append, {'paced' if pause else 'at full speed'}: {count / taken:.0f} events/s, reactor lag p99 {lag:.1f} ms"
    )


async def lists(store: Store, count: int) -> None:
    """List the newest 100 of many ended sessions."""
    ended = [
        Session(
            f"s{n:07}", f"user{n % 50}", "demo", Phase.ENDED, NOW + timedelta(seconds=n), NOW, tags={"n": str(n % 9)}
        )
        for n in range(count)
    ]
    begin = time.perf_counter()
    for start in range(0, count, 1000):
        await gatherResults([Deferred.fromCoroutine(store.add_session(s, ())) for s in ended[start : start + 1000]])
    print(f"add_session: {count / (time.perf_counter() - begin):.0f}/s")
    for name, query in {
        "all": SessionQuery(),
        "of a user": SessionQuery(user_id="user7"),
        "with a tag": SessionQuery(tags={"n": "3"}),
    }.items():
        begin = time.process_time()
        for _ in range(20):
            await store.search(query)
        print(f"search {name}, 100 of {count}: {(time.process_time() - begin) / 20 * 1000:.1f} ms of CPU")


async def measure(clock: Any, events: int, sessions: int) -> None:
    """Measure one after the other."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        store = Store(clock, None, directory, secrets=Sealer.from_directory(directory))
        await store.open()
        try:
            await appends(store, events, 0.01)
            await appends(store, events, 0)
            await store.close()
            size = sum(path.stat().st_size for path in directory.glob("agentproxy.db"))
            print(f"size: {size / events / 2:.0f} bytes an event with 100 characters of text")
            await store.open()
            await lists(store, sessions)
        finally:
            await store.close()


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[1:]]
    react(lambda clock: Deferred.fromCoroutine(measure(clock, *[*numbers, *(20_000, 5_000)[len(numbers) :]])))
