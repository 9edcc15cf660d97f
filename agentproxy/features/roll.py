"""What memory knows of sessions: the living ones, and the last records of those that ended since the start."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from agentproxy.features.living import LivingSession
from agentproxy.model.session import Session

LAST_RECORDS = 10_000
"""Sessions that have ended of which the last record is kept, at most."""


class Roll:
    """Sessions by their ids. One that has ended is known with its life until its end is in the store."""

    def __init__(self) -> None:
        self._living: dict[str, LivingSession] = {}
        self._unwritten: dict[str, LivingSession] = {}
        self._ended: dict[str, Session] = {}
        self._beginning: dict[str, Session] = {}

    @contextmanager
    def beginning(self, session: Session) -> Iterator[None]:
        """Count a session as one that lives while its life is being begun: starts at once would not see each other."""
        before = self._beginning.get(session.id)
        self._beginning[session.id] = session
        try:
            yield
        finally:
            if before is None:
                self._beginning.pop(session.id, None)

    def add(self, living: LivingSession) -> None:
        """Take a session whose life begins, or goes on."""
        self._living[living.record.id] = living
        self._ended.pop(living.record.id, None)

    def ended(self, living: LivingSession) -> None:
        """Take an ended session out of the living ones."""
        session_id = living.record.id
        self._living.pop(session_id, None)
        self._unwritten[session_id] = living
        living.committed().addCallback(lambda _none: self._written(living))
        self._ended[session_id] = living.record
        while len(self._ended) > LAST_RECORDS:
            self._ended.pop(next(iter(self._ended)))

    def _written(self, living: LivingSession) -> None:
        if self._unwritten.get(living.record.id) is living:
            del self._unwritten[living.record.id]

    def forget(self, session_id: str) -> None:
        """Forget the last record of a session that was deleted."""
        self._ended.pop(session_id, None)

    def living(self) -> Sequence[LivingSession]:
        """Return the sessions that have not ended, oldest first."""
        return tuple(self._living.values())

    def get(self, session_id: str) -> LivingSession | None:
        """Return the session if it lives."""
        return self._living.get(session_id)

    def known(self, session_id: str) -> LivingSession | None:
        """Return the living session, or one whose end is not in the store yet."""
        return self._living.get(session_id) or self._unwritten.get(session_id)

    def current(self, session_id: str) -> LivingSession | Session | None:
        """Return the living session, or the last record of one that ended since the start."""
        return self._living.get(session_id) or self._ended.get(session_id)

    def living_of(self, owner: str, but: str = "") -> int:
        """Return how many sessions of an owner live or begin to.

        :param but: id of a session that is not counted.
        """
        owners = {session_id: one.owner for session_id, one in self._beginning.items()}
        owners |= {session_id: living.record.owner for session_id, living in self._living.items()}
        return sum(one == owner for session_id, one in owners.items() if session_id != but)
