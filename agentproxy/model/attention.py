"""Why is an agent not moving? What its screen says, by patterns that the catalogue holds for each agent. Pure rules.

The order of the rules, the first that matches wins (rows are the last ones of the screen, blank ones at its end dropped):

=============  =====================================================================================================
shell          the last row is a shell's prompt and no input line shows, whatever stands above
approval       it wants a yes or no; not when an input line stands below, for then it is text that quotes a question
setup          a picker of its first run; the same
question       it asks something else; the same
unreachable    it tries again and again to reach its model
working        its busy mark shows
login          its key or login was refused; below the last message of the user only, old errors stand above
limit          rate limited; the same
unreachable    its model cannot be reached; the same
idle           its input line shows
unknown        everything else: never a guess
=============  =====================================================================================================

Model output can quote any of this, so the answer is a reason to hold something back, never one to approve something.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from enum import Enum

ROWS = 25
"""How many of the last rows are looked at."""
LINE = 200
"""Characters of the row that is shown as the reason."""

Patterns = tuple[re.Pattern[str], ...]


class Kind(Enum):
    """What an agent does or waits for."""

    WORKING = "working"
    IDLE = "idle"
    APPROVAL = "approval"
    QUESTION = "question"
    SETUP = "setup"
    LOGIN = "login"
    LIMIT = "rate_limited"
    UNREACHABLE = "model_unreachable"
    STUCK = "stuck"
    SHELL = "shell"
    GONE = "gone"
    UNKNOWN = "unknown"


ACTIONS = {
    Kind.WORKING: "",
    Kind.IDLE: "",
    Kind.APPROVAL: "Allow or deny it: POST /approvals/ID.",
    Kind.QUESTION: "Answer it with raw keys or in the terminal.",
    Kind.SETUP: "Answer the agent's first-run question once, or prepare its HOME.",
    Kind.LOGIN: "Give the session a valid key or log the agent in, then restart it.",
    Kind.LIMIT: "Wait until the limit is over; the queue goes on by itself when its end is known.",
    Kind.UNREACHABLE: "Check the agent's network and the address of its model.",
    Kind.STUCK: "Restart the session: POST /sessions/ID/restart.",
    Kind.SHELL: "The agent has ended and a shell is left: restart the session.",
    Kind.GONE: "Read the session's reason and log, or restart it.",
    Kind.UNKNOWN: "Look at the screen.",
}
"""What a person can do, by kind; empty when nobody is wanted."""

WANTED = frozenset(Kind) - {Kind.WORKING, Kind.IDLE, Kind.UNKNOWN}
"""The kinds for which a person is wanted."""
ASKING = frozenset({Kind.APPROVAL, Kind.QUESTION, Kind.SETUP})
"""The kinds in which whatever is typed is taken as the answer."""


@dataclass(frozen=True, slots=True)
class Marks:
    """Regular expressions, searched in the last rows of the screen (``^`` and ``$`` match at rows, ``\\Z`` at the end).

    :param idle: one of them shows when the agent takes a message.
    :param busy: one of them shows while it works.
    :param retrying: it tries to reach its model again; believed in its streamed text too.
    :param said: the row of a message that the user said.
    :param subject: names what an approval is about in the group ``subject``.
    """

    idle: Patterns = ()
    busy: Patterns = ()
    approval: Patterns = ()
    setup: Patterns = ()
    question: Patterns = ()
    retrying: Patterns = ()
    login: Patterns = ()
    limit: Patterns = ()
    unreachable: Patterns = ()
    shell: Patterns = ()
    said: Patterns = ()
    subject: Patterns = ()

    def __bool__(self) -> bool:
        """Return whether this agent's idleness can be seen at all."""
        return bool(self.idle)

    @property
    def can_ask(self) -> bool:
        """Return whether a question of this agent can be seen."""
        return bool(self.approval or self.setup or self.question)


MARKS = tuple(one.name for one in fields(Marks))
"""The names of all marks."""


@dataclass(frozen=True, slots=True)
class Attention:
    """What an agent does or waits for.

    :param line: the row of the screen that shows it, empty when none does.
    :param until: for a rate limit: when it ends, where the row says so.
    :param input: whether the agent's input line shows, so that it takes a message.
    """

    kind: Kind
    line: str = ""
    until: datetime | None = None
    input: bool = field(default=False, compare=False)

    @property
    def wanted(self) -> bool:
        """Return whether a person is wanted."""
        return self.kind in WANTED

    @property
    def action(self) -> str:
        """Return what a person can do, one sentence or nothing."""
        return ACTIONS[self.kind]


def says_something(text: str, marks: Marks) -> bool:
    """Return whether an agent's words are more than its input line, which the real agentapi leaves below them."""
    found = next((match for pattern in marks.idle if (match := pattern.search(text))), None)
    above = text if found is None else text[: text.rfind("\n", 0, found.end()) + 1]
    return any(character.isalnum() for character in above)


def last_rows(screen: str, rows: int = ROWS) -> str:
    """Return the last *rows* rows of a screen, trailing spaces and blank rows at its end dropped."""
    return "\n".join([row.rstrip() for row in screen.rstrip().split("\n")][-rows:])


def classify(screen: str, marks: Marks, now: datetime) -> Attention:
    """Return what a quiet agent's *screen* says.

    :param now: knows its zone; what the end of a rate limit is counted from.
    """
    shown = last_rows(screen)
    idle = _last(marks.idle, shown)
    if idle is None and (left := _last(marks.shell, shown)):
        return Attention(Kind.SHELL, _row(shown, left))
    for kind, patterns in ((Kind.APPROVAL, marks.approval), (Kind.SETUP, marks.setup), (Kind.QUESTION, marks.question)):
        asked = _last(patterns, shown)
        if asked is not None and (idle is None or idle.start() <= asked.end()):
            return Attention(kind, _row(shown, asked))
    seen = idle is not None
    for kind, patterns in ((Kind.UNREACHABLE, marks.retrying), (Kind.WORKING, marks.busy)):
        if found := _last(patterns, shown):
            return Attention(kind, _row(shown, found), input=False)
    said = _last(marks.said, shown)
    recent = shown[said.end() :] if said is not None else shown
    for kind, patterns in (
        (Kind.LOGIN, marks.login),
        (Kind.LIMIT, marks.limit),
        (Kind.UNREACHABLE, marks.unreachable),
    ):
        if found := _last(patterns, recent):
            until = ends_at(found, now) if kind is Kind.LIMIT else None
            return Attention(kind, _row(recent, found), until, input=seen)
    return Attention(Kind.IDLE if seen else Kind.UNKNOWN, _row(shown, idle) if idle else "", input=seen)


def classify_text(text: str, marks: Marks) -> Attention:
    """Return what the streamed text of a working agent says: that it works, or that it cannot reach its model."""
    found = _last(marks.retrying, last_rows(text, 10))
    return Attention(Kind.UNREACHABLE, _row(last_rows(text, 10), found)) if found else Attention(Kind.WORKING)


def ends_at(found: re.Match[str], now: datetime) -> datetime | None:
    """Return when a limit ends by the groups ``seconds``, ``minutes``, ``hours`` or ``clock`` (``3am``, ``15:30``)."""
    groups = {name: value for name, value in found.groupdict().items() if value}
    if "clock" in groups:
        return _clock(groups["clock"], now)
    if not groups.keys() & {"seconds", "minutes", "hours"}:
        return None
    return now + timedelta(
        seconds=float(groups.get("seconds", 0)),
        minutes=float(groups.get("minutes", 0)),
        hours=float(groups.get("hours", 0)),
    )


def _clock(text: str, now: datetime) -> datetime | None:
    match = re.fullmatch(r"(\d{1,2})(?::(\d\d))?\s*([ap]m)?", text.strip(), re.IGNORECASE)
    if match is None:
        return None
    hour, minute, half = int(match[1]), int(match[2] or 0), (match[3] or "").lower()
    if half:
        hour = hour % 12 + (12 if half == "pm" else 0)
    if hour > 23 or minute > 59:
        return None
    then = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return then if then > now else then + timedelta(days=1)


def _last(patterns: Sequence[re.Pattern[str]], shown: str) -> re.Match[str] | None:
    found: re.Match[str] | None = None
    for match in _matches(patterns, shown):
        if found is None or match.start() > found.start():
            found = match
    return found


def _matches(patterns: Sequence[re.Pattern[str]], shown: str) -> Iterator[re.Match[str]]:
    for pattern in patterns:
        yield from pattern.finditer(shown)


def _row(shown: str, found: re.Match[str]) -> str:
    """Return the row in which a match has its first visible character."""
    start = found.start() + len(found[0]) - len(found[0].lstrip())
    begin = shown.rfind("\n", 0, start) + 1
    end = shown.find("\n", start)
    return shown[begin : end if end >= 0 else len(shown)].strip()[:LINE]
