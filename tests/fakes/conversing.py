"""Fakes that hold a conversation: they read a message, do something, and say something."""

import sys
import time

from terminal import Keys, begin, log, log_start, pause, read, say, write

PROMPT = "> "


def converse(answer, echo=write, greeting="hello from the fake", prompt=PROMPT):
    """Greet, then answer each message until the terminal closes.

    :param answer: called with each message; it says the answer itself.
    :param echo: shows what is typed.
    """
    begin()
    write(f"{greeting}\r\n{prompt}")
    keys = Keys(echo)
    while True:
        for text in keys.feed(read() or ""):
            log("entered", text=text)
            write("\r\n")
            if text:
                answer(text)
            write(prompt)


def _silently(_piece):
    pass


def _say_reply(text):
    for number, line in enumerate(text.split("\n")):
        say(f"{'reply: ' if number == 0 else ''}{line}")


def tui():
    """Raw mode, paste marks taken off, echo while typing, ``reply: TEXT``: the well-behaved agent."""
    converse(_say_reply, greeting="hello from tui")


def echo():
    """Cooked mode: the kernel echoes and edits (4096 bytes a line); each line is repeated."""
    log_start()
    write("> ")
    for line in sys.stdin:
        text = line.rstrip("\n")
        log("entered", text=text)
        say(f"you said {text}")
        write("> ")
    log("ended", code=0)


def fixed(reply="DONE"):
    """Every answer is the same line."""
    converse(lambda _text: say(reply))


def noecho():
    """Nothing that is typed shows before Enter."""
    converse(_say_reply, echo=_silently, greeting="hello from noecho")


def deaf():
    """What is typed shows, and Enter does nothing (it is logged as entered)."""
    begin()
    write("hello from deaf\r\n> ")
    keys = Keys(write)
    while True:
        for text in keys.feed(read() or ""):
            log("entered", text=text)


def slow(seconds="3"):
    """Works for *seconds* with a spinner before each answer."""

    def answer(text):
        for frame in range(int(float(seconds) * 10)):
            write(f"\r{'|/-'[frame % 3]} working {frame / 10:.1f}s\x1b[K")
            pause(0.1)
        write("\r\x1b[K")
        _say_reply(text)

    converse(answer, greeting="hello from slow")


def quiet(seconds="6"):
    """Says ``working...`` once and is then silent for *seconds* before each answer."""

    def answer(text):
        say("working...")
        pause(float(seconds))
        say(f"answer to {text}")

    converse(answer, greeting="hello from quiet")


def putsback(seconds="5", later="0"):
    """Works for *seconds* at each message; Esc ends that and, *later* seconds after, puts the message back into the input line.

    Ctrl-U deletes the last row of what stands there, or its line break when the row is empty.
    """
    begin()
    keys = Keys(lambda _piece: None)

    def draw():
        write(f"\r\x1b[K{PROMPT}{keys.text.replace(chr(10), '/')}")

    def works():
        for frame in range(int(float(seconds) * 10)):
            write(f"\r\x1b[K{'|/-'[frame % 3]} working (Esc interrupts)")
            if "\x1b" in (read(0.1) or ""):
                return False
        return True

    write("hello from putsback\r\n")
    draw()
    while True:
        first, *rest = (read() or "").split("\x15")
        entered = keys.feed(first)
        for piece in rest:
            keys.text = keys.text[: keys.text.rfind("\n") + 1] if keys.text[-1:] != "\n" else keys.text[:-1]
            entered += keys.feed(piece)
        for text in entered:
            log("entered", text=text)
            done = works()
            write("\r\x1b[K")
            if done:
                _say_reply(text)
            else:
                say("interrupted")
                draw()
                end = time.monotonic() + float(later)
                while (left := end - time.monotonic()) > 0:
                    read(left)
                keys.text = text
        draw()


def nlines():
    """Answers a number N with N numbered lines, anything else as ``tui`` does."""

    def answer(text):
        if not text.isdigit():
            return _say_reply(text)
        for number in range(1, int(text) + 1):
            say(f"line {number} of {text}")
        return None

    converse(answer, greeting="hello from nlines")
