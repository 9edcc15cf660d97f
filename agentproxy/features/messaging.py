"""What may be typed as a user's message: clean text only."""

from __future__ import annotations

import unicodedata

from agentproxy.errors import BODY_TOO_LARGE, INVALID_REQUEST, Refusal

MESSAGE_LIMIT = 256 * 1024
"""Bytes of UTF-8 that one message may have: the agent server takes less than 1 MiB of JSON."""


def clean(text: str, place: str = "$.content") -> str:
    """Return *text* as it is typed: CR LF as LF, white space around it gone.

    :param place: where the text stood in the request.
    :raises Refusal: ``INVALID_REQUEST`` (empty, or a control character other than LF and tab, which the terminal would
        obey instead of show), ``BODY_TOO_LARGE``.
    """
    typed = text.replace("\r\n", "\n").strip()
    if not typed:
        raise Refusal(INVALID_REQUEST, f"{place}: the message is empty")
    for number, character in enumerate(typed):
        if character not in "\n\t" and unicodedata.category(character) in ("Cc", "Cs"):
            raise Refusal(INVALID_REQUEST, f"{place}: character U+{ord(character):04X} at {number} cannot be typed")
    if len(typed.encode()) > MESSAGE_LIMIT:
        raise Refusal(BODY_TOO_LARGE, f"{place}: a message has at most {MESSAGE_LIMIT} bytes")
    return typed
