"""What a session that continues another one is told first: the old transcript, bounded, and then what is wanted now."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from agentproxy.model.message import Message

LIMIT = 24_000
"""Characters of an old transcript, at most: more than a terminal program takes well in one paste helps nobody."""
ONE_MESSAGE = 6_000
"""Characters of one message of it, at most."""

_INTRODUCTION = "What follows is the conversation of an earlier session, for you to continue."
_LEFT_OUT = "[Its beginning, {count} messages, is left out.]"
_END = "That was the earlier conversation."
_GO_ON = "Go on from there. Say in one sentence where you are, and wait for what comes next."


def continued(messages: Sequence[Message], wanted: str | None) -> str:
    """Return the first message of a session that continues the one of *messages*; *wanted* stands at its end.

    The newest messages come in; a long one loses its middle. Characters that cannot be typed are left out.
    """
    said = [(message.role, _typed(message.content)) for message in messages]
    parts: list[str] = []
    room = LIMIT
    for role, text in reversed([one for one in said if one[1]]):
        part = f"{role.upper()}:\n{_shortened(text)}"
        room -= len(part)
        if room < 0:
            break
        parts.insert(0, part)
    left_out = sum(1 for one in said if one[1]) - len(parts)
    note = [_LEFT_OUT.format(count=left_out)] if left_out else []
    return "\n\n".join([_INTRODUCTION, *note, *parts, _END, (wanted or "").strip() or _GO_ON])


def _shortened(text: str) -> str:
    if len(text) <= ONE_MESSAGE:
        return text
    half = ONE_MESSAGE // 2
    return f"{text[:half]}\n[...]\n{text[-half:]}"


def _typed(text: str) -> str:
    """Return *text* without what a terminal would obey instead of show, and without spaces at the ends of lines."""
    plain = "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs"))
    return "\n".join(line.rstrip() for line in plain.split("\n")).strip()
