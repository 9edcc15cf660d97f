"""What queries ask for is read as the description of the API says it, and not as Python happens to read numbers."""

from __future__ import annotations

import pytest

from agentproxy.errors import Refusal
from agentproxy.web import asked, wire

FOREIGN = ["1_0", " 1", "1\n", "+1", "\u0663", "nan", "inf", "1e999", "0x1", ""]


@pytest.mark.parametrize("text", FOREIGN)
def test_a_wait_is_a_plain_number_of_seconds(text: str) -> None:
    """Underscores, spaces, digits of other scripts and infinity are refused, in seconds and in counts and cursors."""
    with pytest.raises(Refusal, match="expected seconds from 0 to 300"):
        asked.seconds({"timeout": text}, "timeout", 30, 300)
    with pytest.raises(Refusal):
        wire.whole_number({"limit": text}, "limit", 1, 0, 9)
    with pytest.raises(Refusal):
        asked.number(text, "after")


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("2.5", 2.5), ("1e1", 10), ("300", 300)])
def test_a_plain_number_is_taken(text: str, value: float) -> None:
    """Whole, with a fraction, or with an exponent."""
    assert asked.seconds({"timeout": text}, "timeout", 30, 300) == value
