"""When a call is sent again: never where that could do something twice."""

from __future__ import annotations

from typing import Any

import pytest

from agentproxy.client import Refused, Retries, Unreachable, calls
from agentproxy.client.call import Call
from agentproxy.client.failures import ClientError, refusal
from agentproxy.client.results import Event
from agentproxy.client.resuming import Place, read_events
from agentproxy.model.sse import EventParser

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


def test_a_stream_is_read_on_for_as_long_as_a_restart_takes() -> None:
    """Behind the last event, ever more slowly, for minutes; and at once again when something came."""
    place = Place(7, Retries())
    place.heard(Event(9, "message"))
    waits = [place.broke(GONE, float(second)) for second in (0, 1, 2, 3, 4, 5, 100, 299)]
    assert (place.after, waits) == (9, [0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0])
    place.heard(Event(10, "message"))
    assert place.broke(busy(503), 300.0) == 0.25
    with pytest.raises(Unreachable):
        place.broke(GONE, 700.0)


def test_a_stream_ends_when_there_is_nothing_more() -> None:
    """A session that is gone ends it; one that never was, a wrong key, and a server that never answered are failures."""
    place = Place(0, Retries(attempts=2))
    with pytest.raises(Refused):
        place.broke(busy(404), 0.0)
    assert Place(0, Retries(attempts=2)).broke(GONE, 0.0) == 0.25
    with pytest.raises(Unreachable):
        Place(0, Retries(attempts=1)).broke(GONE, 0.0)
    place.heard(Event(1, "session.ready"))
    assert place.broke(busy(404), 1.0) is None
    with pytest.raises(Refused):
        place.broke(busy(401), 1.0)


def test_a_snapshot_moves_the_place_back() -> None:
    """A database put back from a copy counts from where it was; the reader goes there with it."""
    place = Place(500, Retries())
    place.heard(Event(20, "resync"))
    assert place.after == 20


def test_an_answer_of_something_else_is_told_as_such() -> None:
    """A page of another program with the status 200 is no crash of the client's."""
    for answer in (b"<html>hello</html>", b"[]", b"{}", b'{"sessions": 7}'):
        with pytest.raises(ClientError, match="not one of an agentproxy"):
            calls.messages("s").result(answer)
    with pytest.raises(ClientError, match="not one of an agentproxy"):
        list(read_events(EventParser(), b"data: <html>\n\n"))
