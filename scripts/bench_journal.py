#!/usr/bin/env python3
"""Measure the journal on a temporary SQLite file.

``scripts/bench journal [--rate N] [--seconds N] [--sessions N] [--readers N] [--events N]``. Prints what is accepted at the rate
and what the reactor feels of it, bytes an event, the CPU of a list over many ended sessions, and how long an event takes from its
commit to each of many readers of one session over real sockets (the readers are one child process, which shares the machine).
"""

from __future__ import annotations

import argparse
import json
import selectors
import socket
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from urllib.request import urlopen

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import LoopingCall, deferLater, react
from twisted.internet.utils import getProcessOutput
from twisted.web.http import Request
from twisted.web.server import Site

from agentproxy.features.looking import VisibleSessions
from agentproxy.features.roll import Roll
from agentproxy.model.cors import CorsRules
from agentproxy.model.event import NewEvent
from agentproxy.model.principal import LOCAL, Principal
from agentproxy.model.session import Phase, Session
from agentproxy.store import Sealer, Store
from agentproxy.web.history import History
from agentproxy.web.routing import Face
from agentproxy.web.xapi import Xapi

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROUND = 0.01  # seconds between two groups of requests
ASKED = 50


def at(values: list[float], share: float) -> float:
    """Return the value below which a share of *values* lies."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


class Lag:
    """How late the reactor is for a timer of 5 ms, and how much CPU this process used between two of its ticks.

    The first says what the machine does to us as well; the second is ours alone, the writing thread's included.
    """

    def __init__(self) -> None:
        self.late: list[float] = []
        self.work: list[float] = []
        self._last = time.perf_counter(), time.process_time()
        self._ticking = LoopingCall(self._tick)
        self._ticking.start(0.005)

    def _tick(self) -> None:
        now, used = time.perf_counter(), time.process_time()
        self.late.append(max(0.0, now - self._last[0] - 0.005))
        self.work.append(used - self._last[1])
        self._last = now, used

    def end(self) -> str:
        """Stop, and return the figures."""
        self._ticking.stop()
        late, work = self.late, self.work
        return (
            f"reactor lag p50 {at(late, 0.5) * 1000:.1f} ms, p99 {at(late, 0.99) * 1000:.1f} ms; "
            f"own CPU in a turn p99 {at(work, 0.99) * 1000:.1f} ms"
        )


async def accepted(store: Store, rate: int, seconds: float, directory: Path) -> None:
    """Append single events at a rate, and watch how late the reactor is; before it, without events."""
    idle = Lag()
    await deferLater(cast(Any, reactor), 2.0, lambda: None)
    print(f"without events: {idle.end()}")
    lag = Lag()
    event = NewEvent("session", "message", NOW, {"id": 1, "role": "agent", "content": "x" * 100})
    begin, cpu, count = time.perf_counter(), time.process_time(), 0
    under_way: list[Deferred[Any]] = []
    while time.perf_counter() - begin < seconds:
        under_way = [one for one in under_way if not one.called]
        if len(under_way) < rate:
            under_way += [Deferred.fromCoroutine(store.append([event])) for _ in range(int(rate * ROUND))]
            count += int(rate * ROUND)
        await deferLater(cast(Any, reactor), max(0.0, begin + count / rate - time.perf_counter()), lambda: None)
    await gatherResults(under_way)
    taken, used = time.perf_counter() - begin, time.process_time() - cpu
    told = lag.end()
    print(f"accepted: {count / taken:.0f} events/s of {rate} wanted, {told}; CPU {used / taken * 100:.0f} % of a core")
    print(f"size: {await store.journal_size() / count:.0f} bytes counted for an event with 100 characters of text")
    await store.close()
    await store.open()
    print(f"      {(directory / 'agentproxy.db').stat().st_size / count:.0f} bytes of the file for each")


async def lists(store: Store, count: int) -> None:
    """List the newest 100 of many ended sessions, over HTTP; the client is another process."""
    for start in range(0, count, 1000):
        ended = [
            Session(
                f"s{n:07}",
                f"user{n % 50}",
                "demo",
                Phase.ENDED,
                NOW + timedelta(seconds=n),
                NOW,
                tags={"n": str(n % 9)},
            )
            for n in range(start, min(start + 1000, count))
        ]
        await gatherResults([Deferred.fromCoroutine(store.add_session(one, ())) for one in ended])
    site = Site(
        Face(
            [Xapi(cast(Any, VisibleSessions(store, Roll(), cast(Any, None))), cast(Any, None))], _everybody
        ).app.resource()
    )
    port = cast(Any, reactor).listenTCP(0, site, interface="127.0.0.1")
    for name, query in {
        "all": "",
        "of a user": "user_id=user7",
        "with a tag": "tag.n=3",
        "active": "status=active",
    }.items():
        address = f"http://127.0.0.1:{port.getHost().port}/search?{query}"
        begin = time.process_time()
        found = await cast(Any, getProcessOutput)(
            sys.executable, [__file__, "--ask", address, str(ASKED)], errortoo=True
        )
        used = (time.process_time() - begin) / ASKED * 1000
        print(f"GET /search {name}, {int(found)} of {count} ended sessions: {used:.1f} ms of CPU")
    await port.stopListening()


async def _everybody(_request: Request) -> Principal:
    return LOCAL


def ask(address: str, times: int) -> None:
    """Ask for a list again and again and print how many sessions it had."""
    for _ in range(times):
        with urlopen(address) as answer:
            rows = json.load(answer)["sessions"]
    print(len(rows))


async def fan_out(store: Store, readers: int, events: int) -> None:
    """Write events of one session while many readers hold streams of it."""
    await store.add_session(Session("one", "local", "demo", Phase.READY, NOW, NOW), ())
    history = History(store, VisibleSessions(store, Roll(), cast(Any, None)), CorsRules(), cast(Any, reactor))
    history.start()

    site = Site(Face(history.parts, _everybody).app.resource())
    port = cast(Any, reactor).listenTCP(0, site, backlog=2000, interface="127.0.0.1")
    after = await store.last_event_number()
    arguments = [__file__, "--read", str(port.getHost().port), str(after), str(readers), str(events)]
    reading = cast(Any, getProcessOutput)(sys.executable, arguments, errortoo=True)
    while len(history._streams) < readers:
        await deferLater(cast(Any, reactor), 0.1, lambda: None)
    cpu = time.process_time()
    for number in range(events):
        await deferLater(cast(Any, reactor), 1.0, lambda: None)
        sent = {"message": str(number), "level": "error", "sent": time.time()}
        await store.append([NewEvent("one", "agent.error", datetime.now(UTC), sent)])
    late = json.loads(await reading)
    used = (time.process_time() - cpu) / (events * readers)
    print(
        f"fan-out to {readers} readers, {len(late)} deliveries of {events * readers}: p50 {at(late, 0.5) * 1000:.0f} ms, "
        f"p99 {at(late, 0.99) * 1000:.0f} ms, {used * 1e6:.0f} us of CPU each"
    )
    history.close()
    await port.stopListening()


def read(port: int, after: int, readers: int, events: int) -> None:
    """Hold the streams of *readers* and print how late each event came to each, as JSON."""
    choose = selectors.DefaultSelector()
    ask = f"GET /sessions/one/events?after={after} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n".encode()
    for _ in range(readers):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.sendall(ask)
        choose.register(connection, selectors.EVENT_READ)
    late: list[float] = []
    deadline = time.monotonic() + 30 + 3 * events
    while len(late) < readers * events and time.monotonic() < deadline:
        for key, _mask in choose.select(1.0):
            data = cast(socket.socket, key.fileobj).recv(65536)
            now = time.time()
            late += [now - float(part.split(b"}", 1)[0]) for part in data.split(b'"sent":')[1:]]
    print(json.dumps(late))


async def measure(clock: Any, wanted: argparse.Namespace) -> None:
    """Measure one after the other."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        store = Store(clock, None, directory, secrets=Sealer.from_directory(directory))
        await store.open()
        try:
            await accepted(store, wanted.rate, wanted.seconds, directory)
            await fan_out(store, wanted.readers, wanted.events)
            await lists(store, wanted.sessions)
        finally:
            await store.close()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--ask"]:
        ask(sys.argv[2], int(sys.argv[3]))
        sys.exit()
    if sys.argv[1:2] == ["--read"]:
        read(*map(int, sys.argv[2:]))
        sys.exit()
    parser = argparse.ArgumentParser(description="Measure the journal.")
    for option, default in {"rate": 5000, "seconds": 10, "sessions": 20_000, "readers": 1000, "events": 10}.items():
        parser.add_argument(f"--{option}", type=int, default=default)
    chosen = parser.parse_args()
    react(lambda clock: Deferred.fromCoroutine(measure(clock, chosen)))
