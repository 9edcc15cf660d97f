"""Event streams: their bytes, and what a reader that does not read costs."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.task import Clock

from agentproxy.embedded.stream import KEEP_ALIVE, STALLED, Frames, Stream, frame
from agentproxy.embedded.talk import EVENTS, ROWS


class Reader:
    """What a stream needs of a request: it keeps what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.aborted = False
        self.channel = self
        self.transport = self
        self.finished = False

    def setHeader(self, _name: str, _value: str) -> None:
        """Take a header."""

    def registerProducer(self, _producer: object, _streaming: bool) -> None:
        """Take the producer."""

    def unregisterProducer(self) -> None:
        """Forget the producer."""

    def write(self, data: bytes) -> None:
        """Keep what is written."""
        self.written.append(data)

    def finish(self) -> None:
        """End."""
        self.finished = True

    def abortConnection(self) -> None:
        """Cut off."""
        self.aborted = True


def message(number: int, text: str) -> dict[str, Any]:
    """Return the data of a message event."""
    return {"id": number, "role": "agent", "message": text, "time": "now"}


def datas(reader: Reader) -> list[Any]:
    """Return the data of the events that a reader got."""
    return [
        json.loads(line[6:])
        for part in reader.written
        for line in part.decode().split("\n")
        if line.startswith("data: ")
    ]


def test_frames_are_agentapis() -> None:
    """Special characters are escaped, others are not; half a surrogate pair breaks nothing."""
    assert frame("screen", {"screen": "a<b>&\u2028é\x1b"}) == (
        b'event: screen\ndata: {"screen":"a\\u003cb\\u003e\\u0026\\u2028\xc3\xa9\\u001b"}\n\n'
    )
    assert b"event: x" in frame("x", {"text": "\ud800"})


def test_a_reader_that_is_full_gets_the_newest_of_each() -> None:
    """While nothing can be written, only the newest revision of each message and the newest status wait."""
    clock, reader = Clock(), Reader()
    stream = Stream(reader, clock, EVENTS, Frames())
    stream.pauseProducing()
    for number in range(1000):
        stream("message_update", message(3, f"revision {number}"))
        stream("status_change", {"status": "running", "number": number})
    stream("message_update", message(4, "next"))
    assert reader.written == []
    stream.resumeProducing()
    assert datas(reader) == [message(3, "revision 999"), {"status": "running", "number": 999}, message(4, "next")]
    stream("message_update", message(4, "live"))
    assert datas(reader)[-1] == message(4, "live")
    stream.closed()
    assert clock.getDelayedCalls() == []


def test_changed_rows_are_put_together() -> None:
    """Rows that change while a reader is full arrive in one event that has all of them."""
    clock, reader = Clock(), Reader()
    stream = Stream(reader, clock, (ROWS,), Frames())
    stream.pauseProducing()
    for number in range(5):
        stream(ROWS, {"whole": False, "rows": {str(number % 2): f"text {number}"}, "cursor": number})
    stream.resumeProducing()
    assert datas(reader) == [{"whole": False, "rows": {"0": "text 4", "1": "text 3"}, "cursor": 4}]
    stream.closed()


def test_a_stalled_reader_is_cut_off_and_a_silent_stream_kept_alive() -> None:
    """A comment comes on a silent stream; a reader that takes nothing for a minute is cut off."""
    clock, reader = Clock(), Reader()
    stream = Stream(reader, clock, EVENTS, Frames())
    clock.advance(KEEP_ALIVE)
    assert reader.written == [b": keep-alive\n\n"]
    stream.pauseProducing()
    clock.pump([STALLED / 10] * 10)
    assert (reader.aborted, stream.open, len(reader.written)) == (True, False, 1)
    assert clock.getDelayedCalls() == []


def test_one_event_is_made_into_bytes_once() -> None:
    """Many readers of one event share its bytes."""
    frames, data = Frames(), message(1, "text")
    assert frames.frame("message_update", data) is frames.frame("message_update", data)
    assert frames.frame("message_update", message(1, "text")) is not frames.frame("message_update", data)
