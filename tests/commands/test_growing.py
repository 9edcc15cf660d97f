"""A text that changes on a terminal: what stands there afterwards is the text."""

from __future__ import annotations

import pytest

from agentproxy.commands.growing import repainted
from agentproxy.embedded.emulator import make_emulator

WIDTH, HEIGHT = 20, 6


@pytest.mark.parametrize(
    "texts",
    [
        ("one", "one two", "one two\nthree"),
        ("- thinking 0.1 s", "/ thinking 0.2 s", "Thought."),
        ("a\nb\nc", "a\nB\nc\nd", "a"),
        ("a\nb\nc", "a\nb"),
        ("x" * 45, "y" * 45 + "\nend"),
        ("x" * 40, "x" * 39 + "\nend"),
        ("世界世界世界世界世界世", "世界!"),
        ("", "a", ""),
    ],
)
def test_the_last_text_stands_there(texts: tuple[str, ...]) -> None:
    """Whatever came before, below what stood above."""
    screen = make_emulator(WIDTH, HEIGHT)
    screen.feed("above\r\n")
    before = ""
    for text in texts:
        screen.feed(repainted(before, text, WIDTH, HEIGHT).replace("\n", "\r\n"))
        before = text
    expected = make_emulator(WIDTH, HEIGHT)
    expected.feed("above\r\n" + texts[-1].replace("\n", "\r\n"))
    assert [screen.row(row) for row in range(HEIGHT)] == [expected.row(row) for row in range(HEIGHT)]


def test_what_has_left_the_screen_stays_as_it_was() -> None:
    """The lines that are to be seen are right, whatever changed above them."""
    screen = make_emulator(WIDTH, HEIGHT)
    before = "\n".join(f"line {number}" for number in range(20))
    after = before.replace("line 1\n", "LINE 1\n").replace("line 17", "LINE 17") + "\nend"
    screen.feed(repainted("", before, WIDTH, HEIGHT).replace("\n", "\r\n"))
    screen.feed(repainted(before, after, WIDTH, HEIGHT).replace("\n", "\r\n"))
    assert [screen.row(row).rstrip() for row in range(HEIGHT)] == after.split("\n")[-HEIGHT:]
