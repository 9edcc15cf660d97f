"""When a call is sent again: never where that could do something twice."""

from __future__ import annotations

from typing import Any

import pytest

from agentproxy.client import Refused, Retries, Unreachable, calls
from agentproxy.client.calls import Call
from agentproxy.client.failures import ClientError, refusal

GONE = Unreachable("gone")


def busy(status: int, after: str | None = None) -> Refused:
    """Return a refusal with a status."""
    return refusal(status, b'{"error": "no", "code": "x", "message": "No."}', after)


@pytest.mark.parametrize(
    ("call", "failure", "expected"),
    [
        (calls.get("s"), GONE, 0.25),
        (calls.start(), GONE, 0.25),
        (calls.send("s", "hi"), busy(503), 0.25),
        (calls.send("s", "hi"), busy(429, "7"), 7.0),
        (calls.get("s"), busy(429, "600"), None),
        (calls.get("s"), busy(404), None),
        (calls.get("s"), busy(500), None),
        (calls.interrupt("s"), GONE, None),
        (calls.delete("s"), GONE, None),
        (calls.restart("s"), busy(503), None),
    ],
)
def test_only_what_does_no_harm_twice_is_sent_again(
    call: Call[Any], failure: ClientError, expected: float | None
) -> None:
    """Reading, and what carries an idempotency key; not keys pressed, deletes and restarts."""
    assert Retries().wait(call, failure, 1) == expected


def test_it_ends() -> None:
    """The waits grow, and the last attempt is the last."""
    waits = [Retries().wait(calls.get("s"), GONE, tried) for tried in range(1, 6)]
    assert waits == [0.25, 0.5, 1.0, None, None]


def test_whoever_answers_an_error_is_understood() -> None:
    """Our own shape, an agent server's problem, and a proxy's page."""
    assert refusal(409, b'{"error": "E", "code": "session_busy", "message": "M."}', None).code == "session_busy"
    assert refusal(500, b'{"title": "T", "detail": "busy"}', None).hint == "busy"
    page = refusal(502, b"<html>Bad gateway</html>", None)
    assert (page.code, page.hint) == ("http_502", "<html>Bad gateway</html>")
    assert refusal(503, b"", "nonsense").retry_after is None
