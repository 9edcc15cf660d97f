"""The demo agent, in a terminal of its own, with pipes, and below the real agentapi."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agentproxy.demo import BUSY, HISTORY, QUESTION, SPINNER
from tests.agent_servers import KINDS, run_agent_server

COMMAND = [sys.executable, "-m", "agentproxy.demo"]
CHECKOUT = Path(__file__).parent.parent


class Typist:
    """Someone at the terminal of one demo agent: types, and reads what is shown."""

    def __init__(self, directory: Path, *args: str) -> None:
        self.shown = ""
        self._master, slave = pty.openpty()
        environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
        self.process = subprocess.Popen(
            [*COMMAND, *args], stdin=slave, stdout=slave, stderr=slave, cwd=directory, env=environment
        )
        os.close(slave)

    def type(self, text: str) -> None:
        """Type *text*, keys as a terminal sends them."""
        os.write(self._master, text.encode())

    def see(self, text: str, timeout: float = 10) -> str:
        """Return what is shown up to and with *text*, and forget it."""
        deadline = time.monotonic() + timeout
        while text not in self.shown:
            assert select.select([self._master], [], [], max(0, deadline - time.monotonic()))[0], self.shown
            try:
                data = os.read(self._master, 65536)
            except OSError:
                data = b""
            assert data, f"the demo agent ended after {self.shown!r}"
            self.shown += data.decode()
        before, _text, self.shown = self.shown.partition(text)
        return before + text

    def close(self) -> None:
        """Leave the terminal."""
        self.process.kill()
        self.process.wait(20)
        os.close(self._master)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Typist]]:
    """Start demo agents in one directory; all are ended afterwards."""
    with contextlib.ExitStack() as stack:

        def begin(*args: str) -> Typist:
            typist = Typist(tmp_path, *args)
            stack.callback(typist.close)
            typist.see("] > ")
            return typist

        yield begin


@pytest.fixture
def demo(start: Callable[..., Typist]) -> Typist:
    """A demo agent that waits for its first message."""
    return start()


def test_what_is_said_is_repeated(demo: Typist) -> None:
    """A plain message is answered with itself and the number of its turn."""
    demo.type("hi there\r")
    demo.see("[1] You said: hi there\r\n[")


def test_same_question_twice_gives_two_answers(demo: Typist) -> None:
    """Two equal messages get different answers, because each names its turn."""
    demo.type("hi\r")
    demo.see("[1] You said: hi\r\n[")
    demo.type("hi\r")
    demo.see("[2] You said: hi\r\n[")


def test_pasted_newlines_belong_to_the_message(demo: Typist) -> None:
    """A pasted text of several lines is one message."""
    demo.type("\x1b[200~one\ntwo\x1b[201~\r")
    demo.see("[1] You said: one\r\ntwo\r\n[")


def test_keys_take_back_what_was_typed(demo: Typist) -> None:
    """Backspace takes a character, Ctrl-W a word and Ctrl-U everything."""
    demo.type("wrong\x15one two\x17threx\x7fe\r")
    demo.see("[1] You said: onethree\r\n")


def test_wide_characters_are_taken_back_whole(demo: Typist) -> None:
    """Backspace removes one character of any script."""
    demo.type("日本\x7f\r")
    demo.see("[1] You said: 日\r\n")


def test_arrow_keys_leave_no_rubbish(demo: Typist) -> None:
    """Keys that mean nothing here change nothing."""
    demo.type("a\x1b[Ab\x1bOPc\x1b[1;5Cd\r")
    demo.see("[1] You said: abcd\r\n")


def test_help_names_every_command(demo: Typist) -> None:
    """The commands can be found out by asking."""
    demo.type("help\r")
    text = demo.see("] > ")
    assert all(f"\n  {name} " in text for name in ("think", "approve", "table", "long", "fail", "exit"))


def test_thinking_shows_a_spinner_and_ends(demo: Typist) -> None:
    """A thinking turn says that it can be interrupted, and then that it is over."""
    demo.type("think 0.3\r")
    demo.see(BUSY)
    demo.see("[1] Thought for 0.3 seconds.\r\n[")


@pytest.mark.parametrize("key", ["\x03", "\x1b"], ids=["ctrl-c", "escape"])
def test_a_turn_is_interrupted_and_the_talk_goes_on(demo: Typist, key: str) -> None:
    """Ctrl-C and Esc end the turn, not the program."""
    demo.type("think 60\r")
    demo.see(BUSY)
    demo.type(key)
    demo.see("[1] Interrupted.\r\n[")
    demo.type("hi\r")
    demo.see("[2] You said: hi\r\n")


def test_ctrl_c_between_turns_empties_the_line(demo: Typist) -> None:
    """Ctrl-C at the prompt takes the line back and leaves the program running."""
    demo.type("\x03never mind\x03hi\r")
    demo.see("[1] You said: hi\r\n")


def test_what_is_typed_during_a_turn_is_kept(demo: Typist) -> None:
    """Messages typed while the agent works are answered afterwards."""
    demo.type("think 0.3\rnext\r")
    demo.see("[2] You said: next\r\n")


@pytest.mark.parametrize(
    ("keys", "verdict"),
    [
        ("y", "Approved"),
        ("1", "Approved"),
        ("n", "Refused"),
        ("2", "Refused"),
        ("\x1b", "Refused"),
        ("\x03", "Refused"),
    ],
)
def test_one_key_decides_an_approval(demo: Typist, keys: str, verdict: str) -> None:
    """A question is answered with one key."""
    demo.type("approve rm notes\r")
    demo.see(QUESTION)
    demo.type(keys)
    demo.see(f"[1] {verdict}: rm notes\r\n[")


def test_an_approval_is_not_decided_by_something_else(demo: Typist) -> None:
    """Enter and other words ask again; a pasted word counts when it is submitted."""
    demo.type("approve\r")
    demo.see(QUESTION)
    demo.type("\r")
    demo.see(QUESTION)
    demo.type("\x1b[200~maybe\x1b[201~\r")
    demo.see(QUESTION)
    demo.type("\x1b[200~yes\x1b[201~\r")
    demo.see("[1] Approved: echo hello\r\n")


def test_table_and_long_answers(demo: Typist) -> None:
    """A table has rows of one width; a long answer has as many lines as were asked for."""
    demo.type("table\r")
    rows = [row for row in demo.see("] > ").splitlines() if row.startswith("|")]
    assert len(rows) == 4
    assert len({len(row) for row in rows}) == 1
    demo.type("long 250\r")
    assert demo.see("] > ").count(" of 250\r\n") == 250


def test_failing_has_last_words_and_a_status(demo: Typist) -> None:
    """The agent ends with the status that was asked for, after saying so."""
    demo.type("fail 7\r")
    demo.see("[1] Failing with status 7")
    assert demo.process.wait(20) == 7


def test_leaving(start: Callable[..., Typist]) -> None:
    """``exit`` and Ctrl-D on an empty line end the program with status 0."""
    for keys in ("exit\r", "\x04"):
        demo = start()
        demo.type(keys)
        assert demo.process.wait(20) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_it(demo: Typist, number: signal.Signals) -> None:
    """A signal ends the program at once, also in the middle of a turn."""
    demo.type("think 60\r")
    demo.see(BUSY)
    demo.process.send_signal(number)
    assert demo.process.wait(20) == 128 + number


def test_resizing_disturbs_nothing(demo: Typist) -> None:
    """A change of the window's size leaves turn and line as they are."""
    demo.type("think 0.5\r")
    demo.see(BUSY)
    demo.process.send_signal(signal.SIGWINCH)
    demo.see("[1] Thought for 0.5 seconds.\r\n[")
    demo.type("hi")
    demo.see("hi")
    demo.process.send_signal(signal.SIGWINCH)
    demo.type("!\r")
    demo.see("[2] You said: hi!\r\n")


def test_resuming_goes_on_counting(start: Callable[..., Typist]) -> None:
    """A resumed agent knows how far the talk was and what was said last."""
    first = start()
    first.type("remember me\r")
    first.see("[1] You said: remember me\r\n[")
    first.type("\x04")
    first.process.wait(20)
    second = start("--resume")
    second.type("hi\r")
    second.see("[2] You said: hi\r\n")


def run_piped(directory: Path, text: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Run a demo agent on pipes over *text*."""
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    return subprocess.run(
        [*COMMAND, *args], input=text, capture_output=True, text=True, cwd=directory, env=environment, timeout=30
    )


def test_resumed_greeting(tmp_path: Path) -> None:
    """A resumed agent greets as such; with nothing or rubbish to resume it says so."""
    assert "Nothing to resume here." in run_piped(tmp_path, "", "--resume").stdout
    run_piped(tmp_path, "one\ntwo\n")
    assert (
        "Welcome back to the demo agent: 2 turns so far, the last was: two"
        in run_piped(tmp_path, "", "--resume").stdout
    )
    (tmp_path / HISTORY).write_text("[1]")
    assert "Nothing to resume here." in run_piped(tmp_path, "", "--resume").stdout


def test_pipes_work_without_a_terminal(tmp_path: Path) -> None:
    """With pipes a newline submits, no control sequence is written, and the end of the input ends the program."""
    done = run_piped(tmp_path, "hi\nthink 0.2\napprove x\nyes\nthink nonsense 5\nbye")
    assert done.returncode == 0
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    assert "[1] You said: hi\n" in done.stdout
    assert "[3] Approved: x\n" in done.stdout
    assert "[5] You said: bye\n" in done.stdout


def test_spinner_has_more_than_one_picture() -> None:
    """The spinner turns."""
    assert len(set(SPINNER)) == len(SPINNER) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_talk_below_an_agent_server(kind: str, tmp_path: Path) -> None:
    """Below an agent server two equal messages get their answers, a question is seen and answered by a raw key."""
    with run_agent_server(kind, COMMAND, directory=tmp_path) as server:
        with server.client.events() as events:
            events.until_stable()
            for turn in (1, 2):
                assert server.client.send("hi\nyou").status == 200
                events.until_message(f"[{turn}] You said: hi")
                events.until_stable()
            assert server.client.send("approve ls").status == 200
            events.until_message(QUESTION.strip())
            assert server.client.send("y", "raw").status == 200
            events.until_message("[3] Approved: ls")
            events.until_stable()
        replies = [row["content"] for row in server.client.messages() if row["role"] == "agent"]
    assert replies[0].startswith("Welcome to the demo agent.")
    assert replies[1:3] == ["[1] You said: hi\nyou", "[2] You said: hi\nyou"]
    assert "wants to run:\n    ls\n" in replies[3]
