"""The routes of history over a real store and a real socket, in the test's own reactor."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import treq
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.web.client import Agent, HTTPConnectionPool, ResponseDone
from twisted.web.http import Request
from twisted.web.server import Site

from agentproxy.features.looking import VisibleSessions
from agentproxy.features.permitting import Permits
from agentproxy.features.roll import Roll
from agentproxy.model.cors import CorsRules
from agentproxy.model.permission import Grant
from agentproxy.model.principal import LOCAL, Principal
from agentproxy.runtime.output import OutputLog
from agentproxy.store import Store
from agentproxy.web.history import History
from agentproxy.web.routing import Face
from tests.store.making import a_store


class Server:
    """A running server; the header ``X-User`` says who asks, without it the local principal does."""

    def __init__(self, store: Store, sessions: VisibleSessions, permits: Permits, history: History, port: int) -> None:
        self.store, self.sessions, self.permits, self.history, self.port = store, sessions, permits, history, port
        self.agent = Agent(reactor, pool=HTTPConnectionPool(reactor, persistent=False))

    def grant(self, *grants: Grant) -> None:
        """Let these grants count and no others."""
        self.permits.load(grants)

    async def get(self, path: str, **headers: str) -> Any:
        """GET a path and return the answer; headers with ``_`` for ``-``."""
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        return await treq.get(f"http://127.0.0.1:{self.port}{path}", headers=named, agent=self.agent)

    async def json(self, path: str, status: int = 200, **headers: str) -> Any:
        """GET a page of JSON."""
        answer = await self.get(path, Accept="application/json", **headers)
        text = await treq.text_content(answer)
        assert answer.code == status, text
        return json.loads(text)

    async def text(self, path: str, **headers: str) -> str:
        """GET a text."""
        return cast(str, await treq.text_content(await self.get(path, **headers)))

    async def stream(self, path: str, **headers: str) -> Reader:
        """Open a stream of events."""
        answer = await self.get(path, Accept="text/event-stream", **headers)
        assert answer.code == 200, await treq.text_content(answer)
        reader = Reader()
        answer.deliverBody(reader)
        return reader


class Reader(Protocol):
    """The text of an answer as it comes."""

    def __init__(self) -> None:
        self.text = ""
        self.ended = False
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []

    def dataReceived(self, data: bytes) -> None:
        self.text += data.decode()
        self._look()

    def connectionLost(self, reason: Any = None) -> None:
        self.ended = reason is not None and bool(reason.check(ResponseDone))
        self._look()

    def _look(self) -> None:
        for condition, done in list(self._waiting):
            if condition():
                self._waiting.remove((condition, done))
                done.callback(None)

    async def until(self, condition: Callable[[], bool], seconds: float = 20) -> None:
        """Return when the condition holds.

        :raises TimeoutError: it never did.
        """
        if condition():
            return
        done: Deferred[None] = Deferred()
        self._waiting.append((condition, done))
        await done.addTimeout(seconds, cast(Any, reactor))

    async def events(self, count: int) -> list[dict[str, Any]]:
        """Return the first *count* events of the stream."""
        await self.until(lambda: len(self.seen()) >= count)
        return self.seen()[:count]

    async def end(self) -> None:
        """Return when the answer is complete."""
        await self.until(lambda: self.ended)

    def seen(self) -> list[dict[str, Any]]:
        """Return the events so far."""
        whole = self.text.split("\n\n")[:-1]
        return [json.loads(one.partition("data: ")[2]) for one in whole if "data: " in one]

    def close(self) -> None:
        """Go away."""
        assert self.transport is not None
        cast(Any, self.transport).loseConnection()


@asynccontextmanager
async def serving(directory: Path) -> AsyncIterator[Server]:
    """Run a server; everything is closed afterwards."""
    store = a_store(directory)
    await store.open()
    permits = Permits()
    sessions = VisibleSessions(store, Roll(), lambda session_id: OutputLog(directory / f"{session_id}.log"), permits)
    history = History(store, sessions, CorsRules(), cast(Any, reactor), 0.2)
    history.start()

    async def identify(request: Request) -> Principal:
        user = request.getHeader("x-user")
        return LOCAL if user is None else Principal(user, permissions=frozenset({"session.*:own"}))

    site = Site(Face(history.parts, identify).app.resource())
    port = cast(Any, reactor).listenTCP(0, site, interface="127.0.0.1")
    try:
        yield Server(store, sessions, permits, history, port.getHost().port)
    finally:
        history.close()
        await port.stopListening()
        for channel in list(getattr(site, "_channels", ())):
            channel.abortConnection()
        await store.close()
