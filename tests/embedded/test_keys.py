"""What is a key of a person, and what a terminal sends by itself."""

from __future__ import annotations

import pytest

from agentproxy.embedded.keys import is_typed


@pytest.mark.parametrize(
    ("data", "typed"),
    [
        (b"a", True),
        (b"\x1b", True),
        (b"\x1b[A", True),  # an arrow
        (b"\x1b[200~pasted\x1b[201~", True),
        (b"\x1b[12;40R", False),  # where the cursor is
        (b"\x1b[?1;2c\x1b[>0;276;0c", False),  # what it is
        (b"\x1b[I", False),  # it has the focus
        (b"\x1b]11;rgb:0000/0000/0000\x1b\\", False),  # its colour
        (b"\x1bP>|xterm(390)\x1b\\", False),  # its name
        (b"\x1b[?2026;2$y", False),  # a mode
        (b"\x1b[1;1Ra", True),
        (b"", False),
    ],
)
def test_reports_of_a_terminal_are_no_keys(data: bytes, typed: bool) -> None:
    """An open page is no activity, whatever its terminal answers."""
    assert is_typed(data) is typed
