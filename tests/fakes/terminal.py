"""The terminal of a fake: raw mode, keys with their paste marks taken off, and the log that tests judge by.

Standard library only, and imported as a top-level module by the fakes (their own directory is ``sys.path[0]``).

The log (``$FAKE_LOG``, appended, one JSON object a line) knows these events:
``started`` (pid, ticks), ``bytes`` (data: what was read, as latin-1), ``entered`` (text: one submitted message),
``child`` (pid, ticks, how), ``signal`` (number), ``answer`` (text), ``said`` (text), ``ended`` (code).
"""

import json
import os
import select
import signal
import sys
import termios
import time

PASTE_START, PASTE_END = "\x1b[200~", "\x1b[201~"


def start_ticks(pid: int) -> int:
    """Return the start time of the process *pid* in clock ticks since boot, 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            return int(stat.read().rpartition(")")[2].split()[19])
    except (OSError, IndexError):
        return 0


def log(event: str, **facts: object) -> None:
    """Append one event to ``$FAKE_LOG``; without the variable nothing happens."""
    path = os.environ.get("FAKE_LOG")
    if not path:
        return
    line = json.dumps({"event": event, "at": time.monotonic(), **facts}) + "\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def log_start() -> None:
    """Log that this fake lives, with what is needed to find it again."""
    log("started", pid=os.getpid(), ticks=start_ticks(os.getpid()))


def write(text: str) -> None:
    """Write *text* to the terminal at once and whole."""
    data = text.encode("utf-8", "surrogateescape")
    while data:
        data = data[os.write(1, data) :]


def say(text: str) -> None:
    """Write *text* as a line of its own and log it as said."""
    log("said", text=text)
    write(text + "\r\n")


def make_raw(descriptor: int = 0) -> None:
    """Turn echo, line editing and signals of keys off; output keeps its newline translation."""
    if not os.isatty(descriptor):
        return
    mode = termios.tcgetattr(descriptor)
    mode[0] &= ~(termios.ICRNL | termios.INLCR | termios.IXON | termios.BRKINT | termios.ISTRIP)
    mode[3] &= ~(termios.ECHO | termios.ICANON | termios.ISIG | termios.IEXTEN)
    mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
    termios.tcsetattr(descriptor, termios.TCSANOW, mode)


def begin(raw: bool = True) -> None:
    """Start a fake: SIGINT ends it silently, the terminal is raw, the start is logged."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if raw:
        make_raw()
    log_start()


def read(timeout: float | None = None) -> str | None:
    """Return what was typed next (None when *timeout* seconds passed without); end the fake when the terminal closed."""
    if timeout is not None and not select.select([0], [], [], timeout)[0]:
        return None
    try:
        data = os.read(0, 65536)
    except OSError:
        data = b""
    if not data:
        log("ended", code=0)
        sys.exit(0)
    log("bytes", data=data.decode("latin-1"))
    return data.decode("utf-8", "replace")


class Keys:
    """Turns what is typed into submitted messages.

    Paste marks are taken off, newlines inside a paste belong to the text, backspace removes a character, Enter submits.

    :param echo: called with every piece that becomes visible text (``\\b \\b`` for a removed character).
    """

    def __init__(self, echo) -> None:
        self.text = ""
        self.pasting = False
        self._echo = echo
        self._rest = ""

    def feed(self, data: str) -> list[str]:
        """Take *data* and return the messages that were entered by it."""
        entered: list[str] = []
        data = self._rest + data
        self._rest = ""
        while data:
            if data.startswith((PASTE_START, PASTE_END)):
                self.pasting = data.startswith(PASTE_START)
                data = data[len(PASTE_START) :]
            elif PASTE_START.startswith(data) or PASTE_END.startswith(data):
                self._rest, data = data, ""
            else:
                self._key(data[0], entered)
                data = data[1:]
        return entered

    def _key(self, key: str, entered: list[str]) -> None:
        if key == "\r" and not self.pasting:
            entered.append(self.text)
            self.text = ""
        elif key in "\r\n":
            self.text += "\n"
            self._echo("\r\n")
        elif key in "\x7f\x08":
            if self.text:
                self.text = self.text[:-1]
                self._echo("\b \b")
        elif key >= " " or key == "\t":
            self.text += key
            self._echo(key)


def pause(seconds: float) -> None:
    """Do nothing visible for *seconds*, as a busy program does (keys wait in the terminal)."""
    time.sleep(seconds)
