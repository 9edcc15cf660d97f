"""Reading on after a stream has broken: from which event, and how long to wait. No I/O; both clients obey it."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from agentproxy.client.failures import ClientError, Refused, Unreachable
from agentproxy.client.results import Event
from agentproxy.client.retries import PASSING, Retries
from agentproxy.model.sse import EventParser, EventTooLarge

LONGEST = 5.0
"""Seconds between two attempts, at most."""


class Place:
    """Where a reader of the journal stands.

    :ivar after: the number of the last event that it has.
    """

    def __init__(self, after: int, retries: Retries) -> None:
        self.after = after
        self._retries = retries
        self._heard = False
        self._tried = 0
        self._broken_at: float | None = None

    def heard(self, event: Event) -> None:
        """Note an event; the number of a ``resync`` counts whatever it is, for it stands in place of what is not there."""
        self.after = event.id if event.type == "resync" else max(self.after, event.id)
        self._heard, self._tried, self._broken_at = True, 0, None

    def broke(self, failure: ClientError, now: float) -> float | None:
        """Return the seconds to wait before reading on, or None when there is nothing more to read.

        :param now: seconds on any clock that only goes forwards.
        :raises ClientError: *failure*, because reading on would be wrong, or was tried for long enough.
        """
        self._tried += 1
        if self._broken_at is None:
            self._broken_at = now
        if not isinstance(failure, (Refused, Unreachable)):
            raise failure
        if isinstance(failure, Refused):
            if failure.status in (404, 410) and self._heard:
                return None
            if failure.status not in PASSING:
                raise failure
        tried_for = now - self._broken_at
        enough = tried_for > self._retries.resume if self._heard else self._tried >= self._retries.attempts
        if enough:
            raise failure
        asked = failure.retry_after or 0.0 if isinstance(failure, Refused) else 0.0
        pause = min(self._retries.first * 2.0 ** min(self._tried - 1, 20), LONGEST)
        return max(pause, min(asked, self._retries.longest))


def read_events(parser: EventParser, data: bytes) -> Iterator[Event]:
    """Yield the events that *data* completes.

    :raises ClientError: the stream is none of the journal's.
    """
    try:
        for event in parser.feed(data):
            yield msgspec.json.decode(event.data, type=Event, strict=False)
    except (EventTooLarge, msgspec.MsgspecError) as error:
        raise ClientError(f"the stream is not one of an agentproxy: {error}") from error
