"""Streams of the journal: any number of readers, each with a cursor, each at its own speed.

A reader that has caught up is handed what is committed; one that is behind (new, slow, or paused) holds nothing in memory:
it is caught up from the store, a page at a time. Each event comes once and in order, however often a reader changes between the
two. One that retention overtakes gets a ``resync`` and goes on from there. A reader sees what its caller may read; it ends
when its session is deleted, when the caller loses access, and when the server stops.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from agentproxy.errors import Refusal
from agentproxy.features.beginning import Beginning
from agentproxy.features.looking import VisibleSessions
from agentproxy.model import permission
from agentproxy.model.event import SESSION_DELETED, Event
from agentproxy.model.principal import Principal
from agentproxy.store import Store

PAGE = 100
REMEMBERED = 10_000
"""Sessions of which a reader remembers at most whether it may see them."""

UNREADABLE = "the journal cannot be read now"

log = Logger()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a reader wants.

    :param session_id: None is the journal of the whole server, as far as the caller may see it.
    :param kinds: only these; empty is all.
    """

    session_id: str | None = None
    kinds: frozenset[str] = frozenset()


Resume = Callable[[int], Awaitable[Beginning]]
"""Returns where a reader with this cursor goes on."""


class Sink(Protocol):
    """Who is told what a feed reads."""

    def events(self, events: Sequence[Event]) -> None:
        """These come next; never empty."""

    def caught_up(self) -> None:
        """Everything that is committed has been told; what comes now is new."""

    def idle(self) -> None:
        """Nothing was told for a while."""

    def over(self, why: str) -> None:
        """Nothing more comes; told once."""


class Feed:
    """One reader. Made by :meth:`Streams.open`.

    :ivar cursor: the number up to which everything was told or is not wanted.
    """

    __slots__ = ("_behind", "_closed", "_deleted", "_home", "_may", "_missed", "_page", "_paused", "_reading", "_resume",
                 "_sink", "_told", "_version", "caller", "cursor", "wanted")  # fmt: skip

    def __init__(
        self,
        home: Streams,
        caller: Principal,
        wanted: Wanted,
        cursor: int,
        sink: Sink,
        page: int = PAGE,
        resume: Resume | None = None,
    ) -> None:
        self._home, self._sink, self._page, self._resume = home, sink, page, resume
        self.caller, self.wanted, self.cursor = caller, wanted, cursor
        everything = wanted.session_id is not None or permission.may(caller, "session.read", "all")
        self._may: dict[str, bool] | None = None if everything else {}
        self._version = home.sessions.access_version
        self._behind, self._missed, self._reading = True, False, False
        self._paused, self._closed, self._deleted, self._told = False, False, False, False

    # -- what the reader says

    def pause(self) -> None:
        """Tell nothing for now."""
        self._paused = True

    def resume(self) -> None:
        """Go on, with what came meanwhile first."""
        self._paused = False
        self.advance()

    def close(self) -> None:
        """End the reading; twice does no harm."""
        self._closed = True
        self._home.forget(self)

    # -- what the streams say

    def heard(self, events: Sequence[Event]) -> None:
        """Take what was committed: tell it, or read it later."""
        if self.wanted.session_id is not None and any(one.kind == SESSION_DELETED for one in events):
            self._deleted = True
        self._forget_old_access()
        unknown = self._may is not None and any(one.session_id not in self._may for one in events)
        if self._behind or self._paused or unknown:
            self._behind = self._missed = True
            self.advance()
            return
        self._tell(events)
        if self._deleted:
            self.end("the session was deleted")

    def advance(self) -> None:
        """Begin to read what is behind, unless it is being read, or nothing may be told now."""
        if self._behind and not (self._reading or self._paused or self._closed):
            self._reading = True
            Deferred.fromCoroutine(self._catch_up()).addErrback(self._failed)

    def tick(self) -> None:
        """Tell of a silence since the last tick."""
        if not self._told and not self._paused and not self._closed:
            self._sink.idle()
        self._told = False

    def end(self, why: str) -> None:
        """End the reading and say so."""
        if not self._closed:
            self.close()
            self._sink.over(why)

    async def still_may(self) -> bool:
        """Return whether the caller may still read what it reads; forgets what it was allowed to see."""
        if self.wanted.session_id is None:
            everything = permission.may(self.caller, "session.read", "all")
            self._may = None if everything else {}
            return True
        return await self._home.sessions.visible(self.caller, self.wanted.session_id)

    # -- steps

    def _forget_old_access(self) -> None:
        """Ask again who may see what when that has changed for anybody."""
        version = self._home.sessions.access_version
        if version != self._version:
            self._version = version
            if self._may is not None:
                self._may = {}

    async def _catch_up(self) -> None:
        try:
            while self._behind and not self._paused and not self._closed:
                self._missed = False
                await self._read_page()
        finally:
            self._reading = False
        if self._closed or self._behind:
            return
        if self._deleted:
            self.end("the session was deleted")
        else:
            self._sink.caught_up()

    async def _read_page(self) -> None:
        wanted = self.wanted
        read = await self._home.store.next_events(wanted.session_id, self.cursor, self._page, sorted(wanted.kinds))
        if self._resume is not None and read.removed > self.cursor > 0:
            await self._overtaken(self._resume)
            return
        page = read.events
        while self._may is not None and (unknown := {one.session_id for one in page} - self._may.keys()):
            await self._learn(unknown)
        if self._closed:
            return
        self._tell(page)
        self.cursor = max(self.cursor, read.upto)
        if len(page) < self._page and not self._missed:
            self._behind = False

    async def _overtaken(self, resume: Resume) -> None:
        """Tell a reader, whose next events retention has removed, how things stand."""
        beginning = await resume(self.cursor)
        if self._closed:
            return
        self.cursor = beginning.cursor
        if beginning.resync is not None:
            self._told = True
            self._sink.events([beginning.resync])

    async def _learn(self, session_ids: set[str]) -> None:
        for session_id in session_ids:
            may = bool(session_id) and await self._home.sessions.visible(self.caller, session_id)
            known = self._may
            if known is not None:
                known[session_id] = may
                if len(known) > REMEMBERED:
                    del known[next(iter(known))]

    def _tell(self, events: Sequence[Event]) -> None:
        new = [one for one in events if one.number > self.cursor]
        if new:
            self.cursor = new[-1].number
        shown = [one for one in new if self._shows(one)]
        if shown:
            self._told = True
            self._sink.events(shown)

    def _shows(self, event: Event) -> bool:
        kinds = self.wanted.kinds
        return (not kinds or event.kind in kinds) and (self._may is None or self._may.get(event.session_id, False))

    def _failed(self, failure: Failure) -> None:
        """End the stream: its reader comes again with its cursor."""
        if not failure.check(Refusal):
            log.failure("A stream of the journal failed", failure)
        self.end(UNREADABLE)


class Streams:
    """All readers of the journal.

    :param silence: seconds between two looks for readers that were told nothing.
    """

    def __init__(self, store: Store, sessions: VisibleSessions, clock: IReactorTime, silence: float = 15.0) -> None:
        self.store = store
        self.sessions = sessions
        self._feeds: dict[str | None, set[Feed]] = {}
        self._silence = silence
        self._ticks = LoopingCall(self._tick)
        self._ticks.clock = clock
        self._forget_listener: Callable[[], None] = lambda: None
        self._closed = False

    def start(self) -> None:
        """Begin to hear what is committed."""
        self._forget_listener = self.store.on_commit(self._committed)
        self._ticks.start(self._silence, now=False).addErrback(
            lambda failure: log.failure("The keep-alive of streams has stopped", failure)
        )

    def close(self) -> None:
        """End every stream; twice does no harm."""
        self._closed = True
        self._forget_listener()
        if self._ticks.running:
            self._ticks.stop()
        for feed in self._all():
            feed.end("the server is shutting down")

    def open(
        self,
        caller: Principal,
        wanted: Wanted,
        cursor: int,
        sink: Sink,
        page: int = PAGE,
        resume: Resume | None = None,
    ) -> Feed:
        """Return a new reader, already under way; whether the caller may read has been asked.

        :param page: events that are read from the store at a time.
        :param resume: asked when retention overtakes the reader; without it, the reader goes on with what is kept.
        """
        feed = Feed(self, caller, wanted, cursor, sink, page, resume)
        if self._closed:
            feed.end("the server is shutting down")
            return feed
        self._feeds.setdefault(wanted.session_id, set()).add(feed)
        feed.advance()
        return feed

    def forget(self, feed: Feed) -> None:
        """Tell a reader nothing more."""
        feeds = self._feeds.get(feed.wanted.session_id)
        if feeds is not None:
            feeds.discard(feed)
            if not feeds:
                del self._feeds[feed.wanted.session_id]

    def __len__(self) -> int:
        """Return how many readers there are."""
        return sum(len(feeds) for feeds in self._feeds.values())

    def recheck(self) -> None:
        """Ask again for every reader whether it may read; end those that may not. To be called when access was taken back."""
        Deferred.fromCoroutine(self._recheck()).addErrback(
            lambda failure: log.failure("Streams could not be checked again", failure)
        )

    async def _recheck(self) -> None:
        for feed in list(self._all()):
            if not await feed.still_may():
                feed.end("access was taken back")

    def cut(self, why: str, user_id: str) -> None:
        """End the streams of one user."""
        for feed in list(self._all()):
            if feed.caller.user_id == user_id:
                feed.end(why)

    def _all(self) -> Iterator[Feed]:
        return iter([feed for feeds in self._feeds.values() for feed in feeds])

    def _tick(self) -> None:
        for feed in self._all():
            feed.tick()

    def _committed(self, events: Sequence[Event]) -> None:
        for feed in tuple(self._feeds.get(None, ())):
            feed.heard(events)
        by_session: dict[str, list[Event]] = {}
        for event in events:
            if event.session_id in self._feeds:
                by_session.setdefault(event.session_id, []).append(event)
        for session_id, ones in by_session.items():
            for feed in tuple(self._feeds.get(session_id, ())):
                feed.heard(ones)
