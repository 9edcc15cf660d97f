"""Fakes about the picture: they repaint, flood, use boxes, wide characters and the other screen."""

import time

from conversing import converse
from terminal import Keys, begin, log, pause, read, say, write

RULE = "─" * 60


def repaint():
    """Full-screen program: each answer clears the screen and draws the whole transcript again."""
    begin()
    transcript = ["hello from repaint"]

    def draw(text=""):
        write("\x1b[2J\x1b[H" + "\r\n".join([*transcript, "> "]) + text.replace("\n", "\r\n"))

    draw()
    keys = Keys(write)
    while True:
        for text in keys.feed(read() or ""):
            log("entered", text=text)
            if text:
                reply = f"reply: {text}"
                log("said", text=reply)
                transcript += [f"> {text}", reply]
            draw()


def clock(seconds="1"):
    """Redraws a counter in the first row every *seconds*; answers like ``tui``."""
    begin()
    write("\r\nhello from clock\r\n> ")
    keys, count = Keys(write), 0
    next_tick = time.monotonic() + float(seconds)
    while True:
        typed = read(max(0.0, next_tick - time.monotonic()))
        if typed is None:
            next_tick += float(seconds)
            count += 1
            write(f"\x1b7\x1b[1;1Hclock {count}\x1b8")
            continue
        for text in keys.feed(typed):
            log("entered", text=text)
            write("\r\n")
            say(f"reply: {text}")
            write("> ")


def wide():
    """Answers with wide, combined and joined characters around the text."""

    def answer(text):
        say(f"日本語 {text} 終わり")
        say("warning ⚠️ after, family 👨‍👩‍👧 after, café after")

    converse(answer, greeting="hello from wide 日本語")


def alt():
    """Goes to the alternate screen for each answer, shows it there, and comes back with one line."""

    def answer(text):
        write("\x1b[?1049h\x1b[2J\x1b[H")
        write(f"alternate screen: {text}\r\n")
        pause(0.5)
        write("\x1b[?1049l")
        say(f"back: {text}")

    converse(answer, greeting="main screen line 1")


def box(drops="0"):
    """Draws a ruled input box with ``❯`` in it below the transcript, as Claude Code does; the first *drops* Enters are lost."""
    begin()
    left = int(drops)
    transcript = ["hello from box"]
    drawn = 0

    def draw(text=""):
        nonlocal drawn
        up = f"\x1b[{drawn - 2}A\r" if drawn else ""
        rows = [RULE, f"❯ {text}", RULE]
        fresh = [*transcript, *rows]
        transcript.clear()
        write(up + "\x1b[J" + "\r\n".join(fresh) + f"\x1b[1A\r\x1b[{2 + len(text)}C")
        drawn = len(rows)

    draw()
    keys = Keys(lambda _piece: None)
    while True:
        data = read() or ""
        if left and data == "\r":
            left -= 1
            log("dropped")
            continue
        for text in keys.feed(data):
            log("entered", text=text)
            if text:
                log("said", text=f"● reply {text}")
                transcript += [f"❯ {text}", "", f"● reply {text}", ""]
        draw(keys.text.replace("\n", " "))


def seq(text="", *more):
    """Writes its arguments with Python escapes decoded (one control sequence under test), then waits for the end."""
    begin()
    for piece in (text, *more):
        write(piece.encode("latin-1", "backslashreplace").decode("unicode_escape"))
    while True:
        read()


def flood(rate="0", lines="0"):
    """Prints numbered lines without end: *rate* a second (0: as fast as the terminal takes them), *lines* in all (0: no end)."""
    begin()
    write("hello from flood\r\n")
    number = 0
    while not int(lines) or number < int(lines):
        number += 1
        write(f"flood line {number} {'x' * 50}\r\n")
        if float(rate):
            pause(1 / float(rate))
    log("said", text=f"flood line {number} {'x' * 50}")
    write("> ")
    while True:
        read()


def burst(lines="1000"):
    """Prints *lines* numbered lines in one write at each message."""

    def answer(text):
        write("".join(f"burst {text} {number}\r\n" for number in range(1, int(lines) + 1)))
        log("said", text=f"burst {text} {lines}")

    converse(answer, greeting="hello from burst")
