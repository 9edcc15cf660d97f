"""The screen of the agent: bytes in, rows of text out. It does no I/O.

Rows that leave the top are kept (the last :data:`KEPT_ROWS`), so that a reply longer than the screen stays whole. Rows are read
from the emulator only when somebody looks, so that a flood costs what the emulator costs.
"""

from __future__ import annotations

import codecs
from collections import deque
from dataclasses import dataclass
from itertools import islice

from agentproxy.embedded.emulator import Emulator, make_emulator

KEPT_ROWS = 20_000
"""Scrolled-off rows that are remembered; older ones are forgotten, which bounds the memory of a flood."""

ERASE = "\x1b[3J"


@dataclass(frozen=True, slots=True)
class Place:
    """A screen at one moment, to tell later what is new: its rows, its cursor and how many rows had left the top."""

    rows: tuple[str, ...] = ()
    column: int = 0
    row: int = 0
    scrolled: int = 0


class Screen:
    """A screen of *width* x *height* cells with what has scrolled off it.

    ``scrolled`` counts all rows that ever left the top. A program that erases what has scrolled off (``CSI 3 J``) is going to
    draw all of it anew: those rows are forgotten.
    """

    def __init__(self, width: int, height: int, emulator: str = "auto") -> None:
        self.width, self.height = width, height
        self.scrolled = 0
        self._rows = [""] * height
        self._dirty: set[int] = set()
        self._changed: set[int] = set()
        self._kept: deque[str] = deque(maxlen=KEPT_ROWS)
        self._erased = 0
        self._tail = ""
        self._emulator: Emulator = make_emulator(width, height, emulator)
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def feed(self, data: bytes) -> None:
        """Draw *data*."""
        text = self._decode(data)
        while (end := (self._tail + text).find(ERASE)) >= 0:
            cut = end + len(ERASE) - len(self._tail)
            self._draw(text[:cut])
            self._kept.clear()
            self._erased, self._tail, text = self.scrolled, "", text[cut:]
        self._draw(text)
        self._tail = (self._tail + text)[1 - len(ERASE) :]

    def _draw(self, text: str) -> None:
        changed, gone = self._emulator.feed(text)
        self._dirty.update(changed)
        self._keep(gone)

    def _keep(self, gone: list[str]) -> None:
        self.scrolled += len(gone)
        self._kept.extend(row.rstrip() for row in gone[-KEPT_ROWS:])

    def resize(self, width: int, height: int) -> None:
        """Give the screen another size in cells."""
        self._keep(self._emulator.resize(width, height))
        self.width, self.height = width, height
        self._rows = [""] * height
        self._dirty = set(range(height))

    @property
    def rows(self) -> list[str]:
        """The visible rows without the spaces at their ends. Not to be changed by the caller."""
        dirty, self._dirty = self._dirty, set()
        for number in dirty:
            text = self._emulator.row(number).rstrip()
            if text != self._rows[number]:
                self._rows[number] = text
                self._changed.add(number)
        return self._rows

    def take_changes(self) -> dict[int, str]:
        """Return the rows whose text differs since this was last asked, by number."""
        rows, (changed, self._changed) = self.rows, (self._changed, set())
        return {number: rows[number] for number in sorted(changed | self._changed) if number < len(rows)}

    def place(self) -> Place:
        """Return the screen as it is now."""
        column, row = self.cursor
        return Place(tuple(self.rows), column, row, self.scrolled)

    def since(self, scrolled: int) -> tuple[list[str], int]:
        """Return the rows from the one that stood at the top when ``scrolled`` was *scrolled* to the last visible one.

        When all was erased in between, they are the rows since then.

        :return: also how many of them are forgotten.
        """
        left = self.scrolled - max(scrolled, self._erased)
        missing = max(0, min(left, len(self._kept)))
        kept = list(islice(self._kept, len(self._kept) - missing, None)) if missing else []
        return kept + self.rows, left - missing

    @property
    def text(self) -> str:
        """The visible rows joined by newlines, without the blanks at the very end."""
        return "\n".join(self.rows).rstrip()

    @property
    def cursor(self) -> tuple[int, int]:
        """Column and row of the cursor, from 0."""
        return self._emulator.cursor()

    def picture(self) -> bytes:
        """Return what draws the present screen on a terminal, beginning with a clean one."""
        return b"\x1bc" + self._emulator.picture().encode("utf-8", "replace")
