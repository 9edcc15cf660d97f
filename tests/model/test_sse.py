"""The parser of event streams: the same events however the bytes are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentproxy.model.sse import EventParser, EventTooLarge, ServerSentEvent

PLAIN = st.text(st.characters(blacklist_characters="\r\n\0", blacklist_categories=("Cs",)), max_size=8)


def read(chunks: list[bytes], limit: int = 1000) -> list[ServerSentEvent]:
    """Return the events of a stream that arrives in *chunks*."""
    parser = EventParser(limit)
    return [event for chunk in chunks for event in parser.feed(chunk)]


@given(st.lists(st.tuples(PLAIN, st.lists(PLAIN, min_size=1, max_size=3)), max_size=4), st.data())
def test_a_stream_means_the_same_however_it_is_cut(events: list[tuple[str, list[str]]], data: st.DataObject) -> None:
    """Events survive any cutting, any line end, a mark at the start and comments between them."""
    end = data.draw(st.sampled_from(["\n", "\r\n", "\r"]))
    lines = ["\ufeff: hello"]
    for name, texts in events:
        lines += [f"event: {name}", *(f"data: {text}" for text in texts), ""]
    stream = (end.join(lines) + end).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert read(chunks) == [ServerSentEvent(name or "message", "\n".join(texts)) for name, texts in events]


@given(st.binary(max_size=60))
def test_any_bytes_one_by_one_mean_the_same_as_at_once(stream: bytes) -> None:
    """Garbage is read without harm, and always alike."""
    assert read([stream[i : i + 1] for i in range(len(stream))]) == read([stream])


def test_fields_follow_the_standard() -> None:
    """One space after the colon goes, an id lasts, an event without data is none, an unfinished one is not shown."""
    stream = b"id: 7\ndata:  a\ndata\n\nevent: nothing\n\nretry: 5\ndata:b\n\ndata: unfinished\n"
    assert read([stream]) == [ServerSentEvent("message", " a\n", "7"), ServerSentEvent("message", "b", "7")]


@pytest.mark.parametrize("stream", [b"data: " + b"x" * 50, b"data: 123456\n" * 5])
def test_an_event_over_the_limit_is_refused(stream: bytes) -> None:
    """Neither an endless line nor endless lines fill the memory."""
    with pytest.raises(EventTooLarge):
        read([stream], limit=40)
