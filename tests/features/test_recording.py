"""What a session reports while the store fails is not forgotten; what somebody asks for then is refused."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
import pytest_twisted
from twisted.logger import capturedLogs

from agentproxy.errors import STORE_UNAVAILABLE, Refusal
from agentproxy.features.recording import EVENTS_OWED, Recorder
from agentproxy.model.message import Message
from agentproxy.model.session import Phase
from agentproxy.store import Store, engines
from tests.store.making import NOW, a_session, a_store, an_event, an_incarnation


@asynccontextmanager
async def failing(directory: Path) -> AsyncIterator[None]:
    """Let every write of the store in *directory* fail: another program holds the lock."""
    with closing(sqlite3.connect(directory / "agentproxy.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Store, Recorder]:
    """A store that waits for no lock, and the recorder of its session."""
    monkeypatch.setattr(engines, "_LOCK_WAIT", 0.01)
    store = a_store(tmp_path)
    return store, Recorder(store, "one", 1)


async def prepare(store: Store, recorder: Recorder) -> None:
    """Open the store and keep a session with one life."""
    await store.open()
    await store.add_session(a_session(phase=Phase.STARTING), [])
    await store.add_incarnation(an_incarnation())
    recorder.continue_life()


def say(recorder: Recorder, number: int, text: str, role: str = "agent") -> None:
    """Report a revision of a message."""
    recorder.revise(Message(number, role, text, NOW))


@pytest_twisted.ensureDeferred
async def test_what_was_reported_meanwhile_is_written_afterwards(made: tuple[Store, Recorder], tmp_path: Path) -> None:
    """The record, the events in their order, the latest of each message and the end of the life are there, once."""
    store, recorder = made
    await prepare(store, recorder)
    async with failing(tmp_path):
        recorder.tell(an_event("one", "session.step", step="listen"))
        recorder.change({"phase": Phase.READY}, [an_event(port=9000)])
        for text in ("Wel", "Welcome"):
            say(recorder, 0, text)
        say(recorder, 1, "hello", "user")
        recorder.settle()
        recorder.tell(an_event("one", "agent.status", status="stable"))
        recorder.life({"ended_at": NOW})
        await recorder.tried()
        with pytest.raises(Refusal, match="lock") as refused:
            recorder.check()
        assert refused.value.kind is STORE_UNAVAILABLE
        assert await store.events(None, 0, 9) == []
    await recorder.committed()
    recorder.check()
    session = await store.session("one")
    assert session is not None
    assert session.phase is Phase.READY
    assert [one.content for one in await store.messages("one")] == ["Welcome", "hello"]
    assert [one.ended_at for one in await store.incarnations("one")] == [NOW]
    kinds = [one.kind for one in await store.events("one", 0, 99)]
    assert kinds == ["session.step", "session.ready", "agent.status", "message.started", "message", "message"]
    recorder.tell(an_event("one", "agent.status", status="running"))
    await recorder.committed()
    assert len(await store.events("one", 0, 99)) == len(kinds) + 1
    await store.close()


@pytest_twisted.ensureDeferred
async def test_what_somebody_asks_for_is_refused_and_not_kept(made: tuple[Store, Recorder], tmp_path: Path) -> None:
    """A change that was answered with a refusal does not come true later."""
    store, recorder = made
    await prepare(store, recorder)
    async with failing(tmp_path):
        with pytest.raises(Refusal, match="lock"):
            await recorder.commit(lambda: store.change_session("one", {"description": "new"}))
        recorder.check()
    await recorder.commit(lambda: store.append([an_event()]))
    session = await store.session("one")
    assert session is not None
    assert session.description != "new"
    await store.close()


@pytest_twisted.ensureDeferred
async def test_what_is_kept_is_bounded(made: tuple[Store, Recorder], tmp_path: Path) -> None:
    """However long the store fails, a session keeps so many events, the newest ones."""
    store, recorder = made
    await prepare(store, recorder)
    async with failing(tmp_path):
        for number in range(EVENTS_OWED + 50):
            recorder.tell(an_event("one", "agent.error", message=str(number), level="error"))
        await recorder.tried()
    await recorder.committed()
    told = [one.data["message"] for one in await store.events("one", 0, 2 * EVENTS_OWED)]
    assert told == [str(number) for number in range(50, EVENTS_OWED + 50)]
    await store.close()


@pytest_twisted.ensureDeferred
async def test_events_that_wait_for_one_write_are_written_together(made: tuple[Store, Recorder]) -> None:
    """Ten things told at once are two transactions, in their order."""
    store, recorder = made
    await prepare(store, recorder)
    took: list[float] = []
    store.on_effort(took.append)
    for number in range(10):
        recorder.tell(an_event("one", "agent.error", message=str(number), level="error"))
    await recorder.committed()
    assert [one.data["message"] for one in await store.events("one", 0, 99)] == [str(number) for number in range(10)]
    assert len(took) == 2
    await store.close()


@pytest_twisted.ensureDeferred
async def test_what_the_store_does_not_take_holds_nothing_up(made: tuple[Store, Recorder], tmp_path: Path) -> None:
    """One thing that cannot be written at all is given up; what came beside and after it is written."""
    store, first = made
    await prepare(store, first)
    recorder = Recorder(store, "one", 2)
    recorder.continue_life()  # one that the store does not know
    async with failing(tmp_path):
        recorder.life({"ended_at": NOW})
        recorder.tell(an_event("one", "agent.status", status="stable"))
        await recorder.tried()
    await recorder.committed()
    recorder.check()
    recorder.tell(an_event("one", "agent.status", status="running"))
    await recorder.committed()
    assert [one.data["status"] for one in await store.events("one", 0, 9)] == ["stable", "running"]
    await store.close()


@pytest_twisted.ensureDeferred
async def test_a_start_that_ends_before_its_process_has_no_life_to_record(made: tuple[Store, Recorder]) -> None:
    """A start that fails at the clone is over in the record; no life is made up, and nothing is logged as lost."""
    store, recorder = made
    await store.open()
    await store.add_session(a_session(phase=Phase.STARTING), [])
    with capturedLogs() as logged:
        recorder.life({"ended_at": NOW})
        recorder.change({"phase": Phase.ENDED}, [an_event()])
        await recorder.committed()
    assert [one["log_format"] for one in logged] == []
    session = await store.session("one")
    assert session is not None
    assert session.phase is Phase.ENDED
    assert await store.incarnations("one") == []
    await store.close()
