"""A text that grows and changes, written to a terminal in place. Pure: it says what to write."""

from __future__ import annotations

import unicodedata

_CLEAR_BELOW = "\x1b[J"


def repainted(before: str, after: str, width: int, height: int) -> str:
    """Return what turns *before*, at whose end the cursor stands, into *after* on a terminal of this size.

    Lines that have left the screen at its top stay as they were.
    """
    if after.startswith(before):
        return after[len(before) :]
    old, new = before.split("\n"), after.split("\n")
    same = next((number for number, line in enumerate(old) if number >= len(new) or line != new[number]), len(old))
    rows = [_rows(line, width) for line in old]
    while sum(rows[same:]) >= height and same < len(old) - 1:
        same += 1
    up = min(sum(rows[same:]), height) - 1
    return "\r" + (f"\x1b[{up}A" if up else "") + _CLEAR_BELOW + "\n".join(new[same:])


def _rows(line: str, width: int) -> int:
    return max(1, -(-_columns(line) // width))


def _columns(line: str) -> int:
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in line
    )
