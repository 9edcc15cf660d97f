"""Messages taken out of the rows of a screen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentproxy.embedded.extraction import box_content, is_busy, message_text
from agentproxy.embedded.formats import FORMATS, canonical_type
from agentproxy.embedded.screen import Place, Screen

RULE = "─" * 60


def test_the_input_box_is_no_part_of_a_message() -> None:
    """A ruled box below the answer is taken off, and so is the echo above it."""
    old = ["hello", RULE, "❯", RULE, ""]
    rows = ["hello", "❯ q1", "", "● reply q1", "", RULE, "❯", RULE]
    assert message_text(Place(tuple(old)), rows, "q1", "claude") == "● reply q1"


def test_a_clock_above_does_not_bring_old_text_back() -> None:
    """A row that changes at the top is not the beginning of the answer."""
    old = ["clock 1", "hello", "a", "b", ">"]
    rows = ["clock 2", "hello", "a", "b", "> hi", "reply: hi", ">"]
    assert message_text(Place(tuple(old)), rows, "hi", "custom") == "reply: hi"


def test_a_wrapped_echo_is_taken_off() -> None:
    """What the user said fills several rows and goes, the answer stays."""
    assert message_text(Place((">",)), ["> one two", "three", "answer", ">"], "one two\nthree", "custom") == "answer"


@pytest.mark.parametrize(
    ("rows", "kind", "content"),
    [
        (["words", RULE, "❯ one", "  two", RULE, "  ? for shortcuts"], "claude", "❯onetwo"),
        (["words", RULE, "❯", RULE], "claude", "❯"),
        (["› old", "", "• answer", "", "› typed here", "", "  model · ~/work"], "codex", "›typedhere"),
        (
            ["answer", "╭" + "─" * 20 + "╮", "│ > typed           │", "╰" + "─" * 20 + "╯", " ~/work"],
            "gemini",
            "│>typed│",
        ),
        (["> typed"], "custom", None),
        ([" Do you want to proceed?", " ❯ 1. Yes", "   2. No"], "claude", None),
    ],
)
def test_what_stands_in_an_input_box(rows: list[str], kind: str, content: str | None) -> None:
    """Only what is inside a drawn box; a prompt and a question have none."""
    assert box_content([*rows, "", ""], kind) == content


def test_a_sign_of_work_is_seen() -> None:
    """The line that offers to interrupt means that the agent works."""
    assert is_busy(["✻ Thinking… (12s · esc to interrupt)", "", ">"])
    assert not is_busy(["done", ">"])


@pytest.mark.parametrize(
    ("name", "program", "found"), [("q", "x", "amazonq"), ("", "claude", "claude"), ("", "/bin/claude", "custom")]
)
def test_types_are_named_or_guessed(name: str, program: str, found: str) -> None:
    """Aliases are known; without a name the exact program name tells the type."""
    assert canonical_type(name, program) == found


@given(st.lists(st.text()), st.lists(st.text()), st.text(), st.sampled_from(sorted(FORMATS)))
def test_no_screen_breaks_extraction(old: list[str], rows: list[str], said: str, kind: str) -> None:
    """Whatever the rows are, a message comes out."""
    message_text(Place(tuple(old)), rows, said, kind)


@given(st.lists(st.binary(max_size=200), max_size=10))
def test_no_bytes_break_the_screen(pieces: list[bytes]) -> None:
    """Whatever a program writes, the screen keeps its height."""
    screen = Screen(20, 10)
    for piece in pieces:
        screen.feed(piece)
    assert len(screen.rows) == 10
