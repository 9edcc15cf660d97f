"""What a session is told that continues another one."""

from __future__ import annotations

from datetime import UTC, datetime

from agentproxy.features.messaging import clean
from agentproxy.model.context import LIMIT, continued
from agentproxy.model.message import Message

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def said(*texts: str) -> list[Message]:
    """Return messages by turns, the agent's first."""
    return [Message(n, "user" if n % 2 else "agent", text, NOON) for n, text in enumerate(texts)]


def test_the_old_conversation_comes_before_what_is_wanted_now() -> None:
    """Who said what stands in order, and the new wish is the last thing that the agent reads."""
    text = continued(said("Welcome", "make tea", "Done.   \n"), "now coffee")
    places = [text.index(part) for part in ("AGENT:\nWelcome", "USER:\nmake tea", "AGENT:\nDone.\n", "now coffee")]
    assert places == sorted(places)
    assert text.endswith("now coffee")
    assert "left out" not in text


def test_a_long_conversation_keeps_its_end() -> None:
    """The context has a bounded size, loses its beginning first, and says how much; a huge message loses its middle."""
    text = continued(said(*[f"message {n} " + "x" * 900 for n in range(100)], "a" * 50_000 + "the end"), None)
    assert len(text) < LIMIT + 1000
    assert "messages, is left out" in text
    assert "the end" in text
    assert "message 99 " in text
    assert "message 1 " not in text


def test_it_can_be_typed() -> None:
    """Nothing in it commands the terminal, whatever the old agent drew."""
    text = continued(said("\x1b[31mred\x07 \ud800 \t ok\r\n"), None)
    assert clean(text) == text
    assert "red" in text
