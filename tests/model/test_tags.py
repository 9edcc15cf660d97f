"""The rules over tags."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentproxy.errors import Refusal
from agentproxy.model.tags import COUNT_LIMIT, NAME_LIMIT, check


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


@given(st.dictionaries(st.text(max_size=140), st.text(max_size=40), max_size=70))
def test_any_tags_are_taken_whole_or_refused_by_path(tags: dict[str, str]) -> None:
    """What is accepted can be stored, shown and searched for; what is not is refused with one printable line."""
    try:
        check(tags)
    except Refusal as refusal:
        assert refusal.details.startswith("$.tags")
        assert refusal.details.isprintable()
        return
    assert len(tags) <= COUNT_LIMIT
    for name, value in tags.items():
        assert 0 < len(name) <= NAME_LIMIT
        assert name.isprintable()
        assert "\0" not in value
        value.encode()
