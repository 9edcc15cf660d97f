"""What the screens of each agent type look like, as data, and how a message is taken out of the rows. All of it is pure.

Rules follow agentapi 0.12.1: echo of the user's text removed, input box removed, blank lines trimmed. Rows are not padded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

RULE = re.compile(r"^\s*[─╌]{15,}")
PROMPT_MARKS = (">", "❯", "›", "$")
BUSY = re.compile(r"\b(?:esc|ctrl\+c)\b[^\n]{0,20}\bto (?:interrupt|cancel)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Format:
    """How one agent type draws.

    ``box``: which rule finds its input box. ``echo_tail``: rows below the echoed text that belong to it.
    ``before_start``: what its terminal is given first.
    """

    box: str = "generic"
    echo_tail: int = 0
    before_start: bytes = b""


FORMATS = {
    "claude": Format(),
    "goose": Format(),
    "aider": Format(),
    "codex": Format(box="codex"),
    "gemini": Format(echo_tail=1),
    "copilot": Format(echo_tail=1),
    "amp": Format(box="amp", before_start=b" \x08"),
    "cursor": Format(echo_tail=1),
    "auggie": Format(),
    "amazonq": Format(),
    "opencode": Format(box="opencode", echo_tail=2),
    "custom": Format(),
}
ALIASES = {"cursor-agent": "cursor", "q": "amazonq"}


def canonical_type(name: str, program: str) -> str:
    """Return the agent type for ``--type`` *name*, or guessed from the exact *program* name when it is empty.

    :raises ValueError: *name* is no agent type.
    """
    if name:
        found = ALIASES.get(name, name)
        if found not in FORMATS:
            raise ValueError(f"invalid agent type: {name}")
        return found
    guess = ALIASES.get(program, program)
    return guess if guess in FORMATS else "custom"


def trimmed(rows: Sequence[str]) -> list[str]:
    """Return *rows* without the blank ones at both ends."""
    start, end = 0, len(rows)
    while start < end and not rows[start].strip():
        start += 1
    while end > start and not rows[end - 1].strip():
        end -= 1
    return list(rows[start:end])


def _generic_box(rows: list[str]) -> int | None:
    count = len(rows)
    for at in range(count - 1, max(-1, count - 7), -1):
        if ">" in rows[at]:
            return at - 1 if at and RULE.match(rows[at - 1]) else at
    for at in range(count - 1, max(1, count - 10), -1):
        if RULE.match(rows[at]) and RULE.match(rows[at - 2]) and re.search(r"[|│❯]", rows[at - 1]):
            return at - 2
    return None


def box_start(rows: list[str], kind: str) -> int | None:
    """Return the row where the input box of an agent of the box rule *kind* begins in the trimmed *rows*, or None."""
    if kind == "codex":
        at = len(rows) - 3
        return at if at >= 0 and "›" in rows[at] else None
    if kind == "opencode":
        bar = next((at for at, row in enumerate(rows) if row.strip().startswith("╹▀▀")), None)
        return None if bar is None else max(0, bar - 4)
    if kind == "amp":
        tops = [at for at, row in enumerate(rows) if row.strip().startswith("╭") and row.strip().endswith("╮")]
        return tops[-1] if tops else None
    return _generic_box(rows)


def without_box(rows: Sequence[str], kind: str) -> list[str]:
    """Return *rows* without the input box and what is below it."""
    body = trimmed(rows)
    start = box_start(body, kind)
    if start is None:
        return body
    tail = body[start + 2 :] if kind == "codex" else []
    return trimmed(body[:start] + tail)


def without_echo(rows: Sequence[str], said: str, tail: int = 0) -> list[str]:
    """Return *rows* without the leading ones that repeat what the user *said*, blanks and prompt marks ignored.

    Only whole rows belong to the echo: one that goes on with other words is an answer.
    """
    wanted = re.sub(r"\s", "", said)
    for first in range(min(6, len(rows))):
        end = _echo_end(rows, first, wanted)
        if end is not None:
            return list(rows[min(len(rows), end + tail) :])
    return list(rows)


def _echo_end(rows: Sequence[str], first: int, wanted: str) -> int | None:
    left = wanted
    for number in range(first, len(rows)):
        if not left:
            return number if left != wanted else None
        piece = re.sub(r"\s", "", rows[number]).rstrip("│┃|")
        if not left.startswith(piece):
            piece = re.sub(r"^\W+", "", piece) if left[0].isalnum() else piece.lstrip(">│|┃❯›$")
        if not left.startswith(piece) or (not piece and number == first):
            return None
        left = left[len(piece) :]
    return None if left or not wanted else len(rows)


def is_ready(rows: Sequence[str], agent_type: str) -> bool:
    """Say whether the input box of *agent_type* shows in *rows*."""
    return box_start(trimmed(rows), FORMATS[agent_type].box) is not None


def is_busy(rows: Sequence[str]) -> bool:
    """Say whether the last rows show a sign of work ("esc to interrupt")."""
    return any(BUSY.search(row) for row in trimmed(rows)[-8:])


def first_new(old: Sequence[str], rows: Sequence[str], kind: str) -> int:
    """Return the index of the first row of *rows* that is new since *old*, compared place by place.

    A row that changed above others that stand where they stood (a clock, a header) does not count as new.
    """
    lead = next((at for at, row in enumerate(old) if row.strip()), len(old))
    end = lead + len(without_box(old, kind))
    filled = [at for at in range(min(end, len(rows), len(old))) if old[at].strip()]
    same = [at for at in filled if rows[at] == old[at]]
    if same and 2 * len(same) >= len(filled):
        return same[-1] + 1
    at = 0
    while at < min(len(rows), len(old)) and rows[at] == old[at]:
        at += 1
    return at


def message_text(old: Sequence[str], rows: Sequence[str], said: str, agent_type: str) -> str:
    """Return the agent's message: what is new in *rows* since *old*, without echo of *said* and without the input box.

    :param old: the rows before the message was typed; empty for the first message.
    """
    form = FORMATS[agent_type]
    lead = next((at for at, row in enumerate(rows) if row.strip()), 0)
    body = without_box(rows, form.box)
    fresh = body[max(0, first_new(old, rows, form.box) - lead) :] if old else body
    fresh = trimmed(fresh)
    if said:
        fresh = without_echo(fresh, said, form.echo_tail)
        if fresh and fresh[0].strip() in PROMPT_MARKS:
            fresh = fresh[1:]
    return "\n".join(trimmed(fresh))
