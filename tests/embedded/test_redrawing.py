"""Programs that erase all and draw it anew, as Codex does at the end of a long answer; pauses in an answer."""

from __future__ import annotations

import pytest

from agentproxy.embedded.extraction import is_unfinished, message_text
from agentproxy.embedded.screen import Screen

PROMPT = "› Ask Codex to do anything"


def drawn(rows: list[str]) -> bytes:
    """Return what draws *rows* from the top."""
    return b"\x1b[H" + "\r\n".join(rows).encode()


@pytest.mark.parametrize("size", [1, 3, 7, 4096])
@pytest.mark.parametrize("emulator", ["avt", "pyte"])
def test_what_is_erased_and_drawn_anew_is_not_told_twice(size: int, emulator: str) -> None:
    """An answer longer than the screen is whole and single, wherever the bytes are cut."""
    head = ["  >_ OpenAI Codex", "  a directory", "  a tip"]
    answer = ["• line 1", *(f"  line {number}" for number in range(2, 41))]
    screen = Screen(40, 12, emulator)
    screen.feed(drawn([*head, "", PROMPT]))
    base = screen.place()
    screen.feed(drawn([*head, "", "› list", "", *answer, "", PROMPT]))
    again = b"\x1b[H\x1b[2J\x1b[3J" + drawn([*head, "", "› list", "", *answer, "", "  Worked for <1s", "", PROMPT])
    for start in range(0, len(again), size):
        screen.feed(again[start : start + size])
    rows, lost = screen.since(base.scrolled)
    assert message_text(base, rows, "list", "codex", lost=lost) == "\n".join(answer)


TURN = ["› one", "", "• answer", "", "  Worked for <1s • 12:00", ""]


@pytest.mark.parametrize(
    ("rows", "unfinished"),
    [
        ([*TURN, "› two", "", "• begun", "", PROMPT], True),
        ([*TURN, "› two", "", "• begun", "", "  Worked for 3s • 12:01", "", PROMPT], False),
        ([*TURN, "› two", "", "• begun", "", "■ Conversation interrupted", "", PROMPT], False),
        ([*TURN, "› two", "", PROMPT], False),
        ([*TURN, PROMPT], False),
        (["› one", "", "• answer", "", PROMPT], False),
        ([], False),
    ],
)
def test_an_answer_without_its_last_row_goes_on(rows: list[str], unfinished: bool) -> None:
    """Where earlier turns had such a row; a release that draws none is not waited for."""
    assert is_unfinished(rows, "codex") is unfinished
    assert not is_unfinished(rows, "claude")
