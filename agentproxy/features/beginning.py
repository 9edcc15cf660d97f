"""Where a reader of the journal begins, and begins again when retention has overtaken it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from agentproxy.model.event import RESYNC, Event
from agentproxy.store import Store

Snapshot = Callable[[], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where a reader begins.

    :param cursor: it reads what comes after this.
    :param resync: told first, when its own cursor is not in the journal any more.
    """

    cursor: int
    resync: Event | None = None


async def begin(store: Store, session_id: str | None, after: int | None, snapshot: Snapshot) -> Beginning:
    """Return where a reader with the cursor *after* begins.

    :param after: 0 is the oldest event that is kept, None is now.
    :param snapshot: makes what a reader needs whose cursor is too old, or was never given by this journal.
    """
    if after == 0:
        return Beginning(0)
    last = await store.last_event_number()
    if after is None:
        return Beginning(last)
    removed = await store.last_removed_event(session_id)
    if removed <= after <= last:
        return Beginning(after)
    reason = "retention" if after < removed else "unknown"
    facts = {"reason": reason, "cursor": after, "snapshot": await snapshot()}
    return Beginning(last, Event(last, session_id or "", RESYNC, datetime.now(UTC), facts))
