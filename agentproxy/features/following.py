"""Following the log of a session: its end, and then what is printed, until the session ends."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.threads import deferToThread

from agentproxy.features.looking import VisibleSessions
from agentproxy.features.streaming import Streams, Wanted
from agentproxy.model.event import SESSION_DELETED, SESSION_ENDED, Event
from agentproxy.model.principal import Principal
from agentproxy.model.session import Phase

LOOK_EVERY = 0.25
"""Seconds between two looks at the file: nothing tells of its growth."""


class _UntilOver:
    """A sink that notes the end of the session, of the caller's access to it, or of the server."""

    def __init__(self, clock: IReactorTime) -> None:
        self.is_over = False
        self._clock = clock
        self._pause: Deferred[None] | None = None

    def pause(self) -> Deferred[None]:
        """Return a Deferred that fires after a while, or when it is over."""
        pause: Deferred[None] = Deferred()
        call = self._clock.callLater(LOOK_EVERY, self._wake)

        def forget(result: None) -> None:
            if call.active():
                call.cancel()
            return result

        self._pause = pause
        return pause.addBoth(forget)

    def _wake(self) -> None:
        pause, self._pause = self._pause, None
        if pause is not None and not pause.called:
            pause.callback(None)

    def _end(self) -> None:
        self.is_over = True
        self._wake()

    def events(self, events: Sequence[Event]) -> None:
        if any(one.kind in (SESSION_ENDED, SESSION_DELETED) for one in events):
            self._end()

    def caught_up(self) -> None: ...

    def idle(self) -> None: ...

    def over(self, why: str) -> None:  # noqa: ARG002
        self._end()


class Logs:
    """See the module.

    :param clock: the reactor, or a Clock.
    """

    def __init__(self, sessions: VisibleSessions, streams: Streams, clock: IReactorTime) -> None:
        self._sessions, self._streams, self._clock = sessions, streams, clock

    async def tail(self, caller: Principal, session_id: str, size: int, lines: int | None) -> bytes:
        """Return the end of what the session's agent servers have printed.

        :param size: at most so many bytes.
        :param lines: at most so many lines, None for any number.
        :raises Refusal: SESSION_NOT_FOUND.
        """
        await self._sessions.permitted(caller, session_id, "session.read")
        data, _offset = await deferToThread(self._sessions.output(session_id).end, size, lines)
        return data

    async def follow(
        self, caller: Principal, session_id: str, size: int, lines: int | None
    ) -> AsyncGenerator[bytes, None]:
        """Yield the end of the log, then what is added, until the session has ended.

        :raises Refusal: SESSION_NOT_FOUND.
        """
        session = await self._sessions.permitted(caller, session_id, "session.read")
        cursor = await self._streams.store.last_event_number()
        sink = _UntilOver(self._clock)
        feed = self._streams.open(caller, Wanted(session_id, frozenset({SESSION_ENDED, SESSION_DELETED})), cursor, sink)
        return self._followed(session_id, sink, feed.close, size, lines, session.phase is Phase.ENDED)

    async def _followed(
        self, session_id: str, sink: _UntilOver, close: Callable[[], None], size: int, lines: int | None, ended: bool
    ) -> AsyncGenerator[bytes, None]:
        log = self._sessions.output(session_id)
        try:
            data, offset = await deferToThread(log.end, size, lines)
            yield data
            while not ended:
                ended = sink.is_over  # looked at before the last read, so that nothing printed is left out
                if not ended:
                    await sink.pause()
                data, offset = await deferToThread(log.read_after, offset)
                if data:
                    yield data
                    ended = False
        finally:
            close()
