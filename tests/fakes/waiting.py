"""Fakes about readiness and questions: silent ones, promptless ones, and those that ask."""

import json
import os
import sys

from conversing import converse
from terminal import PASTE_END, PASTE_START, begin, log, log_start, pause, read, say, write


def mute():
    """Prints nothing, ever; reads and ignores."""
    begin()
    while True:
        read()


def noprompt():
    """Prints a line without any prompt, then reads and ignores."""
    begin()
    write("still loading, no prompt here\r\n")
    while True:
        read()


def onkey():
    """Silent until the first byte comes, then behaves like ``tui``."""
    begin()
    read()
    converse(lambda text: say(f"reply: {text}"), greeting="awake")


def sleepy(seconds="5"):
    """Draws its prompt only after *seconds*; then behaves like ``tui``."""
    begin()
    write("starting up\r\n")
    pause(float(seconds))
    converse(lambda text: say(f"reply: {text}"), greeting="hello from sleepy")


def yn():
    """Asks a yes/no question that the first byte answers, whatever it is."""
    begin()
    write("Proceed? (y/n) > ")
    key = (read() or "")[0]
    log("answer", text=key)
    say(f"\r\nkey was {key!r}")
    converse(lambda text: say(f"reply: {text}"), greeting="question answered")


def approve(default="yes"):
    """Each message asks for approval. ``1``, ``y`` or (as *default* says) Enter is yes; ``2``, ``n`` or Esc is no.

    Enter meaning yes is what codex does, and why nobody may send a user message while the question stands.

    :param default: what Enter means: ``yes``, ``no`` or ``nothing``.
    """
    enter = {"yes": True, "no": False, "nothing": None}[default]

    def answer(text):
        write("Would you like to run the following command?\r\n")
        write(f"  $ {text}\r\n  1. Yes, proceed (y)\r\n  2. No (esc)\r\n  Press enter to confirm or esc to cancel")
        while (verdict := _verdict(read() or "", enter)) is None:
            pass
        log("answer", text="yes" if verdict else "no")
        write("\r\n")
        say(f"ran: {text}" if verdict else f"did not run: {text}")

    converse(answer, greeting="hello from approve")


def _verdict(typed, enter):
    """Return what *typed* decides: True, False, or None while nothing was decided."""
    text = typed.replace(PASTE_START, "").replace(PASTE_END, "")
    for key in text:
        if key in "1yY":
            return True
        if key in "2nN\x1b":
            return False
        if key == "\r" and enter is not None:
            return enter
    return None


def env(path):
    """Writes what it was given (environment, argv, cwd, terminal, ids, descriptors, signals) to *path* as JSON, then is ``tui``."""
    log_start()
    size = os.get_terminal_size(0) if os.isatty(0) else None
    with open("/proc/self/status", encoding="ascii") as status:
        signals = dict(line.split(":\t") for line in status.read().splitlines() if line.startswith("Sig"))
    facts = {
        "environment": dict(os.environ),
        "argv": sys.argv,
        "cwd": os.getcwd(),
        "tty": os.ttyname(0) if size else None,
        "columns": size and size.columns,
        "rows": size and size.lines,
        "pid": os.getpid(),
        "parent": os.getppid(),
        "group": os.getpgrp(),
        "session": os.getsid(0),
        "foreground": os.tcgetpgrp(0) if size else None,
        "descriptors": sorted(int(name) for name in os.listdir("/proc/self/fd")),
        "signals": signals,
    }
    with open(f"{path}.tmp", "w", encoding="utf-8") as file:
        json.dump(facts, file)
    os.replace(f"{path}.tmp", path)
    converse(lambda text: say(f"reply: {text}"), greeting="hello from env")
