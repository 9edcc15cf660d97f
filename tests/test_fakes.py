"""The fakes do what their README says: each in a terminal of its own, judged by what it shows, logs and leaves."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fakes import LOG_VARIABLE, fake_command
from tests.fakes.log import FakeLog, is_alive
from tests.fakes.names import NAMES
from tests.waiting import wait_for

FOLDER = Path(__file__).parent / "fakes"


class Seat:
    """One fake in a terminal: what it has shown, and its log."""

    def __init__(self, directory: Path, name: str, *args: object) -> None:
        self.shown = ""
        self.log = FakeLog(directory / "fake.log")
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *fake_command(name, *args)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=directory,
            env={**os.environ, LOG_VARIABLE: str(self.log.path)},
        )
        os.close(slave)

    def type(self, text: str) -> None:
        """Type *text*."""
        os.write(self._master, text.encode())

    def read(self, timeout: float) -> bool:
        """Take what is shown within *timeout* seconds; return False when nothing is or the fake has ended."""
        if not select.select([self._master], [], [], timeout)[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:
            data = b""
        self.shown = re.sub("\r+\n", "\n", self.shown + data.decode("utf-8", "replace"))
        return bool(data)

    def see(self, text: str, times: int = 1, timeout: float = 10) -> None:
        """Read until *text* was shown *times* times."""
        deadline = time.monotonic() + timeout
        while self.shown.count(text) < times:
            assert self.read(max(0.0, deadline - time.monotonic())), self.shown

    def end(self) -> int:
        """Read to the end and return the exit status."""
        while self.read(10):
            continue
        return self.process.wait(10)

    def close(self) -> None:
        """End the fake and what it has started."""
        self.process.kill()
        self.log.kill_all()
        self.process.wait(10)
        os.close(self._master)


@pytest.fixture
def seat(tmp_path: Path) -> Iterator[Callable[..., Seat]]:
    """Start fakes by name; all are ended afterwards."""
    with contextlib.ExitStack() as stack:

        def sit(name: str, *args: object) -> Seat:
            taken = Seat(tmp_path, name, *args)
            stack.callback(taken.close)
            return taken

        yield sit


def test_readme_lists_every_fake() -> None:
    """The table names exactly the fakes that exist."""
    rows = re.findall(r"^\| (`.*?) \|", (FOLDER / "README.md").read_text(), re.MULTILINE)
    listed = {word.split()[0] for row in rows for word in re.findall(r"`([^`]+)`", row)}
    assert listed == {*NAMES, "wrapper"}


def test_unknown_name_lists_the_known() -> None:
    """A wrong name says which there are."""
    with pytest.raises(KeyError, match="there are acp, alt"):
        fake_command("nobody")


TALKERS = ["tui", "echo", "fixed", "noecho", "quiet", "nlines", "repaint", "box", "alt", "burst", "diesaying", "slow"]
QUICK = {"quiet": ["0.1"], "slow": ["0.1"], "burst": ["3"]}


@pytest.mark.parametrize("name", TALKERS)
def test_talking_fakes_take_a_message(seat: Callable[..., Seat], name: str) -> None:
    """Every fake that holds a conversation logs what was submitted and says something about it."""
    fake = seat(name, *QUICK.get(name, []))
    wait_for("the start", lambda: fake.log.events("started") and fake.read(0.2))
    fake.type("ab" + ("\n" if name == "echo" else "\r"))
    wait_for("the answer", lambda: fake.read(0.05) or fake.log.said(), timeout=10)
    fake.log.wait("an answer", lambda log: log.said(), timeout=10)
    assert fake.log.entered() == ["ab"]


def test_tui_takes_paste_marks_off(seat: Callable[..., Seat]) -> None:
    """A bracketed paste of several lines is one message, even when its marks come in pieces."""
    fake = seat("tui")
    fake.see("> ")
    for piece in ("x\x08\x1b[2", "00~one\ntwo\x1b[201", "~", "\r"):
        fake.type(piece)
    fake.see("reply: one\ntwo")
    assert fake.log.entered() == ["one\ntwo"]
    assert b"".join([b"x\x08\x1b[200~", b"one\ntwo", b"\x1b[201~\r"]) == fake.log.typed()


def test_noecho_shows_nothing_before_enter(seat: Callable[..., Seat]) -> None:
    """What is typed is read and not shown."""
    fake = seat("noecho")
    fake.see("> ")
    fake.type("secret")
    fake.log.wait("the typing", lambda log: log.typed() == b"secret")
    assert not fake.read(0.1)


def test_deaf_shows_typing_and_answers_nothing(seat: Callable[..., Seat]) -> None:
    """Enter is logged and has no effect on the screen."""
    fake = seat("deaf")
    fake.see("> ")
    fake.type("hi\r")
    fake.see("hi")
    fake.log.wait("Enter", lambda log: log.entered() == ["hi"])
    assert fake.log.said() == []


def test_flood_and_nlines_count(seat: Callable[..., Seat]) -> None:
    """As many lines come as were asked for."""
    fake = seat("nlines")
    fake.see("> ")
    fake.type("30\r")
    fake.see("line 30 of 30")
    assert len(fake.log.said()) == 30


@pytest.mark.parametrize(
    ("name", "args", "status"),
    [
        ("die", (4, "farewell"), 4),
        ("dielater", (0.1, 5), 5),
        ("diesig", (9, 0), -9),
        ("diesig", (15, 0), -15),
    ],
)
def test_dying_fakes_die_as_told(seat: Callable[..., Seat], name: str, args: tuple[object, ...], status: int) -> None:
    """They say something last and end with the status or signal that was asked for."""
    fake = seat(name, *args)
    assert fake.end() == status
    assert fake.log.said()


def test_last_words(seat: Callable[..., Seat]) -> None:
    """``diesaying`` leaves with its status when told to."""
    fake = seat("diesaying", 6)
    fake.see("> ")
    fake.type("exit\r")
    assert fake.end() == 6
    assert "final gasp" in fake.shown


def test_stubborn_outlives_polite_signals(seat: Callable[..., Seat]) -> None:
    """Only SIGKILL ends it."""
    fake = seat("stubborn")
    fake.see("> ")
    for number in (2, 15, 1):
        fake.process.send_signal(number)
        fake.log.wait(f"signal {number}", lambda log, n=number: any(row["number"] == n for row in log.events("signal")))
    assert fake.process.poll() is None


def test_politeslow_tidies_up(seat: Callable[..., Seat]) -> None:
    """A signal makes it leave after a while with its own status."""
    fake = seat("politeslow", 0.1, 5)
    fake.see("> ")
    fake.process.send_signal(2)
    assert fake.end() == 5


def test_children_are_known_and_can_be_ended(seat: Callable[..., Seat]) -> None:
    """Every kind of child is logged, lives, and is found by the log."""
    fake = seat("grand")
    fake.see("> ")
    children = fake.log.events("child")
    assert [row["how"] for row in children] == ["same", "group", "session", "bare", "nohup"]
    assert all(is_alive(row["pid"], row["ticks"]) for row in children)
    fake.log.kill_all()
    wait_for("the end of all", lambda: not fake.log.living())


def test_silent_fakes(seat: Callable[..., Seat]) -> None:
    """``mute`` shows nothing; ``onkey`` wakes at the first byte."""
    fake = seat("mute")
    fake.log.wait("the start", lambda log: log.events("started"))
    fake.type("x")
    fake.log.wait("the byte", lambda log: log.typed() == b"x")
    assert fake.shown == ""
    awake = seat("onkey")
    awake.type("x")
    awake.see("awake\n> ")


@pytest.mark.parametrize(
    ("default", "key", "answer"),
    [("yes", "\r", "yes"), ("no", "\r", "no"), ("nothing", "y", "yes"), ("yes", "\x1b", "no"), ("yes", "2", "no")],
)
def test_approval(seat: Callable[..., Seat], default: str, key: str, answer: str) -> None:
    """A question is decided by its keys, and by Enter as the argument says."""
    fake = seat("approve", default)
    fake.see("> ")
    fake.type("ls\r")
    fake.see("esc to cancel")
    fake.type(key)
    fake.see("ran: ls" if answer == "yes" else "did not run: ls")
    assert [row["text"] for row in fake.log.events("answer")] == [answer]


def test_yes_or_no_takes_the_first_byte(seat: Callable[..., Seat]) -> None:
    """One key, whatever it is, is the answer."""
    fake = seat("yn")
    fake.see("(y/n)")
    fake.type("q")
    fake.see("key was 'q'")


def test_env_tells_what_it_was_given(seat: Callable[..., Seat], tmp_path: Path) -> None:
    """The file has environment, directory, terminal and ids."""
    fake = seat("env", tmp_path / "facts")
    fake.see("> ")
    facts = json.loads((tmp_path / "facts").read_text())
    assert facts["cwd"] == str(tmp_path)
    assert facts["pid"] == fake.process.pid
    assert facts["tty"].startswith("/dev/pts/")
    assert {0, 1, 2} <= set(facts["descriptors"])


def test_wrapper_runs_another_fake_below_a_shell(seat: Callable[..., Seat]) -> None:
    """The fake works as usual, with a shell between."""
    fake = seat("wrapper", "die", 3, "inner words")
    assert fake.end() == 0
    assert "inner words" in fake.shown


def test_stranger_holds_a_port(seat: Callable[..., Seat]) -> None:
    """It says where it listens and answers as something else."""
    fake = seat("stranger", 0, "garbage")
    fake.log.wait("listening", lambda log: log.events("listening"))
    with socket.create_connection(("127.0.0.1", fake.log.events("listening")[0]["port"]), 10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert connection.recv(100).startswith(b"\x00\x01SSH")


def test_acp_speaks_the_protocol(tmp_path: Path) -> None:
    """A session is opened and a prompt answered with an update and a reason to stop."""
    requests = [
        {"id": 1, "method": "initialize", "params": {"protocolVersion": 1}},
        {"id": 2, "method": "session/new", "params": {"cwd": str(tmp_path), "mcpServers": []}},
    ]
    lines = "".join(json.dumps({"jsonrpc": "2.0", **request}) + "\n" for request in requests)
    done = subprocess.run(fake_command("acp"), input=lines, capture_output=True, text=True, timeout=20)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["id"] for answer in answers] == [1, 2]
    assert answers[1]["result"]["sessionId"]
