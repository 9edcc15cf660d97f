"""The rules over tags: short texts by which sessions are found again."""

from __future__ import annotations

from collections.abc import Mapping

from agentproxy.errors import INVALID_REQUEST, Refusal

COUNT_LIMIT = 64
NAME_LIMIT = 128
VALUE_LIMIT = 4096
LONG = frozenset({"message"})
"""Tags that carry something longer than a tag: the first message may be as long as a message."""


def check(tags: Mapping[str, str], path: str = "$.tags", called: str = "a tag") -> None:
    """Check the tags of a request. Lengths are in characters.

    :param path: where they stood in the request.
    :param called: what one of them is called.
    :raises Refusal: INVALID_REQUEST, naming ``path.NAME``.
    """
    if len(tags) > COUNT_LIMIT:
        raise Refusal(INVALID_REQUEST, f"{path}: more than {COUNT_LIMIT} of them")
    for name, value in tags.items():
        reason = _reason(name, value, called)
        if reason:
            shown = name[:80].encode("unicode_escape").decode()
            raise Refusal(INVALID_REQUEST, f"{path}.{shown}: {reason}")


def _reason(name: str, value: str, called: str) -> str | None:
    if not name or len(name) > NAME_LIMIT or not name.isprintable():
        return f"{called}'s name has 1 to {NAME_LIMIT} printable characters"
    if "\0" in value or any(0xD800 <= ord(letter) <= 0xDFFF for letter in value):
        return "contains NUL or is not valid Unicode"
    if name not in LONG and len(value) > VALUE_LIMIT:
        return f"longer than {VALUE_LIMIT} characters"
    return None
