"""A fake that follows a written conversation, as the programs of agentapi's own end-to-end tests do.

The script is a JSON list; each entry may have ``expectMessage`` (what the user must say next), ``thinkDurationMS`` (how long a
"Thinking" row shows) and ``responseMessage``. The whole talk is drawn anew at each step. Another message than the expected one, or
one too many, ends the program with status 1; an interrupt ends it with 0.
"""

import json
import re
import signal
import sys

from terminal import log, log_start, pause, write

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\^\[\[20[01]~|[\x00-\x08\x0b-\x1f\x7f]")


def _draw(talk, thinking=False):
    rows = [f"> {text}" if role == "user" else text for role, text in talk]
    below = "Thinking... " if thinking else "> "
    write("\x1b[2J\x1b[H" + "\r\n".join([*rows, below]))


def _expect(expected):
    line = sys.stdin.readline()
    if not line:
        _leave(0)
    text = ESCAPES.sub("", re.sub(r".\x08", "", line)).strip()
    log("entered", text=text)
    if text != expected:
        write(f"expected {expected!r}, got {text!r}\r\n")
        _leave(1)
    return text


def _leave(status):
    log("ended", code=status)
    sys.exit(status)


def scripted(path):
    """Follow the script in the file *path* to its end, then wait for an interrupt; anything said then is one too many."""
    signal.signal(signal.SIGINT, lambda *_args: _leave(0))
    log_start()
    with open(path, encoding="utf-8") as file:
        script = json.load(file)
    talk = []
    for entry in script:
        _draw(talk)
        if "expectMessage" in entry:
            talk.append(("user", _expect(entry["expectMessage"])))
        if entry.get("thinkDurationMS"):
            _draw(talk, thinking=True)
            pause(entry["thinkDurationMS"] / 1000)
        if "responseMessage" in entry:
            log("said", text=entry["responseMessage"])
            talk.append(("agent", entry["responseMessage"]))
    _draw(talk)
    _expect(None)
