"""The audit: attempts are taken without waiting, written together within a tenth of a second, and read back by whoever may.

A crash can lose the last tenth of a second. While the store is in trouble up to 10 000 attempts wait; what is lost beyond is
said in the log and in the audit. Reads and refusals that repeat are noted once a minute.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from agentproxy.errors import FORBIDDEN, Refusal
from agentproxy.features.looking import VisibleSessions
from agentproxy.model.audit import Attempt, AuditEntry
from agentproxy.model.permission import may
from agentproxy.model.principal import SERVER, Principal
from agentproxy.store.audit import AuditStore

DELAY = 0.1  # seconds until what was noted is written
AGAIN = 1.0  # seconds until it is tried again
MOST = 10_000
REPEATED = 60.0
_SELDOM = frozenset({"session.list", "session.read", "auth.refused"})


class Auditor:
    """Notes attempts."""

    log = Logger()

    def __init__(self, store: AuditStore, clock: IReactorTime) -> None:
        self._store = store
        self._clock = clock
        self._waiting: list[Attempt] = []
        self._lost = 0
        self._writing: Deferred[None] | None = None
        self._call: IDelayedCall | None = None
        self._noted: dict[tuple[object, ...], float] = {}
        self._stopping = False

    def note(self, attempt: Attempt) -> None:
        """Take an attempt; never waits."""
        if (not attempt.allowed or attempt.verb in _SELDOM) and self._is_repeated(attempt):
            return
        if len(self._waiting) >= MOST:
            self._lost += 1
            return
        self._waiting.append(attempt)
        self._plan(DELAY)

    def _is_repeated(self, one: Attempt) -> bool:
        what = (one.actor, one.verb, one.session_id, one.reason, one.credential, one.address)
        now = self._clock.seconds()
        if now - self._noted.get(what, -REPEATED) < REPEATED:
            return True
        if len(self._noted) >= MOST:
            self._noted = {key: time for key, time in self._noted.items() if now - time < REPEATED}
            while len(self._noted) >= MOST:
                self._noted.pop(next(iter(self._noted)))
        self._noted.pop(what, None)
        self._noted[what] = now
        return False

    def _plan(self, delay: float) -> None:
        if self._call is None and self._writing is None and not self._stopping:
            self._call = self._clock.callLater(delay, self._start)

    def _start(self) -> None:
        self._call = None
        self._writing = Deferred.fromCoroutine(self._write())
        self._writing.addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        self.log.failure("The audit failed", failure)
        self._writing = None

    async def _write(self) -> None:
        batch, self._waiting = self._waiting, []
        lost, self._lost = self._lost, 0
        if lost:
            self.log.error("{count} attempts are missing in the audit: the store could not be written", count=lost)
            batch.append(Attempt(datetime.now(UTC), SERVER.user_id, "audit.lost", True, f"{lost} attempts were lost"))
        delay = DELAY
        try:
            await self._store.append(batch)
        except Refusal:
            self._waiting = batch + self._waiting
            delay = AGAIN
        except Exception:
            self.log.failure("{count} attempts could not be written into the audit", count=len(batch))
        self._writing = None
        if self._waiting:
            self._plan(delay)

    async def stop(self) -> None:
        """Write what waits, once; what cannot be written is said in the log."""
        self._stopping = True
        self._cancel()
        if self._writing is not None:
            await self._writing
        if self._waiting:
            await self._write()
        self._cancel()
        if self._waiting:
            self.log.error("{count} attempts are missing in the audit", count=len(self._waiting))

    def _cancel(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    @property
    def waiting(self) -> int:
        """Return how many attempts are not written yet."""
        return len(self._waiting)


class Audit:
    """Reads the audit for those who may."""

    def __init__(self, store: AuditStore, sessions: VisibleSessions) -> None:
        self._store = store
        self._sessions = sessions

    async def entries(
        self, caller: Principal, after: int, limit: int, session_id: str | None = None, actor: str | None = None
    ) -> Sequence[AuditEntry]:
        """Return entries with numbers over *after*, oldest first: everything with ``audit.read:all``; with ``audit.read:own`` what
        was done to one's own session, or what oneself did.

        :raises Refusal: FORBIDDEN, or SESSION_NOT_FOUND.
        """
        if may(caller, "audit.read", "all"):
            return await self._store.entries(after, limit, session_id, actor)
        if not may(caller, "audit.read"):
            raise Refusal(FORBIDDEN, "this needs audit.read")
        if session_id is not None:
            session = await self._sessions.permitted(caller, session_id, "session.read")
            if session.owner != caller.user_id:
                raise Refusal(FORBIDDEN, "this needs audit.read:all", session_id)
            return await self._store.entries(after, limit, session_id, actor)
        if actor not in (None, caller.user_id):
            raise Refusal(FORBIDDEN, "this needs audit.read:all")
        return await self._store.entries(after, limit, None, caller.user_id)
