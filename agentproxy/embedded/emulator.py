"""Terminal emulators of others behind one interface: text in, rows of text out. They do no I/O.

``avt`` (package ``pyavt``, in Rust) is meant; ``pyte`` (in Python, 50 times slower, knows fewer sequences) stands in where there is
no wheel of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

NAMES = ("auto", "avt", "pyte")


class Emulator(Protocol):
    """A grid of cells that text is written to."""

    def feed(self, text: str) -> tuple[Iterable[int], list[str]]:
        """Draw *text*; return the numbers of the rows that may have changed, and the rows that left the top."""

    def row(self, number: int) -> str:
        """Return the text of one visible row."""

    def cursor(self) -> tuple[int, int]:
        """Return column and row of the cursor, from 0."""

    def resize(self, width: int, height: int) -> list[str]:
        """Change the size; return the rows that left the top."""

    def picture(self) -> str:
        """Return the control sequences that draw the present screen on an empty one."""


class Avt:
    """The emulator of asciinema."""

    def __init__(self, width: int, height: int) -> None:
        import avt

        self._vt: Any = avt.Vt(width, height, scrollback_limit=0)  # type: ignore[attr-defined]

    def feed(self, text: str) -> tuple[Iterable[int], list[str]]:
        """Draw *text*; see :class:`Emulator`."""
        changed, gone = self._vt.feed_str(text)
        return changed, [line.text for line in gone]

    def row(self, number: int) -> str:
        """Return the text of one visible row."""
        text: str = self._vt[number].text
        return text

    def cursor(self) -> tuple[int, int]:
        """Return column and row of the cursor."""
        cursor = self._vt.cursor
        return cursor.col, cursor.row

    def resize(self, width: int, height: int) -> list[str]:
        """Change the size; see :class:`Emulator`."""
        _changed, gone = self._vt.resize(width, height)
        return [line.text for line in gone]

    def picture(self) -> str:
        """Return the control sequences of the present screen; the one-character CSI is not known to every terminal."""
        drawn: str = self._vt.dump()
        return drawn.replace("\x9b", "\x1b[")


class Pyte:
    """The emulator in Python."""

    def __init__(self, width: int, height: int) -> None:
        import pyte

        self._gone: list[str] = []
        self._screen: Any = _kept_screen(pyte)(width, height, self._gone)
        self._stream: Any = pyte.Stream(self._screen)

    def feed(self, text: str) -> tuple[Iterable[int], list[str]]:
        """Draw *text*; see :class:`Emulator`."""
        try:
            self._stream.feed(text)
        except (TypeError, ValueError, IndexError, KeyError, AttributeError):  # its parser stumbles over odd parameters
            self._stream = type(self._stream)(self._screen)
        changed = [number for number in self._screen.dirty if number < self._screen.lines]
        self._screen.dirty.clear()
        gone = list(self._gone)
        self._gone.clear()
        return changed, gone

    def row(self, number: int) -> str:
        """Return the text of one visible row."""
        cells = self._screen.buffer[number]
        return "".join(cells[column].data for column in range(max(cells, default=-1) + 1))

    def cursor(self) -> tuple[int, int]:
        """Return column and row of the cursor."""
        cursor = self._screen.cursor
        return min(cursor.x, self._screen.columns - 1), cursor.y

    def resize(self, width: int, height: int) -> list[str]:
        """Change the size; rows beyond the bottom are lost."""
        self._screen.resize(height, width)
        return []

    def picture(self) -> str:
        """Return the rows and the cursor as control sequences, without colours."""
        rows = [self.row(number).rstrip() for number in range(self._screen.lines)]
        while rows and not rows[-1]:
            rows.pop()
        column, row = self.cursor()
        return "\r\n".join(rows) + f"\x1b[{row + 1};{column + 1}H"


def _kept_screen(pyte: Any) -> Any:
    """Return pyte's screen class with the rows that leave its top written down."""

    class Kept(pyte.Screen):  # type: ignore[misc]
        def __init__(self, width: int, height: int, gone: list[str]) -> None:
            self._left = gone
            super().__init__(width, height)

        def index(self) -> None:
            top, bottom = self.margins or (0, self.lines - 1)
            if self.cursor.y == bottom and top == 0:
                cells = self.buffer[0]
                self._left.append("".join(cells[column].data for column in range(max(cells, default=-1) + 1)))
            super().index()

    return Kept


def make_emulator(width: int, height: int, name: str = "auto") -> Emulator:
    """Return an emulator of *width* x *height* cells.

    :param name: a row of :data:`NAMES`; ``auto`` is avt where it can be imported.
    """
    if name == "pyte":
        return Pyte(width, height)
    try:
        return Avt(width, height)
    except ImportError:
        if name == "avt":
            raise
        return Pyte(width, height)
