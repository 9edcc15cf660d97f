"""Screens of agents as they were seen, and what they say."""

from __future__ import annotations

import pytest

from agentproxy.agents.marks import Marks, ScreenState, classify

CLAUDE = Marks(
    idle=(r"\? for shortcuts", "bypass permissions on"),
    busy=("esc to interrupt",),
    approval=(r"Do you want to proceed\?",),
)
IDLE = "❯\n  ? for shortcuts · ← for agents                    ● high · /effort"
BUSY = "✻ Thinking…\n\n❯\n  esc to interrupt · ← for agents"
APPROVAL = "● Bash(echo hi > out.txt)\n Do you want to proceed?\n ❯ 1. Yes\n   3. No\n Esc to cancel · Tab to amend"


@pytest.mark.parametrize(
    ("screen", "state"),
    [
        (IDLE, ScreenState.IDLE),
        (IDLE + "   \n" * 60, ScreenState.IDLE),
        (BUSY, ScreenState.BUSY),
        (BUSY + "\n" + IDLE, ScreenState.BUSY),
        (APPROVAL, ScreenState.APPROVAL),
        (APPROVAL + "\n" + BUSY, ScreenState.APPROVAL),
        (APPROVAL + "\n" + "done\n" * 30 + IDLE, ScreenState.IDLE),
        ("Loading", ScreenState.UNKNOWN),
        ("", ScreenState.UNKNOWN),
    ],
)
def test_a_screen_is_understood(screen: str, state: ScreenState) -> None:
    """A question goes before work, work before the input line, and old rows do not count."""
    assert classify(screen, CLAUDE) is state


def test_a_mark_may_stand_for_a_whole_row() -> None:
    """aider's prompt is the last row, not any `>` in its text."""
    aider = Marks(idle=(r"^(diff)?>\s*\Z",))
    assert classify("tokens: 5\n> ", aider) is ScreenState.IDLE
    assert classify("> quoted\nworking", aider) is ScreenState.UNKNOWN
