"""Following a start, step by step."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from agentproxy.client import results
from agentproxy.client.failures import Refused

Progress = Callable[[results.Event], None]
"""Told of each event of a start."""


def outcome(session: results.Session) -> results.Session:
    """Return the session of a start that came to its end.

    :raises Refused: it ended before it could be used.
    """
    ending = session.ending
    if session.phase != "ended" or ending is None or ending.reason == "stopped":
        return session
    facts = msgspec.to_builtins(ending)
    raise Refused(500, "start_failed", ending.message, {**facts, "session_id": session.session_id})
