"""When a call is sent again: only one that does no harm twice, only for failures that pass, a few times, ever more slowly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agentproxy.client.call import Call
from agentproxy.client.failures import ClientError, Refused, Unreachable

PASSING = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Retries:
    """How often and how slowly, in seconds.

    :param attempts: how often a call is sent at most.
    :param first: the wait before the second time; doubled each time, and at least what ``Retry-After`` says.
    :param longest: the longest such wait; a server that wants more gets no second call.
    :param resume: how long a stream that has broken is tried to be read on, a restart of the server long.
    """

    attempts: int = 4
    first: float = 0.25
    longest: float = 30.0
    resume: float = 300.0

    def wait(self, call: Call[Any], failure: ClientError, tried: int) -> float | None:
        """Return the seconds to wait before sending *call* again, or None when that would be wrong.

        :param tried: how often it was sent.
        """
        if not call.repeatable or tried >= self.attempts:
            return None
        pause = self.first * 2 ** (tried - 1)
        if isinstance(failure, Refused):
            if failure.status not in PASSING or failure.code == "start_unavailable":
                return None
            pause = max(pause, failure.retry_after or 0.0)
        elif not isinstance(failure, Unreachable):
            return None
        return pause if pause <= self.longest else None
