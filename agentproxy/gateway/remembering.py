"""What was made of the latest heads, for those that come again: clients and agent servers repeat theirs."""

from __future__ import annotations

from typing import Any

_REMEMBERED, _SEEN = 512, 4096
_REMEMBERED_BYTES = 2048


class Memory:
    """A bounded memory, forgotten as a whole when full.

    Only what is seen a second time is kept, so that heads which all differ cost next to nothing here, and a long head is not
    kept at all.
    """

    __slots__ = ("_made", "_seen", "get")

    def __init__(self) -> None:
        self._made: dict[Any, Any] = {}
        self._seen: set[int] = set()
        self.get = self._made.get

    def keep(self, key: Any, size: int, made: Any) -> None:
        """Remember ``made`` of a head of ``size`` bytes, if this is not the first time."""
        if size > _REMEMBERED_BYTES:
            return
        mark = hash(key)
        if mark in self._seen:
            if len(self._made) >= _REMEMBERED:
                self._made.clear()
            self._made[key] = made
        else:
            if len(self._seen) >= _SEEN:
                self._seen.clear()
            self._seen.add(mark)
