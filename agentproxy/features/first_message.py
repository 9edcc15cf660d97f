"""The message that a session is started with: what becomes of it stands in the session's record and is told as an event."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from agentproxy.errors import Refusal
from agentproxy.model.session import Session

log = Logger()


UNFOLLOWED = {
    "outcome": "uncertain",
    "reason": "the server ended while it was on its way; its delivery says what became of it",
}


def is_waiting(session: Session) -> bool:
    """Return whether the record says that the fate of the session's first message is not known yet."""
    told: Mapping[str, str] = session.options.get("first_message") or {}
    return told.get("outcome") == "waiting"


class FirstMessage:
    """The first message of one session, if it has one.

    :param record: returns the session's record.
    :param change: changes the record, with an event: fields, kind, facts.
    :ivar follow: tells what becomes of the message when it is known, None when this life has none.
    :ivar give_up: sees to it that the message is not typed any more, for a reason.
    """

    follow: Callable[[], Coroutine[Any, Any, None]] | None = None
    give_up: Callable[[str], Coroutine[Any, Any, None]] | None = None

    def __init__(
        self, record: Callable[[], Session], change: Callable[[Mapping[str, Any], str, Mapping[str, Any]], None]
    ) -> None:
        self._record = record
        self._change = change
        self._following: Deferred[None] | None = None

    def record_outcome(self, outcome: str, reason: str = "") -> None:
        """Record what became of it."""
        facts = {"outcome": outcome, "reason": reason}
        self._change({"options": {**self._record().options, "first_message": facts}}, "first_message", facts)

    def told(self) -> Deferred[None] | None:
        """Return a Deferred that fires when its fate is known, or None when there is no message on its way."""
        if self._following is None:
            return None
        waiting: Deferred[None] = Deferred()
        self._following.addCallback(lambda _none: None if waiting.called else waiting.callback(None))
        return waiting

    def ready(self) -> None:
        """Follow it: the agent server answers."""
        if self.follow is None:
            self.adopted()  # the start is one that an earlier server began
        else:
            self._following = Deferred.fromCoroutine(self.follow())
            self._following.addErrback(self._failed)

    def adopted(self) -> None:
        """Say that its fate is not known: the server that followed it has ended."""
        if is_waiting(self._record()):
            self.record_outcome(**UNFOLLOWED)

    def ended(self) -> None:
        """Say that the session ended before anybody could follow it, and let no later life type what was said to be lost."""
        if self._following is None and is_waiting(self._record()):
            why = "the session ended before its agent was ready"
            self.record_outcome("undeliverable", why)
            if self.give_up is not None:
                self._following = Deferred.fromCoroutine(self.give_up(why))
                self._following.addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        """Say what became of a message that could not be delivered; a defect goes to the log."""
        if failure.check(Refusal):
            self.record_outcome("undeliverable", str(failure.value))
        else:
            self.record_outcome("uncertain", "the server failed while it was delivered; its log has the reason")
            log.failure("The first message of session {session} failed", failure, session=self._record().id)
