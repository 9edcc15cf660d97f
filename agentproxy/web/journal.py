"""The journal: what happened, as a stream, as pages, and over WebSocket; and the peers' stream of statuses.

| Route | Answer |
|---|---|
| `GET /sessions/:id/events` | the session's events as Server-Sent Events; as WebSocket with `Upgrade`; else a page (below) |
| `GET /events` | the same of every session that the caller may see |
| `GET /sessions/status/stream` | Server-Sent Events `{"session_id", "status", "timestamp"}` |

A page is `{"events": [...], "cursor": N}`; it is given to a request that says `Accept: application/json`, sends no
`Accept`, or has `wait` or `limit` in its query. With `wait` it comes as soon as there is an event, at the latest after so many
seconds. `after` or `Last-Event-ID` is the cursor, `types` the kinds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.web.http import Request

from agentproxy.features.beginning import Beginning, begin
from agentproxy.features.looking import VisibleSessions
from agentproxy.features.reading import page
from agentproxy.features.streaming import PAGE, Feed, Sink, Streams, Wanted
from agentproxy.features.waiting import STATUS_KINDS, status_of
from agentproxy.model.cors import CorsRules
from agentproxy.model.event import Event
from agentproxy.model.principal import Principal
from agentproxy.model.search import Listed, SessionQuery
from agentproxy.store import Store
from agentproxy.web import asked, socket, sse, wire, xapi
from agentproxy.web.answers import answer
from agentproxy.web.routing import route

LONGEST_WAIT = 60.0
HEARTBEAT = b": heartbeat\n\n"
IN_SNAPSHOT = 1000
"""Sessions in a snapshot of all, at most: the newest that have not ended."""


@dataclass(frozen=True, slots=True)
class Sources:
    """What the journal is read from."""

    store: Store
    sessions: VisibleSessions
    streams: Streams
    statuses: Streams


class Journal:
    """The routes of the journal.

    :param sources: ``statuses`` has the slower heartbeat of the peers' stream.
    :param clock: the reactor, or a Clock.
    """

    def __init__(self, sources: Sources, cors: CorsRules, clock: IReactorTime) -> None:
        self._from = sources
        self._cors = cors
        self._clock = clock
        self._frames = sse.Encoded(sse.frame)
        self._texts = sse.Encoded(sse.text)
        self._statuses = sse.Encoded(status_frame)

    @route("GET", "/sessions/<session_id>/events")
    async def of_session(self, request: Request, caller: Principal, session_id: str) -> bytes:
        """Tell what happens in a session, from any point on."""
        await self._from.sessions.permitted(caller, session_id, "session.read")
        return await self._answer(request, caller, session_id)

    @route("GET", "/events")
    async def of_all(self, request: Request, caller: Principal) -> bytes:
        """Tell what happens in all sessions that the caller may see."""
        return await self._answer(request, caller, None)

    @route("GET", "/sessions/status/stream")
    async def statuses(self, request: Request, caller: Principal) -> bytes:
        """Tell each change of a session's status."""
        beginning = await begin(self._from.store, None, None, self._snapshot(caller, None))
        wanted = Wanted(None, STATUS_KINDS)
        stream = sse.EventStream(request, self._statuses.of, HEARTBEAT)
        stream.head(HEARTBEAT)
        return await _streamed(stream, lambda sink: self._from.statuses.open(caller, wanted, beginning.cursor, sink))

    async def _answer(self, request: Request, caller: Principal, session_id: str | None) -> bytes:
        values = wire.query(request)
        wanted = Wanted(session_id, asked.kinds(values))
        after = asked.cursor(request, values)
        if socket.is_wanted(request):
            socket.check(request, self._cors)
        beginning = await self._begin(caller, session_id, after)
        if socket.is_wanted(request):
            return await self._socket(request, caller, wanted, beginning)
        if wants_page(request, values):
            return await self._page(request, caller, wanted, beginning, values)
        stream = sse.EventStream(request, self._frames.of)
        stream.head(sse.RETRY + (sse.frame(beginning.resync) if beginning.resync else b""))
        return await _streamed(stream, lambda sink: self._feed(caller, wanted, beginning.cursor, sink))

    async def _begin(self, caller: Principal, session_id: str | None, after: int | None) -> Beginning:
        return await begin(self._from.store, session_id, after, self._snapshot(caller, session_id))

    def _feed(self, caller: Principal, wanted: Wanted, cursor: int, sink: Sink) -> Feed:
        """Return a reader that is told when retention overtakes it."""
        again = partial(self._begin, caller, wanted.session_id)
        return self._from.streams.open(caller, wanted, cursor, sink, PAGE, again)

    async def _page(
        self, request: Request, caller: Principal, wanted: Wanted, beginning: Beginning, values: dict[str, str]
    ) -> bytes:
        limit = wire.whole_number(values, "limit", 200, 1, 1000)
        wait = asked.seconds(values, "wait", 0, LONGEST_WAIT)
        if beginning.resync is not None:
            return answer(request, {"events": [sse.shown(beginning.resync)], "cursor": beginning.cursor})
        found = await page(self._from.streams, caller, wanted, beginning.cursor, limit, wait, self._clock)
        return answer(request, {"events": [sse.shown(one) for one in found.events], "cursor": found.cursor})

    async def _socket(self, request: Request, caller: Principal, wanted: Wanted, beginning: Beginning) -> bytes:
        def open_feed(sink: Any) -> Feed:
            if beginning.resync is not None:
                sink.events([beginning.resync])
            return self._feed(caller, wanted, beginning.cursor, sink)

        socket.take_over(request, self._texts.of, open_feed)
        never: Deferred[bytes] = Deferred()  # the connection is no longer this request's
        return await never

    def _snapshot(self, caller: Principal, session_id: str | None) -> Callable[[], Any]:
        async def one() -> Any:
            assert session_id is not None
            return _plain(xapi.shown(await self._from.sessions.get(caller, session_id)))

        async def all_of_them() -> Any:
            query = SessionQuery(status=Listed.ACTIVE, limit=IN_SNAPSHOT)
            views, _cursor = await self._from.sessions.search(caller, query)
            return _plain([xapi.shown(view) for view in views])

        return one if session_id is not None else all_of_them


def wants_page(request: Request, values: dict[str, str]) -> bool:
    """Return whether a request wants a page of JSON and not a stream."""
    accept = wire.header(request, "accept")
    if accept is not None and "text/event-stream" in accept.lower():
        return False
    return accept is None or "application/json" in accept.lower() or "wait" in values or "limit" in values


def status_frame(event: Event) -> bytes:
    """Return an event as the peers' stream of statuses has it."""
    return b"data: %s\n\n" % msgspec.json.encode(status_shown(event))


def status_shown(event: Event) -> dict[str, Any]:
    """Return an event as the peers show a change of status."""
    return {"session_id": event.session_id, "status": status_of(event), "timestamp": event.time}


async def _streamed(stream: sse.EventStream, open_feed: Callable[[Sink], Feed]) -> bytes:
    """Write what the feed reads until the client goes or nothing more comes."""
    try:
        stream.attach(open_feed(stream))
        await stream.done
    finally:
        stream.detach()
    return b""


def _plain(value: Any) -> Any:
    """Return a value as it is in JSON."""
    return msgspec.to_builtins(value)
