"""What the store keeps of what was said, and what the journal says of it: each thing once, whatever is repeated."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import pytest_twisted

from agentproxy.model.event import NewEvent
from agentproxy.model.message import Message
from agentproxy.store import Store, inheriting
from tests.store.making import NOW, a_store, an_event, an_incarnation


def said(*texts: str) -> list[Message]:
    """Return messages by turns, the agent's first."""
    return [Message(n, "user" if n % 2 else "agent", text, NOW) for n, text in enumerate(texts)]


async def told(store: Store, session_id: str = "one") -> list[tuple[str, object]]:
    """Return what the journal says: kinds with ids or texts."""
    events = await store.events(session_id, 0, 1000)
    return [(one.kind, one.data.get("content", one.data["id"])) for one in events]


@pytest_twisted.ensureDeferred
async def test_a_message_that_grows_is_told_when_it_begins_and_when_it_stands(store: Store) -> None:
    """The journal has no event for each revision, and the text that stands at the end."""
    for text in ("W", "Wel", "Welcome"):
        await store.put_messages("one", said(text))
    await store.settle_messages("one", 1)
    await store.settle_messages("one", 1)
    await store.put_messages("one", [*said("Welcome", "hi")[1:]])
    assert await told(store) == [("message.started", 0), ("message", "Welcome"), ("message", "hi")]
    assert [message.content for message in await store.messages("one")] == ["Welcome", "hi"]


@pytest_twisted.ensureDeferred
async def test_what_an_agent_server_repeats_is_not_told_again(tmp_path: Path) -> None:
    """After a crash an agent server tells everything again; only what is new comes into the journal."""
    before = a_store(tmp_path)
    await before.open()
    await before.put_messages("one", said("Welcome", "hi", "Hel"))
    await before.settle_messages("one", 1)
    await before.close()
    after = a_store(tmp_path)
    await after.open()
    try:
        count = len(await told(after))
        await after.put_messages("one", said("Welcome", "hi", "Hello"))
        await after.settle_messages("one", 1)
        assert (await told(after))[count:] == [("message", "Hello")]
    finally:
        await after.close()


@pytest_twisted.ensureDeferred
async def test_a_restart_does_not_write_over_what_was_said(store: Store) -> None:
    """The next agent server counts from 0 again; the transcript of the session goes on."""
    await store.put_messages("one", said("first", "you"), incarnation=1)
    await store.put_messages("one", said("second", "me", "too"), incarnation=2)
    await store.put_messages("one", said("second", "me", "two"), incarnation=2)
    kept = await store.messages("one")
    assert [(one.id, one.content) for one in kept] == [(0, "first"), (1, "you"), (2, "second"), (3, "me"), (4, "two")]
    assert [one.id for one in await store.messages_of_life("one", 2, 0, 9)] == [1, 2]


@pytest_twisted.ensureDeferred
async def test_what_was_told_of_open_lives(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes over reads the messages and errors of every life that is open, page by page, and of no other."""
    monkeypatch.setattr(inheriting, "PAGE", 2)
    for session_id, number in (("one", 1), ("one", 2), ("two", 1), ("mute", 1)):
        await store.add_incarnation(an_incarnation(session_id, number))
    await store.change_incarnation("one", 1, {"ended_at": NOW})
    await store.put_messages("one", said("old", "talk"), incarnation=1)
    await store.put_messages("one", said("a", "b", "c"), incarnation=2)
    await store.put_messages("two", said("d", "e", "f", "g"), incarnation=1)
    before = NewEvent("two", "agent.error", NOW - timedelta(seconds=1), {"message": "before", "level": "warning"})
    await store.append([before, an_event("two", "agent.error", message="oops", level="warning"), an_event("two")])
    told = await store.run(inheriting.read_told)
    texts = {life: {place: one.content for place, one in found.messages.items()} for life, found in told.items()}
    assert texts == {("one", 2): dict(enumerate("abc")), ("two", 1): dict(enumerate("defg"))}
    assert {life: [one.data["message"] for one in found.errors] for life, found in told.items()} == {
        ("one", 2): [],
        ("two", 1): ["oops"],
    }


@pytest_twisted.ensureDeferred
async def test_long_texts_are_cut_in_the_journal_only(store: Store) -> None:
    """An event has a bounded size and says so; the transcript has the whole text."""
    await store.put_messages("one", [Message(0, "user", "x" * 20_000, NOW)])
    [event] = await store.events("one", 0, 9)
    assert (len(event.data["content"]), event.data["truncated"]) == (16_384, True)
    assert len((await store.messages("one"))[0].content) == 20_000


@pytest_twisted.ensureDeferred
async def test_text_is_searched_as_people_write_it(store: Store) -> None:
    """Every word counts, large and small letters are the same, and % and _ are plain characters."""
    await store.put_messages("one", said("Die Übung: 100% done", "what about item_7?", "ITEM_7 is done"))

    async def ids(*words: str) -> list[int]:
        return [one.id for one in await store.messages("one", words=words)]

    assert await ids("done") == [0, 2]
    assert await ids("done", "item_7") == [2]
    assert await ids("übung") == [0]
    assert await ids("0%") == [0]
    assert await ids("m_7") == [1, 2]
    assert await ids("mX7") == []
    assert [one.id for one in await store.last_messages("one", 2)] == [1, 2]
