"""The rules over tags."""

from __future__ import annotations

import pytest

from agentproxy.errors import Refusal
from agentproxy.model.tags import check


@pytest.mark.parametrize(
    "tags", [{"": "a"}, {"a\n": "b"}, {"a": "\0"}, {"a": "x" * 5000}, {str(n): "" for n in range(65)}]
)
def test_tags_that_are_refused(tags: dict[str, str]) -> None:
    """Too many, too long and unprintable tags are refused at their path."""
    with pytest.raises(Refusal, match=r"\$\.tags"):
        check(tags)


def test_ordinary_tags_and_a_long_first_message() -> None:
    """The first message may be longer than a tag."""
    check({"repository": "a/b", "größe": "ä", "message": "x" * 20000})
