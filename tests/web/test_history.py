"""The journal as its readers see it: streams, pages, WebSocket, waits, transcripts, logs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest
import pytest_twisted
import treq
from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from agentproxy.features import following
from agentproxy.model.attention import Attention, Kind
from agentproxy.model.event import NewEvent
from agentproxy.model.message import Message
from agentproxy.model.permission import Grant
from agentproxy.model.session import Phase
from agentproxy.store.retention import Bounds
from tests.store.making import NOW, a_session, an_event
from tests.web.serving import Server, serving

SAID = [
    Message(0, "agent", "Welcome", NOW),
    Message(1, "user", "make *tea*", NOW),
    Message(2, "agent", "```\nTea is ready\n```", NOW),
]


def ids(events: list[dict[str, Any]]) -> list[int]:
    """Return the numbers of events as shown."""
    return [event["id"] for event in events]


async def with_session(server: Server, session_id: str = "one", **fields: Any) -> None:
    """Keep a session and its first event."""
    await server.store.add_session(
        a_session(session_id, **fields), [an_event(session_id, "session.queued", agent="demo")]
    )


@pytest_twisted.ensureDeferred
async def test_a_stream_goes_on_where_it_was(tmp_path: Path) -> None:
    """A reader gets the past and what comes; the next one with its cursor gets the rest, nothing twice and nothing left out."""
    async with serving(tmp_path) as server:
        await with_session(server)
        await server.store.append([an_event("one", "agent.error", message=str(n), level="error") for n in range(250)])
        reader = await server.stream("/sessions/one/events")
        await reader.events(251)
        await server.store.append([an_event("one", "agent.status", status="running"), an_event("other")])
        seen = await reader.events(252)
        assert ids(seen) == list(range(1, 253))
        assert seen[-1].keys() == {"id", "session_id", "type", "time", "data"}
        assert (seen[-1]["type"], seen[-1]["data"]) == ("agent.status", {"status": "running"})
        assert "id: 252\nevent: agent.status\ndata: {" in reader.text
        reader.close()
        again = await server.stream("/sessions/one/events?after=1", Last_Event_ID="250")
        assert ids(await again.events(2)) == [251, 252]
        await again.until(lambda: ": keep-alive" in again.text)
        latest = await server.stream("/sessions/one/events?after=latest")
        await server.store.append([an_event("one", "agent.status", status="stable")])
        assert ids(await latest.events(1)) == [254]
        assert ids(await again.events(3)) == [251, 252, 254]


@pytest_twisted.ensureDeferred
async def test_streams_end_with_what_they_are_about(tmp_path: Path) -> None:
    """The end of a session does not end its stream, its deletion does, and so does the end of the server."""
    async with serving(tmp_path) as server:
        await with_session(server)
        of_one = await server.stream("/sessions/one/events?types=session.ended")
        of_all = await server.stream("/events")
        await server.store.append([an_event("one", "session.ended", reason="stopped", sentence="x")])
        await of_one.events(1)
        await server.store.append([an_event("one", "session.deleted", by="ann")])
        await of_one.end()
        assert [one["type"] for one in of_one.seen()] == ["session.ended"]
        assert [one["type"] for one in await of_all.events(3)][-1] == "session.deleted"
        server.history.close()
        await of_all.end()


@pytest_twisted.ensureDeferred
async def test_pages_wait_for_what_comes(tmp_path: Path) -> None:
    """A page comes at once when there is something, when something happens, or with nothing at the deadline."""
    async with serving(tmp_path) as server:
        await with_session(server)
        first = await server.json("/sessions/one/events?limit=1")
        assert (ids(first["events"]), first["cursor"]) == ([1], 1)
        assert await server.json("/sessions/one/events?after=1") == {"events": [], "cursor": 1}
        assert await server.json("/events?after=1&wait=0.05") == {"events": [], "cursor": 1}
        waiting = Deferred.fromCoroutine(server.json("/sessions/one/events?after=1&wait=60&types=agent.*"))
        while not len(server.history._streams):
            await server.store.last_event_number()
        await server.store.append([an_event("one", "message.started", id=0, role="agent")])
        await server.store.append([an_event("one", "agent.status", status="stable")])
        assert ids((await waiting)["events"]) == [3]


@pytest.mark.parametrize("query", ["after=x", "after=-1", "types=nonsense", "wait=61", "wait=x", "limit=0&wait=1"])
@pytest_twisted.ensureDeferred
async def test_wrong_questions_are_refused(tmp_path: Path, query: str) -> None:
    """What makes no sense is named, before a stream begins."""
    async with serving(tmp_path) as server:
        refused = await server.json(f"/events?{query}", 400)
        assert query.partition("=")[0] in refused["details"]


@pytest_twisted.ensureDeferred
async def test_a_cursor_that_is_gone_gets_one_resync(tmp_path: Path) -> None:
    """A reader that retention has overtaken gets a snapshot and goes on from there; so does one from another journal."""
    async with serving(tmp_path) as server:
        await with_session(server)
        await server.store.append([NewEvent("one", "agent.status", NOW, {"status": "stable"}) for _ in range(9)])
        await server.store.remove_some(Bounds(journal_bytes=200))
        kept = ids((await server.json("/sessions/one/events"))["events"])
        assert kept[-1] == 10
        assert kept[0] > 3
        page = await server.json("/sessions/one/events?after=3")
        [resync] = page["events"]
        assert (resync["type"], resync["id"], page["cursor"]) == ("resync", 10, 10)
        assert resync["data"]["reason"] == "retention"
        assert resync["data"]["snapshot"]["session_id"] == "one"
        assert ids((await server.json(f"/sessions/one/events?after={kept[0] - 1}"))["events"]) == kept
        reader = await server.stream("/events", Last_Event_ID="99")
        await server.store.append([an_event("one", "agent.status", status="running")])
        told, new = await reader.events(2)
        assert (told["type"], told["data"]["reason"], told["id"], new["id"]) == ("resync", "unknown", 10, 11)
        assert [one["session_id"] for one in told["data"]["snapshot"]] == ["one"]


@pytest_twisted.ensureDeferred
async def test_readers_see_what_they_may(tmp_path: Path) -> None:
    """The stream of all sessions shows a user the own ones and those shared with it, from then on and until it is taken back."""
    async with serving(tmp_path) as server:
        await with_session(server, "mine", owner="bob")
        await with_session(server, "foreign", owner="ann")
        assert (await server.json("/sessions/foreign/events", 404, X_User="bob"))["code"] == "session_not_found"
        reader = await server.stream("/events", X_User="bob")
        assert [one["session_id"] for one in await reader.events(1)] == ["mine"]
        server.grant(Grant("foreign", "user:bob", "read"))
        await server.store.append([an_event("foreign", "agent.status", status="running")])
        assert [one["session_id"] for one in await reader.events(2)] == ["mine", "foreign"]
        server.grant()
        await server.store.append([an_event("foreign", "agent.status", status="stable")])
        await with_session(server, "mine too", owner="bob")
        assert [one["session_id"] for one in await reader.events(3)] == ["mine", "foreign", "mine too"]
        one = await server.stream("/sessions/mine/events", X_User="bob")
        await one.events(1)
        server.history.cut("bob")
        await one.end()
        await reader.end()


class Socket(WebSocketClientProtocol):  # type: ignore[misc]
    """A WebSocket client that keeps what it gets."""

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.factory.got.append(json.loads(payload))
        if len(self.factory.got) == self.factory.wanted:
            self.factory.enough.callback(None)

    def onClose(self, wasClean: bool, code: int, reason: str) -> None:
        self.factory.closed.callback((code, reason))


@pytest_twisted.ensureDeferred
async def test_the_journal_over_websocket(tmp_path: Path) -> None:
    """Each message is one event, the past first; the end of the server closes it with a reason."""
    async with serving(tmp_path) as server:
        await with_session(server)
        factory: Any = WebSocketClientFactory(
            f"ws://127.0.0.1:{server.port}/sessions/one/events?types=agent.*,session.*"
        )
        factory.protocol, factory.got, factory.wanted = Socket, [], 2
        factory.enough, factory.closed = Deferred(), Deferred()
        cast(Any, reactor).connectTCP("127.0.0.1", server.port, factory)
        while not len(server.history._streams):
            await server.store.last_event_number()
        await server.store.append([an_event("one", "log.mark"), an_event("one", "agent.status", status="running")])
        await factory.enough.addTimeout(20, reactor)
        assert ids(factory.got) == [1, 3]
        server.history.close()
        assert await factory.closed.addTimeout(20, reactor) == (4000, "the server is shutting down")


@pytest_twisted.ensureDeferred
async def test_foreign_pages_open_no_websocket(tmp_path: Path) -> None:
    """A browser sends cookies along whatever page asks, so the page's origin decides."""
    async with serving(tmp_path) as server:
        headers = {"Upgrade": "websocket", "Sec_WebSocket_Version": "13", "Sec_WebSocket_Key": "x" * 22 + "=="}
        answer = await server.get("/events", Origin="https://evil.example", **headers)
        assert answer.code == 403
        await treq.content(answer)


@pytest_twisted.ensureDeferred
async def test_transcripts_are_read_searched_and_exported(tmp_path: Path) -> None:
    """Also after the end: pages of messages, those with certain words, the last ones, and the whole as JSON or Markdown."""
    async with serving(tmp_path) as server:
        await with_session(server, phase=Phase.ENDED, description="Tea\n# time")
        await server.store.put_messages("one", SAID)
        page = await server.json("/sessions/one/messages?limit=2")
        assert ([one["content"] for one in page["messages"]], page["more"]) == (["Welcome", "make *tea*"], True)
        page = await server.json("/sessions/one/messages?after=1")
        assert (ids(page["messages"]), page["more"]) == ([2], False)
        assert ids((await server.json("/sessions/one/messages?q=TEA%20ready"))["messages"]) == [2]
        assert ids((await server.json("/sessions/one/messages?last=2"))["messages"]) == [1, 2]
        whole = await server.json("/sessions/one/export")
        assert [one["content"] for one in whole["messages"]] == [one.content for one in SAID]
        assert whole["session"]["session_id"] == "one"
        text = await server.text("/sessions/one/export", Accept="text/markdown")
        assert text.startswith("# Tea # time\n")
        assert "````text\n```\nTea is ready\n```\n````" in text
        await with_session(server, "empty")
        assert (await server.json("/sessions/empty/export"))["messages"] == []


@pytest_twisted.ensureDeferred
async def test_waits(tmp_path: Path) -> None:
    """Each wait answers when it is so, says so when it is so already, and gives up at its deadline."""
    async with serving(tmp_path) as server:
        await with_session(server)
        one = "/sessions/one"
        assert await server.json(f"{one}/messages/wait?since=0&timeout=1") == {"updated": False}
        waiting = Deferred.fromCoroutine(server.json(f"{one}/messages/wait?timeout=60"))
        while not server.store._revised:
            await server.store.last_event_number()
        await server.store.put_messages("one", SAID[:1])
        said = await waiting
        assert (said["updated"], said["session_id"]) == (True, "one")
        again = await server.json(f"{one}/messages/wait?since=2026-01-01T00:00:00Z&timeout=99")
        assert again == said
        missing = await server.json("/sessions/nobody/messages/wait", 404)
        assert missing["message"] == "session not found"
        status = Deferred.fromCoroutine(server.json("/sessions/status/wait?timeout=60"))
        message = Deferred.fromCoroutine(server.json(f"{one}/wait?until=message&timeout=60"))
        while len(server.history._streams) < 2:
            await server.store.last_event_number()
        await server.store.settle_messages("one", 1)
        await server.store.append([an_event("one", "agent.status", status="stable")])
        assert (await message)["event"]["data"]["content"] == "Welcome"
        changed = await status
        assert (changed["session_id"], changed["status"], set(changed)) == (
            "one", "stable", {"session_id", "status", "timestamp"},
        )  # fmt: skip
        assert await server.json("/sessions/status/wait?timeout=0") == {"events": []}
        late = await server.json(f"{one}/wait?until=ended&timeout=0.05")
        assert (late["reached"], late["session"]["phase"]) == (False, "ready")
        await server.store.change_session("one", {"phase": Phase.ENDED})
        assert (await server.json(f"{one}/wait?until=ended"))["reached"] is True
        assert (await server.json(f"{one}/wait?until=stable"))["reached"] is False
        assert (await server.json(f"{one}/wait?until=message&after=0"))["reached"] is True
        server.sessions.attention = lambda _session: Attention(Kind.APPROVAL, "Run it?")
        wanted = await server.json(f"{one}/wait?until=attention&timeout=60")
        assert (wanted["reached"], wanted["event"]) == (True, None), "who is wanted already is not waited for"


@pytest_twisted.ensureDeferred
async def test_the_stream_of_statuses(tmp_path: Path) -> None:
    """The peers' stream: one object for each change, comments in between."""
    async with serving(tmp_path) as server:
        await with_session(server)
        reader = await server.stream("/sessions/status/stream")
        await reader.until(lambda: ": heartbeat" in reader.text)
        await server.store.append([an_event("one", "agent.status", status="running"), an_event("one", "log.mark")])
        await server.store.append([an_event("one", "session.ended", reason="stopped", sentence="x")])
        seen = await reader.events(2)
        assert [(one["session_id"], one["status"]) for one in seen] == [("one", "running"), ("one", "ended")]


@pytest_twisted.ensureDeferred
async def test_the_log_is_followed_to_the_end_of_the_session(tmp_path: Path) -> None:
    """Its end, by bytes or lines; followed, it goes on as it grows, through a rotation, and ends with the session."""
    async with serving(tmp_path) as server:
        await with_session(server)
        log = server.sessions.output("one")
        log.path.write_text("one\ntwo\nthree\n")
        assert await server.text("/sessions/one/log?lines=2") == "two\nthree\n"
        assert await server.text("/sessions/one/log?bytes=4") == "ree\n"
        reader = await server.stream("/sessions/one/log?follow=1&lines=1")
        await reader.until(lambda: reader.text == "three\n")
        with log.path.open("a") as file:
            file.write("four\n")
            file.flush()
            await reader.until(lambda: reader.text == "three\nfour\n")
            file.write("five\n")
        await server.store.append([an_event("one", "session.ended", reason="stopped", sentence="x")])
        await reader.end()
        assert reader.text == "three\nfour\nfive\n"
        await server.store.change_session("one", {"phase": Phase.ENDED})
        assert await server.text("/sessions/one/log?follow=1&lines=0") == ""


@pytest_twisted.ensureDeferred
async def test_a_followed_log_ends_at_once_with_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not wait for its next look at the file: the connections are closed soon."""
    monkeypatch.setattr(following, "LOOK_EVERY", 600)
    async with serving(tmp_path) as server:
        await with_session(server)
        server.sessions.output("one").path.write_text("one\n")
        reader = await server.stream("/sessions/one/log?follow=1")
        await reader.until(lambda: reader.text == "one\n")
        server.history.close()
        await reader.end()
