"""What an event is: one numbered row of a session's journal, never changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    :param number: the cursor: grows over the whole server, unique.
    :param kind: its type, ``session.ready``, ``agent.status``, ``message``...
    :param data: the fields of that type, JSON values only.
    """

    number: int
    session_id: str
    kind: str
    time: datetime
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NewEvent:
    """One thing that happened, before the journal has numbered it. The fields are those of :class:`Event`."""

    session_id: str
    kind: str
    time: datetime
    data: Mapping[str, Any] = field(default_factory=dict)
