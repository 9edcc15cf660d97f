"""What a message is: one thing said in a session, in its latest revision."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Message:
    """One thing said.

    :param id: its place in the transcript of its session, counted from 0 by the agent server.
    :param role: ``user`` or ``agent``.
    :param final: whether it is known not to change any more; None when the agent server does not say.
    """

    id: int
    role: str
    content: str
    time: datetime
    final: bool | None = None
