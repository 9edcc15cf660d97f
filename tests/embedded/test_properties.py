"""Whatever a program writes: the screen stays a screen, and no finished message is lost."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock

from agentproxy.embedded.conversation import Conversation
from agentproxy.embedded.formats import FORMATS
from agentproxy.embedded.quiet import QUIET, WORK_WINDOW
from agentproxy.embedded.screen import Screen
from agentproxy.embedded.session import LOOK_EVERY, Session

LETTERS = "abcdefgh XYZ019-+=.,:;()é日"
WORDS = st.text(LETTERS, min_size=1, max_size=60).map(str.strip).filter(lambda text: re.search(r"\w", text))
REPLIES = st.lists(WORDS, min_size=1, max_size=12).map("\n".join)
NOISE = st.one_of(
    st.binary(max_size=100),
    st.sampled_from(
        [b"\x1b[2J", b"\x1b[H", b"\x1b[3J", b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[5S", b"\x1b[2T", b"\x1b[1;5r", b"\x1bc",
         b"\x1b[99999;99999H", b"\x1b[9999999999C", b"\x1bP1$r0m\x1b\\", b"\x1b[<u", b"\x1b(0qqq\x1b(B", b"\xf0\x9f",
         "👨‍👩‍👧⚠️".encode()]
    ),
)  # fmt: skip


@given(emulator=st.sampled_from(["avt", "pyte"]), pieces=st.lists(NOISE, max_size=15))
@settings(max_examples=120, deadline=None)
def test_no_bytes_break_the_screen(emulator: str, pieces: list[bytes]) -> None:
    """After any bytes the screen has its height, a cursor inside, and shows what comes next."""
    screen = Screen(20, 10, emulator)
    for piece in pieces:
        screen.feed(piece)
        screen.take_changes()
        column, row = screen.cursor
        assert (len(screen.rows), 0 <= row < 10, 0 <= column <= 20) == (10, True, True)
    screen.feed(b"\x18\x1b\\\x1bc\x1b[2J\x1b[Hafterwards")
    assert screen.rows[0].endswith("afterwards")


@given(
    pieces=st.lists(
        st.sampled_from([b"one ", b"two\r\n", b"\x1b[31m", b"\x1b[5;5H", b"three", "日本".encode()]), max_size=30
    )
)
@settings(max_examples=60, deadline=None)
def test_a_picture_draws_the_same_screen(pieces: list[bytes]) -> None:
    """What a newly attached terminal is sent shows the same rows and the same cursor."""
    first, second = Screen(30, 8), Screen(30, 8)
    for piece in pieces:
        first.feed(piece)
    second.feed(b"rubbish before" + first.picture())
    assert (second.rows, second.cursor) == (first.rows, first.cursor)


@pytest.mark.parametrize("emulator", ["avt", "pyte"])
def test_rows_that_scroll_off_are_kept_by_either_emulator(emulator: str) -> None:
    """Both emulators give back the rows that left the top, in order."""
    screen = Screen(20, 10, emulator)
    screen.feed(b"".join(b"line %d\r\n" % number for number in range(100)))
    rows, lost = screen.since(0)
    assert (lost, screen.scrolled) == (0, 91)
    assert [row for row in rows if row] == [f"line {number}" for number in range(100)]


@given(talk=st.lists(st.tuples(REPLIES, REPLIES), min_size=1, max_size=8), height=st.sampled_from([10, 24, 60]))
@settings(max_examples=80, deadline=None)
def test_no_finished_message_is_lost(talk: list[tuple[str, str]], height: int) -> None:
    """A program with a prompt, an echo and any replies: every message holds what was said, whatever repeats and scrolls."""
    screen, conversation = Screen(80, height), Conversation("custom")

    def look() -> None:
        rows, lost = screen.since(conversation.base.scrolled)
        conversation.look(rows, len(rows) - height + screen.cursor[1], lost)

    screen.feed(b"hello\r\n> ")
    look()
    for said, reply in talk:
        base = screen.place()
        screen.feed(said.replace("\n", "\r\n").encode() + b"\r\n")
        conversation.said(said, "2026-01-01T00:00:00Z", base)
        look()
        for line in ("reply: " + reply).split("\n"):
            screen.feed(line.encode() + b"\r\n")
            look()
        screen.feed(b"> ")
        look()
    told = [message.content for message in conversation.messages]
    wanted = ["hello", *(text for said, reply in talk for text in (said, "reply: " + reply))]
    assert [plain(text) for text in told] == [plain(text) for text in wanted]


def plain(text: str) -> list[str]:
    """Return the rows of a message that have words, without blanks at their ends."""
    return [row.strip() for row in text.split("\n") if row.strip()]


def test_every_type_takes_any_reply() -> None:
    """No agent type stumbles over a screen of another."""
    for kind in FORMATS:
        conversation = Conversation(kind)
        assert conversation.look(["│ > box", "╰──╯", "────────────────────"]) is None or conversation.messages


def busy(session: Session) -> bool:
    """Say whether a message is refused because the agent is busy."""
    told: list[str] = []
    sent = ensureDeferred(session.say("hello"))
    sent.addErrback(lambda failure: told.append(failure.value.code))
    return told == ["busy"]


def test_what_was_just_drawn_counts() -> None:
    """A screen that changed a moment ago is not quiet, although nobody has looked at it since."""
    clock = Clock()
    session = Session(clock, "custom", 40, 10)
    clock.pump([0.5] * 10)
    assert session.status == "stable"
    session.drawn(b"hello\r\n> ")
    assert busy(session)
    session.stop()


@pytest.mark.parametrize("before", [0.001, 0.024, 0.3])
def test_an_answer_that_goes_on_just_before_the_agent_counts_as_quiet(
    before: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not stable with half of the answer: the screen is looked at once more."""
    monkeypatch.setattr("agentproxy.embedded.session.LOOK_SHARE", 0)  # on a busy machine a look takes long
    clock = Clock()
    session = Session(clock, "custom", 40, 10)
    session.drawn(b"hello\r\n> ")
    told: list[tuple[str, str]] = []
    session.listeners.add(
        lambda name, data: (
            told.append((data["status"], session.conversation.messages[-1].content))
            if name == "status_change"
            else None
        )
    )
    clock.advance(LOOK_EVERY)
    session.drawn(b"\rhalf \r\n> ")
    clock.advance(LOOK_EVERY)
    clock.pump([QUIET - WORK_WINDOW, WORK_WINDOW - before])
    session.drawn(b"\x1b[A\rhalf and half\r\n> ")
    clock.pump([before, QUIET - WORK_WINDOW, WORK_WINDOW, LOOK_EVERY])
    assert told[-1] == ("stable", "hello\nhalf and half")
    assert ("stable", "hello\nhalf") not in told
    session.stop()


def test_an_agent_that_has_not_drawn_its_box_is_not_ready() -> None:
    """A blank screen of a known type is a start, for half a minute; of a program that nobody knows it may be all there is."""
    clock = Clock()
    sessions = [Session(clock, kind, 40, 10) for kind in ("claude", "custom")]
    clock.pump([0.5] * 10)
    assert [session.status for session in sessions] == ["stable", "stable"]
    assert [busy(session) for session in sessions] == [True, False]
    clock.pump([1] * 30)
    assert not busy(sessions[0])
    for session in sessions:
        session.stop()


@pytest.mark.parametrize("cut", range(1, 40, 3))
def test_what_is_said_before_a_wipe_is_kept(cut: int) -> None:
    """An answer that is drawn and wiped off at once is a message, although nobody listens, wherever the bytes are cut."""
    clock = Clock()
    session = Session(clock, "custom", 40, 10)
    session.drawn(b"hello\r\n> ")
    clock.advance(1)
    data = b"\r\nthe answer\r\n> \x1b[2J\x1b[H> "
    session.drawn(data[:cut])
    session.drawn(data[cut:])
    clock.advance(1)
    assert "the answer" in session.conversation.messages[-1].content
    session.stop()
