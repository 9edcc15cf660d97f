"""Finding the agent server of one request when that takes time: a session that starts, a key that is looked up, a guard."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from agentproxy.errors import INTERNAL_ERROR, SESSION_STARTING, Refusal
from agentproxy.gateway.relay import Relay
from agentproxy.gateway.routes import Guarded, Waiting
from agentproxy.model.backend import Backend


class Finding:
    """One search; ends with one call of ``found`` or ``refuse``, unless it is cancelled.

    :param body: returns whether the body can be judged now, and the whole of it, or None when it is not read ahead.
    """

    log = Logger()
    _over = False
    _guard: Guarded | None = None
    _pending: Deferred[object] | None = None
    _timer: IDelayedCall | None = None

    def __init__(
        self,
        relay: Relay,
        session_id: str,
        found: Callable[[Backend], None],
        refuse: Callable[[Refusal], None],
        body: Callable[[], tuple[bool, bytes | None]],
    ) -> None:
        self._relay = relay
        self._session_id = session_id
        self._found = found
        self._refuse = refuse
        self._body = body

    @property
    def waits(self) -> bool:
        """Return whether somebody else has to decide, rather than the client to send."""
        return self._pending is not None

    def take(self, outcome: Backend | Waiting | Guarded | Refusal) -> None:
        """Go on with what the directory says."""
        if isinstance(outcome, Backend):
            self._over = True
            self._found(outcome)
        elif isinstance(outcome, Refusal):
            self._end(outcome)
        elif isinstance(outcome, Guarded):
            self._guard = outcome
            self.body_came()
        else:
            self._timer = self._relay.reactor.callLater(self._relay.options.start_wait, self._waited)
            self._ask(outcome.decided())

    def body_came(self) -> None:
        """Let the body decide, when all of it has come or it will not be waited for."""
        guard = self._guard
        if guard is not None:
            ready, body = self._body()
            if ready:
                self._guard = None
                self._ask(guard.decide(body))

    def _ask(self, deferred: Deferred[Backend | Guarded | Refusal] | Deferred[Backend | Refusal]) -> None:
        self._pending = deferred  # type: ignore[assignment]
        deferred.addCallbacks(self._decided, self._undecided)
        deferred.addErrback(self._failed)

    def _waited(self) -> None:
        self._timer = None
        self._end(Refusal(SESSION_STARTING, session_id=self._session_id, retry_after=2.0))

    def _decided(self, outcome: Backend | Guarded | Refusal) -> None:
        self._settle()
        if not self._over:
            self.take(outcome)

    def _undecided(self, failure: Failure) -> None:
        self._settle()
        if not self._over:
            if isinstance(failure.value, Refusal):
                self._end(failure.value)
            else:
                failure.raiseException()

    def _failed(self, failure: Failure) -> None:
        self.log.failure("Request for session {session} failed", failure, session=self._session_id)
        if not self._over:
            self._end(Refusal(INTERNAL_ERROR, session_id=self._session_id))

    def _end(self, refusal: Refusal) -> None:
        pending, self._pending = self._pending, None
        self._over = True
        if pending is not None:
            pending.cancel()
        self._refuse(refusal)

    def _settle(self) -> None:
        self._pending = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def cancel(self) -> None:
        """Search no more; twice does no harm."""
        self._over = True
        pending = self._pending
        self._settle()
        if pending is not None:
            pending.cancel()
