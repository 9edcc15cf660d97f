"""Messages are taken out of the saved screens of every agent type; see ``screens/README.md``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from agentproxy.embedded.extraction import is_busy, is_ready, message_text
from agentproxy.embedded.formats import FORMATS
from agentproxy.embedded.screen import Place

FILES = sorted((Path(__file__).parent / "screens").glob("*.txt"))


@dataclass(frozen=True)
class Saved:
    """One saved screen."""

    type: str
    said: str
    before: Place
    rows: list[str]
    cursor: int | None
    message: str
    facts: dict[str, str]


def place(text: str) -> Place:
    """Return a drawn screen; a row ``^`` marks the one above as the cursor's."""
    rows = text.split("\n")
    row = rows.index("^") - 1 if "^" in rows else max(0, len(rows) - 1)
    column = len(rows[row])
    return Place(tuple(each.rstrip() for each in rows if each != "^"), column, row)


def load(path: Path) -> Saved:
    """Return the saved screen at *path*."""
    head, *parts = path.read_text(encoding="utf-8").removesuffix("\n").split("\n--- ")
    part = {name: text for name, _newline, text in (each.partition("\n") for each in parts)}
    lines = [line.partition(": ") for line in head.split("\n")]
    said = "\n".join(value for name, _colon, value in lines if name == "said")
    before, now = place(part["before"]) if part["before"] else Place(), place(part["screen"])
    facts = dict(line.split(": ") for line in part["facts"].split("\n"))
    cursor = now.row if "\n^" in part["screen"] else None
    return Saved(lines[0][2], said, before, list(now.rows), cursor, part["message"], facts)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_saved_screens(path: Path) -> None:
    """The message is what the agent said; whether it is ready and whether it works is told apart."""
    saved = load(path)
    found = message_text(saved.before, saved.rows, saved.said, saved.type, cursor=saved.cursor)
    assert found == saved.message
    assert is_ready(saved.rows, saved.type, saved.cursor) is (saved.facts["ready"] == "yes")
    assert is_busy(saved.rows, saved.type) is (saved.facts["busy"] == "yes")


def test_every_type_has_a_screen() -> None:
    """No agent type is without a saved screen."""
    assert {load(path).type for path in FILES} == set(FORMATS)
