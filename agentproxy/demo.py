"""The demo agent: a small interactive terminal program, to try everything with no model and no key.

``python -m agentproxy.demo [--resume]``; standard library only. It behaves as a coding agent does in its terminal:

=================  =====================================================================================
key                effect
=================  =====================================================================================
Enter              submits the line; a newline inside a paste (or Ctrl-J) belongs to the text
Backspace, ^U, ^W  take back a character, everything, a word
Ctrl-C, Esc        interrupt a running turn, empty the line; they never end the program
Ctrl-D             ends the program when the line is empty
=================  =====================================================================================

Every answer begins with the number of its turn (``[3] You said: hi``), so the same question always has a predictable
answer, and no two answers are equal. ``--resume`` goes on counting from the file ``.agentproxy-demo.json`` in the working
directory. Signals end the program with 128 plus their number.
"""

from __future__ import annotations

import argparse
import codecs
import contextlib
import json
import os
import select
import shutil
import signal
import sys
import termios
import time
import unicodedata
from collections.abc import Callable, Iterator

HISTORY = ".agentproxy-demo.json"
"""Name of the file, in the working directory, that ``--resume`` reads."""

PROMPT = "[{turn}] > "
"""What stands in front of the cursor while the agent waits. Its number makes every echoed line a new one: an agent server
that compares screens would else take the echo of a repeated message for old text, and the answer for the echo."""

QUESTION = "Allow? [y/n] "
BUSY = "Ctrl-C interrupts"
SPINNER = "|/-\\"

PASTE_START, PASTE_END = "\x1b[200~", "\x1b[201~"
CTRL_C, CTRL_D, CTRL_U, CTRL_W, ESCAPE = "\x03", "\x04", "\x15", "\x17", "\x1b"

TABLE = (("file", "lines", "tests"), ("parser.py", "212", "passed"), ("server.py", "148", "passed"))

HELP = """\
Commands of the demo agent; anything else is repeated.
  help             this text
  think [SECONDS]  work with a spinner (2)
  approve [WHAT]   ask for approval before WHAT is done
  table            print a table
  long [LINES]     print many lines (100)
  fail [STATUS]    say last words and exit with STATUS (1)
  exit             leave with status 0"""


class Interrupted(Exception):  # noqa: N818 -- a key that was pressed, not a fault
    """Ctrl-C or Esc was pressed while a turn was running."""


class Terminal:
    """Standard input and output: keys in, text out.

    Works in a terminal, whose mode it changes within :meth:`raw`, and with pipes, where a newline submits a line.
    """

    def __init__(self) -> None:
        self.is_tty = os.isatty(0)
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._typed = ""
        self._at_end = False

    @contextlib.contextmanager
    def raw(self) -> Iterator[None]:
        """Turn off what the kernel does to keys, and ask for paste marks, for the length of a ``with`` block."""
        if not self.is_tty:
            yield
            return
        before = termios.tcgetattr(0)
        mode = termios.tcgetattr(0)
        mode[0] &= ~(termios.ICRNL | termios.INLCR | termios.IXON | termios.BRKINT | termios.ISTRIP)
        mode[3] &= ~(termios.ECHO | termios.ICANON | termios.ISIG | termios.IEXTEN)
        termios.tcsetattr(0, termios.TCSANOW, mode)
        self.write("\x1b[?2004h")
        try:
            yield
        finally:
            with contextlib.suppress(OSError, termios.error):
                self.write("\x1b[?2004l")
                termios.tcsetattr(0, termios.TCSADRAIN, before)

    def write(self, text: str) -> None:
        """Write *text* at once and whole."""
        data = text.encode("utf-8", "replace")
        while data:
            data = data[os.write(1, data) :]

    def say(self, text: str) -> None:
        """Write *text* and end its line."""
        self.write(f"{text}\n")

    def _read(self, timeout: float | None) -> bool:
        """Take what was typed within *timeout* seconds (None: as long as it needs); return whether anything came."""
        if self._at_end or not select.select([0], [], [], timeout)[0]:
            return False
        try:
            data = os.read(0, 65536)
        except OSError:  # the other side of the terminal is gone
            data = b""
        self._at_end = not data
        self._typed += self._decode(data, final=not data)
        return bool(data)

    def pause(self, seconds: float) -> None:
        """Let *seconds* pass; what is typed meanwhile is kept for the next line.

        :raises Interrupted: Ctrl-C, or Esc alone.
        """
        deadline = time.monotonic() + seconds
        while (rest := deadline - time.monotonic()) > 0:
            if not self._read(rest):
                time.sleep(max(0.0, deadline - time.monotonic()))
            elif CTRL_C in self._typed or self._typed == ESCAPE:
                self._typed = ""
                raise Interrupted

    def key(self) -> str | None:
        """Return the next key, a whole escape sequence being one, or None at the end of the input."""
        while not self._typed:
            if not self._read(None) and self._at_end:
                return None
        length = 1
        if self._typed[0] == ESCAPE:
            while (found := _sequence_length(self._typed)) is None and self._read(0.05):
                continue
            length = found or len(self._typed)
        key, self._typed = self._typed[:length], self._typed[length:]
        return key


def _sequence_length(text: str) -> int | None:
    """Return the length of the escape sequence that *text* begins with, None while it is not whole."""
    if len(text) < 2:
        return None
    if text[1] not in "[O":
        return 1
    for number, character in enumerate(text[2:], 3):
        if "@" <= character <= "~":
            return number
    return None


def _width(text: str) -> int:
    """Return the number of columns that *text* takes."""
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1
        for character in text
    )


class Line:
    """The line being edited behind a prompt."""

    def __init__(self, terminal: Terminal, prompt: str) -> None:
        self.text = ""
        self.pasting = False
        self._terminal = terminal
        self._prompt = prompt
        terminal.write(prompt)

    def insert(self, text: str) -> None:
        """Put *text* at the end and show it."""
        self.text += text
        self._terminal.write(text)

    def replace(self, text: str) -> None:
        """Make the line *text* and draw it anew, however many rows the old one had."""
        columns = max(1, shutil.get_terminal_size().columns)
        rows = [max(1, -(-_width(row) // columns)) for row in (self._prompt + self.text).split("\n")]
        up = f"\x1b[{sum(rows) - 1}A" if sum(rows) > 1 else ""
        self.text = text
        self._terminal.write(f"{up}\r\x1b[J{self._prompt}{text}")

    def edit(self, key: str) -> None:
        """Do what an editing key says; a key that means nothing here is passed over."""
        if key in (PASTE_START, PASTE_END):
            self.pasting = key == PASTE_START
        elif key in ("\n", "\r"):
            self.insert("\n")
        elif key in ("\x7f", "\x08"):
            if self.text:
                self.replace(self.text[:-1])
        elif key == CTRL_U or (key in (CTRL_C, ESCAPE) and self.text):
            self.replace("")
        elif key == CTRL_W:
            self.replace(self.text.rstrip().rpartition(" ")[0])
        elif len(key) == 1 and (key.isprintable() or key == "\t"):
            self.insert(key)


def read_line(terminal: Terminal, prompt: str, at_once: str = "") -> str | None:
    """Return the line that was submitted behind *prompt*, None at the end of the input.

    :param at_once: keys of a terminal that are an answer of their own while the line is empty and nothing is pasted.
    """
    line = Line(terminal, prompt)
    submits = "\r" if terminal.is_tty else "\r\n"
    while (key := terminal.key()) is not None:
        if line.pasting or (key in "\r\n" and key not in submits):
            line.edit(key)
        elif key in submits:
            terminal.say("")
            return line.text
        elif terminal.is_tty and not line.text and key in at_once:
            terminal.say(key if key.isprintable() else "")
            return key
        elif not line.text and key == CTRL_D:
            terminal.say("")
            return None
        else:
            line.edit(key)
    return line.text or None


class Demo:
    """The agent itself: what it says to each line."""

    def __init__(self, terminal: Terminal, turn: int) -> None:
        self.turn = turn
        self._terminal = terminal
        self._commands: dict[str, Callable[[str], None]] = {
            "help": lambda _rest: self._say(HELP),
            "think": self._think,
            "approve": self._approve,
            "table": self._table,
            "long": self._long,
            "fail": self._fail,
            "exit": self._exit,
        }

    def answer(self, text: str) -> None:
        """Do one turn for the submitted *text*."""
        self.turn += 1
        _keep(self.turn, text)
        name, _space, rest = text.strip().partition(" ")
        command = self._commands.get(name.lower())
        try:
            if command is None:
                self._say(f"You said: {text}")
            else:
                command(rest.strip())
        except Interrupted:
            self._terminal.write("\r\x1b[K" if self._terminal.is_tty else "")
            self._say("Interrupted.")

    def _say(self, text: str) -> None:
        self._terminal.say(f"[{self.turn}] {text}")

    def _think(self, rest: str) -> None:
        seconds = _number(rest, 2, 3600)
        frames = int(seconds * 10)
        for frame in range(frames):
            if self._terminal.is_tty:
                self._terminal.write(f"\r{SPINNER[frame % 4]} thinking {frame / 10:.1f} s ({BUSY})\x1b[K")
            self._terminal.pause(0.1)
        self._terminal.write("\r\x1b[K" if self._terminal.is_tty else "")
        self._say(f"Thought for {seconds:g} seconds.")

    def _approve(self, rest: str) -> None:
        what = rest or "echo hello"
        self._say(f"The demo agent wants to run:\n    {what}\n  y. Yes, run it\n  n. No")
        while True:
            answer = read_line(self._terminal, QUESTION, at_once="yYnN12" + ESCAPE + CTRL_C)
            word = "n" if answer is None else answer.strip().lower()
            if word in ("y", "yes", "1"):
                return self._say(f"Approved: {what}")
            if word in ("n", "no", "2", ESCAPE, CTRL_C):
                return self._say(f"Refused: {what}")

    def _table(self, _rest: str) -> None:
        rows = ["| " + " | ".join(cell.ljust(9) for cell in row) + " |" for row in TABLE]
        rows.insert(1, "|" + "|".join(["-" * 11] * 3) + "|")
        self._say("\n".join(["Here is a table.", *rows]))

    def _long(self, rest: str) -> None:
        count = int(_number(rest, 100, 100_000))
        self._say("\n".join([f"Here are {count} lines.", *(f"line {n} of {count}" for n in range(1, count + 1))]))

    def _fail(self, rest: str) -> None:
        status = int(_number(rest, 1, 255))
        self._say(f"Failing with status {status}, as you wished.")
        sys.exit(status)

    def _exit(self, _rest: str) -> None:
        self._say("Goodbye.")
        sys.exit(0)


def _number(text: str, default: float, most: float) -> float:
    """Return the number in *text*, *default* when there is none, kept between 0 and *most*."""
    try:
        number = float(text or default)
    except ValueError:
        return default
    return min(max(number, 0.0), most) if number == number else default


def _keep(turn: int, text: str) -> None:
    """Write down how far the talk has come; a directory that cannot be written costs only the resuming."""
    with contextlib.suppress(OSError), open(HISTORY + ".tmp", "w", encoding="utf-8") as file:
        json.dump({"turn": turn, "last": text}, file)
        file.flush()
        os.replace(HISTORY + ".tmp", HISTORY)


def _kept() -> tuple[int, str]:
    """Return the number of turns of the earlier talk and its last message; (0, "") when there is none."""
    try:
        with open(HISTORY, encoding="utf-8") as file:
            kept = json.load(file)
        return int(kept["turn"]), str(kept["last"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0, ""


def _greeting(turn: int, last: str, resume: bool) -> str:
    if turn:
        return f"Welcome back to the demo agent: {turn} turns so far, the last was: {' '.join(last.split())[:60]}"
    return "Nothing to resume here. " * resume + "Welcome to the demo agent. Say help for its commands."


def _leave(number: int, _frame: object) -> None:
    sys.exit(128 + number)


def main() -> None:
    """Run the demo agent until its terminal closes, a signal comes, or it is told to leave."""
    parser = argparse.ArgumentParser(prog="python -m agentproxy.demo", description="A demo agent without a model.")
    parser.add_argument("--resume", action="store_true", help="go on with the talk that this directory remembers")
    resume = parser.parse_args().resume
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    turn, last = _kept() if resume else (0, "")
    terminal = Terminal()
    with contextlib.suppress(OSError), terminal.raw():
        terminal.say(_greeting(turn, last, resume))
        demo = Demo(terminal, turn)
        while (text := read_line(terminal, PROMPT.format(turn=demo.turn + 1))) is not None:
            if text.strip():
                demo.answer(text)


if __name__ == "__main__":
    main()
