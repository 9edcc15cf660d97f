"""What an agent's screen says: idle, busy, or waiting for an approval. Pure rules over marks that the catalogue holds.

Model output can quote a mark, so the answer is a hint of what to do, never a reason to approve something.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

ROWS = 25
"""How many of the last rows are looked at, blank ones at the end not counted: old errors and questions stand above."""


@dataclass(frozen=True, slots=True)
class Marks:
    """Regular expressions, each searched in the last rows of the screen (``^`` and ``$`` match at rows).

    :param idle: one of them shows when the agent takes a message.
    :param busy: one of them shows while it works.
    :param approval: one of them shows while it waits for a person's yes or no.
    """

    idle: tuple[str, ...] = ()
    busy: tuple[str, ...] = ()
    approval: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Return whether this agent's idleness can be seen at all."""
        return bool(self.idle)


class ScreenState(Enum):
    """What the marks on a screen say."""

    IDLE = "idle"
    BUSY = "busy"
    APPROVAL = "approval"
    UNKNOWN = "unknown"


def last_rows(screen: str, rows: int = ROWS) -> str:
    """Return the last *rows* rows of a screen, trailing spaces and blank rows at the end dropped."""
    return "\n".join([row.rstrip() for row in screen.rstrip().split("\n")][-rows:])


def classify(screen: str, marks: Marks) -> ScreenState:
    """Return what *screen* says; an approval goes before busy, and busy before idle."""
    shown = last_rows(screen)
    for state, patterns in (
        (ScreenState.APPROVAL, marks.approval),
        (ScreenState.BUSY, marks.busy),
        (ScreenState.IDLE, marks.idle),
    ):
        if any(re.search(pattern, shown, re.MULTILINE) for pattern in patterns):
            return state
    return ScreenState.UNKNOWN
