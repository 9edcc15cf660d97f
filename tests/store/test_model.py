"""Whatever is done in whatever order, also over restarts: the store holds what a simple list would hold."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest_twisted
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread, deferToThread

from agentproxy.model.event import Event
from agentproxy.model.message import Message
from agentproxy.model.search import Listed, SessionQuery
from agentproxy.model.session import Phase, Session
from agentproxy.store import Store
from tests.store.making import NOW, a_session, a_store, an_event

T = TypeVar("T")
TEXT = st.text(max_size=5)
TAGS = st.dictionaries(st.sampled_from("kl"), TEXT, max_size=2)


def done(coroutine: Coroutine[Any, Any, T]) -> T:
    """Wait, in a thread of the test, for a method of the store."""
    return blockingCallFromThread(reactor, Deferred.fromCoroutine, coroutine)  # type: ignore[no-any-return]


class StoreAndLists(RuleBasedStateMachine):
    """The store beside plain lists."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.store: Store = a_store(self.directory)
        done(self.store.open())
        self.sessions: dict[str, Session] = {}
        self.events: list[Event] = []
        self.messages: dict[int, Message] = {}

    @rule(tags=TAGS, environment=TAGS, age=st.integers(0, 2))
    def add(self, tags: dict[str, str], environment: dict[str, str], age: int) -> None:
        """Start a session."""
        session = a_session(f"s{len(self.sessions)}", age, tags=tags, environment=environment)
        self.events += done(self.store.add_session(session, [an_event(session.id)]))
        self.sessions[session.id] = session

    @precondition(lambda self: self.sessions)
    @rule(data=st.data(), phase=st.sampled_from(Phase), tags=TAGS, deleted=st.booleans())
    def change(self, data: st.DataObject, phase: Phase, tags: dict[str, str], deleted: bool) -> None:
        """Change one of the sessions."""
        name = data.draw(st.sampled_from(sorted(self.sessions)))
        changes = {"phase": phase, "tags": tags, "updated_at": NOW, "deleted_at": NOW if deleted else None}
        changed, _ = done(self.store.change_session(name, changes))
        self.sessions[name] = replace(self.sessions[name], **changes)  # type: ignore[arg-type]
        assert changed == self.sessions[name]

    @rule(texts=st.lists(TEXT, max_size=4))
    def append(self, texts: list[str]) -> None:
        """Write in the journal."""
        self.events += done(self.store.append([an_event("s0", "agent.error", text=text) for text in texts]))

    @rule(number=st.integers(0, 3), text=TEXT)
    def say(self, number: int, text: str) -> None:
        """Revise a message."""
        self.messages[number] = Message(number, "agent", text.replace("\0", "\ufffd"), NOW)
        self.events += done(self.store.put_messages("s0", [Message(number, "agent", text, NOW)]))

    @rule()
    def restart(self) -> None:
        """Close the store and open the file again."""
        done(self.store.close())
        self.store = a_store(self.directory)
        done(self.store.open())

    @invariant()
    def they_agree(self) -> None:
        """Lists, journal and transcript are the same in both."""
        shown = [s for s in self.sessions.values() if s.deleted_at is None]
        newest_first = tuple(sorted(shown, key=lambda s: (s.created_at, s.id), reverse=True))
        assert done(self.store.search(SessionQuery(limit=100))).sessions == newest_first
        active = done(self.store.search(SessionQuery(status=Listed.ACTIVE, tags={"k": ""}))).sessions
        assert active == tuple(s for s in newest_first if s.phase is not Phase.ENDED and s.tags.get("k") == "")
        assert done(self.store.events(None, 0, 1000)) == self.events
        assert [event.number for event in self.events] == list(range(1, len(self.events) + 1))
        assert done(self.store.messages("s0")) == [self.messages[n] for n in sorted(self.messages)]

    def teardown(self) -> None:
        """Close the store and remove its files."""
        done(self.store.close())
        shutil.rmtree(self.directory)


@pytest_twisted.ensureDeferred
async def test_the_store_is_like_plain_lists() -> None:
    """No order of starting, changing, saying and restarting makes the store differ from plain lists."""
    bounded = settings(max_examples=15, stateful_step_count=12, deadline=None, database=None)
    await deferToThread(run_state_machine_as_test, StoreAndLists, settings=bounded)
