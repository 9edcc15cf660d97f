"""The terminal emulator behind one small class: bytes in, rows of text out. It does no I/O.

Rows that leave the top are kept (the last :data:`KEPT_ROWS`), so that a reply longer than the screen stays whole.
"""

from __future__ import annotations

import codecs
from collections import deque
from typing import Any

import avt

KEPT_ROWS = 20_000
"""Scrolled-off rows that are remembered; older ones are forgotten, which bounds the memory of a flood."""


class Screen:
    """A screen of *width* x *height* cells with what has scrolled off it.

    ``rows`` are the visible rows without the spaces at their ends, ``scrolled`` counts all rows that ever left the top.
    """

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.rows = [""] * height
        self.scrolled = 0
        self._kept: deque[str] = deque(maxlen=KEPT_ROWS)
        self._vt: Any = avt.Vt(width, height, scrollback_limit=0)  # type: ignore[attr-defined]
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def feed(self, data: bytes) -> bool:
        """Draw *data*; return whether any row's text differs afterwards."""
        changed, gone = self._vt.feed_str(self._decode(data))
        return self._take(changed, gone)

    def resize(self, width: int, height: int) -> None:
        """Give the screen another size in cells."""
        _changed, gone = self._vt.resize(width, height)
        self.width, self.height = width, height
        self.rows = [""] * height
        self._take(range(height), gone)

    def _take(self, changed: Any, gone: Any) -> bool:
        for line in gone:
            self._kept.append(line.text.rstrip())
        self.scrolled += len(gone)
        differs = bool(gone)
        for number in changed:
            text = self._vt[number].text.rstrip()
            if text != self.rows[number]:
                self.rows[number] = text
                differs = True
        return differs

    def since(self, scrolled: int) -> list[str]:
        """Return the rows from the one that stood at the top when ``scrolled`` was *scrolled* to the last visible one."""
        missing = min(self.scrolled - scrolled, len(self._kept))
        kept = list(self._kept)[len(self._kept) - missing :] if missing > 0 else []
        return kept + self.rows

    @property
    def text(self) -> str:
        """The visible rows joined by newlines, without the blanks at the very end."""
        return "\n".join(self.rows).rstrip()

    @property
    def cursor(self) -> tuple[int, int]:
        """Column and row of the cursor, from 0."""
        cursor = self._vt.cursor
        return cursor.col, cursor.row
