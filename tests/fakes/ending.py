"""Fakes about the end: they die, are signalled, refuse to go, or leave children behind."""

import os
import signal
import subprocess
import sys
import time

from conversing import converse
from terminal import begin, log, log_start, pause, read, say, start_ticks, write


def _leave(code):
    log("ended", code=code)
    sys.exit(code)


def die(code="1", *last_words):
    """Exits with *code* at once, after its last words."""
    log_start()
    for line in last_words or ("dying at once",):
        say(line)
    _leave(int(code))


def dielater(seconds="1", code="3"):
    """Shows a prompt, exits with *code* after *seconds*."""
    begin()
    write("hello from dielater\r\n> ")
    _wait(float(seconds))
    say("last words of dielater")
    _leave(int(code))


def diesig(number="9", seconds="0"):
    """Ends itself by the signal *number* after *seconds*."""
    begin()
    write("hello from diesig\r\n> ")
    _wait(float(seconds))
    say(f"going by signal {number}")
    log("ended", signal=int(number))
    signal.signal(int(number), signal.SIG_DFL) if int(number) not in (9, 19) else None
    os.kill(os.getpid(), int(number))


def diesaying(code="0"):
    """Answers like ``tui``; the message ``exit`` makes it say last words and exit with *code*."""

    def answer(text):
        if text == "exit":
            say("last words line 1")
            say("final gasp")
            _leave(int(code))
        say(f"reply: {text}")

    converse(answer, greeting="hello from diesaying")


def stubborn():
    """Ignores SIGINT, SIGTERM and SIGHUP, and a terminal that closed; only SIGKILL ends it."""
    begin()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _frame: log("signal", number=number))
    write("hello from stubborn\r\n> ")
    while True:
        time.sleep(60)


def politeslow(seconds="2", code="5"):
    """At SIGINT or SIGTERM it tidies up for *seconds* and exits with *code*."""
    begin()
    asked = []

    def on_signal(number, _frame):
        log("signal", number=number)
        asked.append(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    write("hello from politeslow\r\n> ")
    while not asked:
        read(0.05)
    say("tidying up")
    pause(float(seconds))
    _leave(int(code))


CHILDREN = {
    "same": [],
    "group": ["group"],
    "session": ["setsid"],
    "bare": ["env", "-i", "setsid"],
    "nohup": ["nohup"],
}


def grand(*kinds):
    """Starts children that sleep: in the same group, an own group, an own session, without environment, under nohup.

    :param kinds: which of them (all without arguments); each logs ``child`` with its pid, start ticks and kind.
    """
    begin()
    for kind in kinds or CHILDREN:
        child = _sleeper(kind)
        log("child", pid=child, ticks=start_ticks(child), how=kind)
    write("hello from grand\r\n> ")
    while True:
        read()


def _sleeper(kind):
    """Start ``sleep 600`` as *kind* says and return the pid of the sleeping process itself.

    ``setsid`` execs in place here, because a fresh child is no group leader.
    """
    prefix = [word for word in CHILDREN[kind] if word != "group"]
    with open(os.devnull, "r+b") as nothing:
        child = subprocess.Popen(
            [*prefix, "sleep", "600"],
            stdin=nothing,
            stdout=nothing,
            stderr=nothing,
            process_group=0 if kind == "group" else None,
        )
    child.returncode = 0  # never waited for: the point is what becomes of it
    return child.pid


def _wait(seconds):
    deadline = time.monotonic() + seconds
    while (rest := deadline - time.monotonic()) > 0:
        read(rest)
