"""Retention: old events and old sessions are removed, a little at a time, while the server runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from agentproxy.errors import Refusal
from agentproxy.store import Store
from agentproxy.store.retention import Bounds

BETWEEN_ROUNDS = 3600.0
"""Seconds between two looks for what is old."""
BETWEEN_STEPS = 0.05
"""Seconds in which others write between two steps."""
_DAY = timedelta(days=1)

log = Logger()


@dataclass(frozen=True, slots=True)
class Keep:
    """For how long what is kept, in days, and how much; None means for ever, and any amount.

    :param events: events of the journal.
    :param journal_bytes: size of the journal.
    :param ended: sessions that have ended, with everything, from their last change on.
    :param deleted: the history of sessions that were deleted.
    """

    events: float | None = None
    journal_bytes: int | None = None
    ended: float | None = None
    deleted: float | None = None

    def bounds(self, now: datetime) -> Bounds:
        """Return what may stay at this moment."""
        events, ended, deleted = (
            None if days is None else now - days * _DAY for days in (self.events, self.ended, self.deleted)
        )
        return Bounds(events, self.journal_bytes, ended, deleted)


class Retention:
    """Removes what is out of bounds once at the start and then every hour.

    :param clear: removes the directory of a session that is gone.
    :param clock: the reactor, or a Clock.
    """

    def __init__(self, store: Store, keep: Keep, clear: Callable[[str], Awaitable[None]], clock: IReactorTime) -> None:
        self._store, self._keep, self._clear, self._clock = store, keep, clear, clock
        self._work: Deferred[None] | None = None

    def start(self) -> None:
        """Begin in the background."""
        self._work = Deferred.fromCoroutine(self._go_on())
        self._work.addErrback(self._stopped)

    def stop(self) -> None:
        """Give up; twice does no harm."""
        work, self._work = self._work, None
        if work is not None:
            work.cancel()

    async def round(self) -> tuple[int, int]:
        """Remove everything that is out of bounds now; return how many events and sessions went."""
        bounds = self._keep.bounds(datetime.now(UTC))
        events = sessions = 0
        while not (removed := await self._store.remove_some(bounds)).nothing:
            events, sessions = events + removed.events, sessions + len(removed.sessions)
            for session_id in removed.sessions:
                await self._clear(session_id)
            await deferLater(self._clock, BETWEEN_STEPS, lambda: None)
        return events, sessions

    async def _go_on(self) -> None:
        while True:
            try:
                events, sessions = await self.round()
            except Refusal as refusal:
                log.warn("Retention waits for the store: {why}", why=str(refusal))
            else:
                if events or sessions:
                    log.info("Retention removed {events} events and {sessions} sessions",
                             events=events, sessions=sessions)  # fmt: skip
            await deferLater(self._clock, BETWEEN_ROUNDS, lambda: None)

    def _stopped(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            log.failure("Retention has stopped", failure)
