"""The same promises on a real PostgreSQL of our own; skipped where it is not installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from agentproxy.errors import Refusal
from agentproxy.model.message import Message
from agentproxy.model.search import SessionQuery, VisibleTo
from agentproxy.store import Sealer, Store, StoreError
from tests.store.making import NOW, a_session, an_event, an_incarnation


def program(name: str) -> list[str] | None:
    """Return the command of a program of PostgreSQL, run as its own user when we are root."""
    places = [*Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), *filter(None, [shutil.which(name)])]
    if not places:
        return None
    return [*(["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []), str(places[0])]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The address of a new server that listens only on a UNIX socket."""
    initdb, control = program("initdb"), program("pg_ctl")
    if initdb is None or control is None:
        pytest.skip("PostgreSQL is not installed")
    place = tempfile.mkdtemp(prefix="agentproxy-pg-")
    if os.geteuid() == 0:
        shutil.chown(place, "postgres")
    data = f"{place}/data"
    options = f"-k {place} -c listen_addresses='' -c fsync=off"
    try:
        subprocess.run([*initdb, "-D", data, "-U", "owner", "-A", "trust", "-N"], check=True, stdout=subprocess.DEVNULL)
        start = [*control, "-D", data, "-o", options, "-l", f"{place}/log", "-w", "start"]
        subprocess.run(start, check=True, stdout=subprocess.DEVNULL)
        try:
            yield f"postgresql://owner@/postgres?host={place}"
        finally:
            stop = [*control, "-D", data, "-m", "immediate", "-w", "stop"]
            subprocess.run(stop, check=True, stdout=subprocess.DEVNULL)
    finally:
        shutil.rmtree(place)


@pytest_twisted.ensureDeferred
async def test_postgresql_keeps_the_same_promises(url: str, tmp_path: Path) -> None:
    """Sessions, pages, numbers without gaps, revisions and incarnations are as on SQLite, also after a restart."""
    store = Store(reactor, url, tmp_path, secrets=Sealer.from_directory(tmp_path))
    await store.open()
    try:
        session = a_session(scope="team", team_id="o/t", tags={"k": "v"}, environment={"A": "b"})
        await store.add_session(session, [an_event()])
        for number in range(5):
            await store.add_session(a_session(f"s{number}", 1 + number), [])
        asked = [Deferred.fromCoroutine(store.append([an_event(odd="\ud800\0")])) for _ in range(20)]
        unknown = Deferred.fromCoroutine(store.change_session("nobody", {}))
        twice = Deferred.fromCoroutine(store.add_session(session, [an_event()]))
        asked += [Deferred.fromCoroutine(store.append([an_event(n=n)])) for n in range(20)]
        await gatherResults(asked)
        with pytest.raises(Refusal, match="not found"):
            await unknown
        with pytest.raises(StoreError):
            await twice
        await store.put_messages("one", [Message(0, "user", "a\0", NOW, True)])
        await store.put_messages("one", [Message(0, "user", "b", NOW)])
        await store.add_incarnation(an_incarnation())
        await store.close()
        await store.open()
        assert [event.number for event in await store.events("one", 0, 100)] == list(range(1, 42))
        first = await store.search(SessionQuery(limit=4))
        second = await store.search(SessionQuery(limit=4, cursor=first.cursor))
        assert [s.id for s in first.sessions + second.sessions] == ["one", "s0", "s1", "s2", "s3", "s4"]
        seen = SessionQuery(tags={"k": "v"}, visible_to=VisibleTo("zoe", frozenset({"o/t"})))
        assert (await store.search(seen)).sessions == (session,)
        assert await store.messages("one") == [Message(0, "user", "b", NOW)]
        assert await store.open_incarnations() == [an_incarnation()]
    finally:
        await store.close()
