"""The rule over texts that people give a session: its description, its owner's name, its first message."""

from __future__ import annotations

from agentproxy.errors import INVALID_REQUEST, Refusal

LIMIT = 65_536
"""Characters of a description or a message."""
NAME_LIMIT = 512
"""Characters of the name of a user or a team."""


def check(text: str, path: str, limit: int = LIMIT) -> None:
    """Check a text of a request.

    :param path: where it stood.
    :param limit: characters that it may have.
    :raises Refusal: INVALID_REQUEST, naming the path.
    """
    if len(text) > limit:
        raise Refusal(INVALID_REQUEST, f"{path}: longer than {limit} characters")
    if "\0" in text or any(0xD800 <= ord(letter) <= 0xDFFF for letter in text):
        raise Refusal(INVALID_REQUEST, f"{path}: contains NUL or is not valid Unicode")
