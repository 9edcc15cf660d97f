"""Sees in the bytes that an agent draws where it takes all that stands on the screen away."""

from __future__ import annotations

import re

WIPE = re.compile(rb"\x1b(?:\[[23]J|c|\[\?(?:1049|47)[hl])")
MOST_WIPE = 7
"""Bytes of the longest but its last, which may come in two reads."""


class Wipes:
    """The bytes of one agent, read by read."""

    def __init__(self) -> None:
        self._tail = b""

    def find(self, data: bytes) -> int | None:
        """Return where in *data*, the next read, a wipe begins (0: in what came before), None when there is none."""
        begun = len(self._tail)
        found = (each for each in WIPE.finditer(self._tail + data) if each.end() > begun)
        wipe = next(found, None)
        return None if wipe is None else max(0, wipe.start() - begun)

    def passed(self, data: bytes) -> None:
        """Take note of a read, whether it was looked at or not."""
        self._tail = (self._tail + data[-MOST_WIPE:])[-MOST_WIPE:]
