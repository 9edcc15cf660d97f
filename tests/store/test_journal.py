"""The journal numbers what happened, tells its listeners, and loses nothing."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from sqlalchemy import Connection
from twisted.internet.defer import Deferred, gatherResults
from twisted.python.threadable import isInIOThread

from agentproxy.errors import SESSION_NOT_FOUND, STORE_UNAVAILABLE, Refusal
from agentproxy.model.event import Event
from agentproxy.model.message import Message
from agentproxy.store import Store, StoreError, lives
from agentproxy.store.journal import Entry
from tests.store.making import NOW, a_session, a_store, an_event


def soon(coroutine: Any) -> Deferred[Any]:
    """Return the Deferred of a started coroutine."""
    return Deferred.fromCoroutine(coroutine)


@pytest_twisted.ensureDeferred
async def test_events_are_numbered_and_read_again(store: Store) -> None:
    """A reader with a cursor gets what came after it, of one session or of all, of the kinds that it wants."""
    assert await store.last_event_number() == 0
    added = await store.append([an_event("a", n=1), an_event("b", "message", n=2), an_event("a", "message", n=3)])
    assert [event.number for event in added] == [1, 2, 3]
    assert await store.events(None, 0, 10) == added
    assert await store.events(None, 1, 1) == [added[1]]
    assert await store.events("a", 1, 10) == [added[2]]
    assert await store.events(None, 0, 10, ["message"]) == added[1:]
    assert (await store.last_event_number(), await store.last_event_number("b")) == (3, 2)
    assert await store.last_event_number("nobody") == 0


@pytest_twisted.ensureDeferred
async def test_listeners_hear_in_order_after_the_commit(store: Store) -> None:
    """A listener hears every event once, in order of number, on the reactor thread; a failing one disturbs nobody."""
    heard: list[Event] = []

    def failing(_events: object) -> None:
        raise ValueError("a listener that fails")

    def hear(events: Any) -> None:
        assert isInIOThread()
        heard.extend(events)

    store.on_commit(failing)
    end = store.on_commit(hear)
    asked = [soon(store.append([an_event(n=n)])) for n in range(50)]
    asked += [soon(store.add_session(a_session(f"s{n}"), [an_event(f"s{n}")])) for n in range(10)]
    await gatherResults(asked)
    assert [event.number for event in heard] == list(range(1, 61))
    assert heard == await store.events(None, 0, 100)
    end()
    end()
    await store.append([an_event()])
    assert len(heard) == 60


@pytest_twisted.ensureDeferred
async def test_a_failing_request_does_not_spoil_its_neighbours(store: Store) -> None:
    """Requests of one group are kept although one between them is refused, and numbers have no gap."""
    before = soon(store.append([an_event(n=1)]))
    wrong = soon(store.change_session("nobody", {}, [an_event()]))
    after = soon(store.append([an_event(n=2)]))
    [first], [second] = await before, await after
    with pytest.raises(Refusal) as refused:
        await wrong
    assert refused.value.kind is SESSION_NOT_FOUND
    assert (first.number, second.number) == (1, 2)


@pytest_twisted.ensureDeferred
async def test_a_wrong_request_that_is_alone_leaves_nothing_behind(store: Store) -> None:
    """What it wrote before it failed is taken back, its event is not told, and the store is well."""
    await store.add_session(a_session("one"), [])
    with pytest.raises(StoreError):
        await store.add_session(a_session("one"), [an_event("one")])

    def half_done(connection: Connection) -> tuple[None, list[Entry]]:
        lives.add_session(connection, a_session("two"), store.sealer)
        raise Refusal(SESSION_NOT_FOUND)

    with pytest.raises(Refusal):
        await store.write(half_done)
    assert (await store.session("two"), await store.events(None, 0, 9), store.healthy()) == (None, [], None)
    [event] = await store.append([an_event()])
    assert event.number == 1


@pytest_twisted.ensureDeferred
async def test_what_is_no_json_is_refused_alone(store: Store) -> None:
    """An event whose data is not JSON is its sender's error."""
    with pytest.raises(TypeError):
        await store.append([an_event(wrong=object())])
    assert await store.append([an_event(odd="\ud800\0")]) == await store.events(None, 0, 9)


@pytest_twisted.ensureDeferred
async def test_messages_keep_their_latest_revision(store: Store) -> None:
    """A message that grows is one message; what no text column can hold is replaced."""
    await store.put_messages("one", [Message(0, "user", "hi", NOW, True), Message(1, "agent", "h", NOW)])
    await store.put_messages("one", [Message(1, "agent", "hel", NOW), Message(1, "agent", "hello \ud800\0🙂", NOW)])
    assert await store.messages("one") == [
        Message(0, "user", "hi", NOW, True),
        Message(1, "agent", "hello \ufffd\ufffd🙂", NOW),
    ]
    assert [message.id for message in await store.messages("one", after=0)] == [1]
    assert await store.messages("two") == []


@pytest_twisted.ensureDeferred
async def test_a_closed_store_refuses(tmp_path: Path) -> None:
    """Before it is open and after it is closed the store says so; what was asked before the close is still written."""
    store = a_store(tmp_path)
    assert store.healthy() is not None
    with pytest.raises(Refusal) as refused:
        await store.append([an_event()])
    assert refused.value.kind is STORE_UNAVAILABLE
    await store.open()
    asked = soon(store.append([an_event()]))
    await store.close()
    await store.close()
    assert [event.number for event in await asked] == [1]
    await store.open()
    assert await store.last_event_number() == 1
    await store.close()


CHILD = """
import sys
from pathlib import Path
from twisted.internet import reactor, defer
from tests.store.making import a_store, a_session, an_event

async def main():
    store = a_store(Path(sys.argv[1]))
    await store.open()
    for number in range(100000):
        [event] = await store.add_session(a_session(f"s{number}"), [an_event(f"s{number}")])
        print(event.number, flush=True)

reactor.callWhenRunning(lambda: defer.ensureDeferred(main()))
reactor.run()
"""


@pytest_twisted.ensureDeferred
async def test_kill_9_loses_nothing_that_was_answered(tmp_path: Path) -> None:
    """Every session and event that a process reported as kept is there after it was killed."""
    with subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if int(line) >= 50:
                break
        child.send_signal(signal.SIGKILL)
        answered = [int(line) for line in child.stdout] or [50]
    store = a_store(tmp_path)
    await store.open()
    try:
        assert await store.last_event_number() >= answered[-1]
        kept = await store.events(None, 0, 100000)
        assert [event.number for event in kept] == list(range(1, len(kept) + 1))
        assert len(await store.living_sessions()) == len(kept) >= answered[-1]
    finally:
        await store.close()
