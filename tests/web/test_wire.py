"""Request bodies and queries: what is wrong is named by its path, and nothing else is let through."""

from __future__ import annotations

from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentproxy.errors import Refusal
from agentproxy.web import wire


class Params(msgspec.Struct, forbid_unknown_fields=True):
    """An inner object."""

    message: str | None = None


class Body(msgspec.Struct, forbid_unknown_fields=True):
    """A body of the kind that the faces read."""

    restart: Literal["never", "resume"] | None = None
    user_id: str | None = None
    environment: dict[str, str] = {}
    params: Params | None = None


def refused(data: bytes) -> str:
    """Return the details of the refusal of *data*."""
    with pytest.raises(Refusal) as caught:
        wire.decode(data, Body)
    assert caught.value.kind.status == 400
    return caught.value.details


def test_an_empty_body_is_an_empty_object() -> None:
    """A caller who has nothing to say may say nothing."""
    assert wire.decode(b" \n", Body) == Body()


def test_a_wrong_value_of_a_map_is_named_by_its_key() -> None:
    """The path leads to the very key, not to the map that holds it."""
    assert refused(b'{"environment": {"A": "1", "B": 2}}').startswith("$.environment.B: expected string")


@pytest.mark.parametrize(
    "rest", [b"", b', "B": ', b"}, nonsense", b'}, "user_id": "\xff"}', b', "B": ' + b'{"a":' * 5000]
)
def test_a_wrong_value_is_named_whatever_comes_behind_it(rest: bytes) -> None:
    """What follows may be cut off, no JSON, no text, or nested too deep to be read."""
    assert refused(b'{"environment": {"A": 1' + rest).startswith("$.environment[...]: expected string, got integer")


def test_an_unknown_field_brings_the_nearest_name() -> None:
    """A misspelt field is refused and the right name offered."""
    assert refused(b'{"enviroment": {}}') == "$.enviroment: unknown field, did you mean environment?"
    assert refused(b'{"params": {"mesage": "x"}}') == "$.params.mesage: unknown field, did you mean message?"


@pytest.mark.parametrize(
    ("data", "details"),
    [
        (b'{"restart": "x"}', "$.restart: expected never or resume, got 'x'"),
        (b'{"user_id": 5}', "$.user_id: expected string | null, got integer"),
        (b"[]", "$: expected object, got array"),
    ],
)
def test_what_was_expected_is_said_in_words_of_json(data: bytes, details: str) -> None:
    """A caller need not know the language that the server is written in."""
    assert refused(data) == details


@pytest.mark.parametrize("data", [b"{", b"[]", b"5", b'"x"', b"\xff", b"{}x", b"[" * 5000])
def test_what_is_not_an_object_is_refused(data: bytes) -> None:
    """Bad JSON and other JSON values get one sentence that says what was expected."""
    assert refused(data).startswith("$: expected")


@given(st.binary())
def test_any_bytes_are_a_body_or_a_refusal(data: bytes) -> None:
    """No bytes make the server fail."""
    try:
        wire.decode(data, Body)
    except Refusal as refusal:
        assert refusal.body()["code"] == "invalid_request"


@given(st.text())
def test_numbers_of_a_query_are_plain_digits(text: str) -> None:
    """A number is digits within its bounds, or a refusal."""
    try:
        assert 1 <= wire.whole_number({"limit": text}, "limit", 50, 1, 100) <= 100
    except Refusal as refusal:
        assert refusal.details.startswith("limit: expected a whole number from 1 to 100")
