"""How a message is taken out of the rows of a screen. Pure; what differs between agents is in :mod:`agentproxy.embedded.formats`.

The agent's message is what is new on the screen since the user began to type, without the echo of what the user said, without the
input box and what is below it, and without the rows that only tell the agent's state.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise

from agentproxy.embedded.formats import BARRED, BUSY, COMPOSER, FORMATS, FRAMED, PROMPT, RULED, Block, Format
from agentproxy.embedded.screen import Place

RULE = re.compile(r"^\s*[─╌━▀▄]{15,}")
TOP, BOTTOM = re.compile(r"^\s*[╭┌╔].*[╮┐╗]\s*$"), re.compile(r"^\s*[╰└╚].*[╯┘╝]\s*$")
INPUT = re.compile(r"^\s*[│┃|]?\s*[>❯›→](?!\s*\d+[.)] )")
"""A row that one types in; a numbered choice below a question is none."""
MARKED = re.compile(r"^.{0,100}?(?:[>❯›»$#]|(?<!\d)%)(?:\s|$)(?!\s*\d+[.)] )")
"""The row of the cursor with a prompt in it."""
ALONE = re.compile(r"^\s*[^<>\s]{0,20}(?: [^<>\s]{1,10}){0,2}\s?[>❯]$")
CHOICE = re.compile(r"^\s*›\s*\d+[.)] ")
PASTED = re.compile(r"^\[Pasted(?:text|Content|~)[^\]]*\]$")
BAR, BLANK = re.compile(r"^\s*╹▀▀"), re.compile(r"^\s*$")
NEAR = 16
"""Rows above the end within which an input box may begin."""
BUSY_ROWS = 10


def trimmed(rows: Sequence[str]) -> list[str]:
    """Return *rows* without the blank ones at both ends."""
    start, end = 0, _end(rows)
    while start < end and not rows[start].strip():
        start += 1
    return list(rows[start:end])


def _end(rows: Sequence[str]) -> int:
    end = len(rows)
    while end and not rows[end - 1].strip():
        end -= 1
    return end


# the input box: each rule gets the rows without blank ones at the end, and the row of the cursor


def _ruled(rows: Sequence[str], _cursor: int | None) -> int | None:
    rules = [at for at in range(max(0, len(rows) - NEAR), len(rows)) if RULE.match(rows[at])]
    for top, bottom in reversed(list(pairwise(rules))):
        if bottom > top + 1 and INPUT.match(rows[top + 1]):
            return top
    return None


def _framed(rows: Sequence[str], _cursor: int | None) -> int | None:
    for bottom in range(len(rows) - 1, max(-1, len(rows) - NEAR), -1):
        if BOTTOM.match(rows[bottom]):
            top = next((at for at in range(bottom - 1, max(-1, bottom - 12), -1) if TOP.match(rows[at])), None)
            if top is not None and (bottom - top < 8 or INPUT.match(rows[top + 1])):
                return None if any(CHOICE.match(row.strip("│┃ ")) for row in rows[top:bottom]) else top
    return None


def _composer(rows: Sequence[str], _cursor: int | None) -> int | None:
    low = max(0, len(rows) - NEAR)
    at = next((at for at in range(len(rows) - 1, low - 1, -1) if rows[at].lstrip().startswith("›")), None)
    if at is None or CHOICE.match(rows[at]):
        return None
    below = [row for row in rows[at + 1 :] if row.strip()]
    return at if len(below) <= 8 and all(row.startswith("  ") for row in below) else None


def _barred(rows: Sequence[str], _cursor: int | None) -> int | None:
    bar = next((at for at in range(len(rows) - 1, -1, -1) if rows[at].lstrip().startswith("╹▀▀")), None)
    if bar is None:
        return None
    top = bar
    while top and rows[top - 1].lstrip().startswith("┃"):
        top -= 1
    return top if not any("Permission required" in row for row in rows[top:bar]) else None


def _prompt(rows: Sequence[str], cursor: int | None) -> int | None:
    at = None
    if cursor is not None and len(rows) - 6 <= cursor < len(rows) and MARKED.match(rows[cursor]):
        at = cursor
    elif rows and cursor is None and ALONE.match(rows[-1]):
        at = len(rows) - 1
    else:
        at = next((at for at in range(len(rows) - 1, max(-1, len(rows) - 7), -1) if INPUT.match(rows[at])), None)
    return at - 1 if at and RULE.match(rows[at - 1]) else at


_BOXES: dict[str, Callable[[Sequence[str], int | None], int | None]] = {
    RULED: _ruled,
    FRAMED: _framed,
    COMPOSER: _composer,
    BARRED: _barred,
    PROMPT: _prompt,
}


def box_start(rows: Sequence[str], agent_type: str, cursor: int | None = None) -> int | None:
    """Return the number of the row where the input box begins, None when there is none.

    :param cursor: the row of the cursor, None when it is not known.
    """
    filled = rows[: _end(rows)] if len(rows) > _end(rows) else rows
    for name in FORMATS[agent_type].boxes:
        if (at := _BOXES[name](filled, cursor)) is not None:
            return at
    return None


def box_content(rows: Sequence[str], agent_type: str) -> str | None:
    """Return what stands in the drawn input box, blanks left out; None where there is none, or only a prompt.

    What was typed behind a prompt looks the same before and after Enter; what stands in a box goes when it is taken.
    """
    filled = rows[: _end(rows)]
    for name in FORMATS[agent_type].boxes:
        if name != PROMPT and (at := _BOXES[name](filled, None)) is not None:
            inside = filled[at + 1 :] if name in (RULED, FRAMED) else filled[at:]
            ends = {RULED: RULE, FRAMED: BOTTOM, BARRED: BAR}.get(name, BLANK)
            end = next((n for n, row in enumerate(inside) if ends.match(row)), len(inside))
            return re.sub(r"\s", "", "".join(inside[:end]))
    return None


def is_ready(rows: Sequence[str], agent_type: str, cursor: int | None = None) -> bool:
    """Say whether the input box of *agent_type* shows in *rows*."""
    return box_start(rows, agent_type, cursor) is not None


@cache
def _patterns(texts: tuple[str, ...]) -> re.Pattern[str] | None:
    return (
        re.compile("|".join(f"(?:{text})" if "(?i)" not in text else f"(?i:{text[4:]})" for text in texts))
        if texts
        else None
    )


def is_busy(rows: Sequence[str], agent_type: str = "custom") -> bool:
    """Say whether the last rows show a sign of work, such as "esc to interrupt"."""
    pattern = _patterns(BUSY + FORMATS[agent_type].busy)
    end = _end(rows)
    return pattern is not None and any(pattern.search(row) for row in rows[max(0, end - BUSY_ROWS) : end])


def is_unfinished(rows: Sequence[str], agent_type: str) -> bool:
    """Say whether the last answer in *rows* has begun and has not ended, for a type that ends each turn with a row of its own.

    Believed only when an earlier turn on the screen has such a row: not every release draws it.
    """
    form = FORMATS[agent_type]
    start = box_start(rows, agent_type) if form.turn_end else None
    if start is None:
        return False
    ends, begins = re.compile(form.turn_end), re.compile(form.answer)
    for at in range(start - 1, -1, -1):
        if ends.search(rows[at]) or rows[at].startswith("› "):
            return False
        if begins.search(rows[at]):
            return any(ends.search(row) for row in rows[:at])
    return False


# what is new


def first_new(old: Sequence[str], rows: Sequence[str]) -> int:
    """Return the number of the first row of *rows* that is new since *old* (without its input box).

    Rows that stand where they stood are old, although one above them changed (a clock, a header). When most have moved, what
    stood last is looked for: a program that draws everything anew moves its rows up.
    """
    filled = [at for at in range(len(old)) if old[at].strip()]
    if not filled:
        return 0
    same = [at for at in filled if at < len(rows) and rows[at] == old[at]]
    if len(same) == len(filled):
        return same[-1] + 1
    moved = _behind([old[at] for at in filled], rows)
    if 2 * len(same) >= len(filled):
        return max(same[-1] + 1, moved)
    if moved:
        return moved
    at = 0
    while at < min(len(rows), len(old)) and rows[at] == old[at]:
        at += 1
    return at


def _behind(old: Sequence[str], rows: Sequence[str]) -> int:
    """Return the number of the row behind the last rows of *old* where they stand in *rows*, 0 when they do not."""
    filled = [at for at, row in enumerate(rows) if row.strip()]
    best, found = min(3, len(old)) - 1, 0
    for place, at in enumerate(filled):
        if rows[at] != old[-1]:
            continue
        count = 1
        while count < len(old) and count <= place and rows[filled[place - count]] == old[-1 - count]:
            count += 1
        if count > best:
            best, found = count, at + 1
    return found


# the echo of what the user said


def without_echo(rows: Sequence[str], said: str, prefix: str = "", tail: int = 0) -> list[str]:
    """Return *rows* without the leading ones that repeat what the user *said*, blanks and prompt marks ignored.

    Only whole rows belong to the echo: one that goes on with other words is an answer.

    :param prefix: the prompt that stood in front of the cursor.
    :param tail: rows below the echo that belong to it.
    """
    wanted = re.sub(r"\s", "", said)
    for first in range(min(8, len(rows))):
        end = _echo_end(rows, first, wanted, re.sub(r"\s", "", prefix))
        if end is not None:
            return list(rows[min(len(rows), end + tail) :])
    return list(rows)


def _echo_end(rows: Sequence[str], first: int, wanted: str, prefix: str) -> int | None:
    left = wanted
    for number in range(first, len(rows)):
        if not left:
            return number if left != wanted else None
        piece = _echoed(re.sub(r"\s", "", rows[number]), left, prefix if number == first else "")
        if piece is None or (not piece and number == first):
            return None
        left = left[len(piece) :]
    return None if left or not wanted else len(rows)


def _echoed(row: str, left: str, prefix: str) -> str | None:
    """Return the part of *left* that *row* (without blanks) repeats, None when it says something else."""
    bare = row.rstrip("│┃|")
    marks = re.sub(r"^[>│|┃❯›$#%»→*]+", "", bare)
    words = re.sub(r"^\W+", "", bare) if left[0].isalnum() else marks
    candidates = [bare, bare[len(prefix) :] if prefix and bare.startswith(prefix) else bare, marks, words]
    for piece in candidates:
        if PASTED.match(piece):
            return left
        if left.startswith(piece) and (piece or not bare):
            return piece
    return None


# all together


def message_text(
    old: Place, rows: Sequence[str], said: str, agent_type: str, *, cursor: int | None = None, lost: int = 0
) -> str:
    """Return the agent's message.

    :param old: the screen before the user began to type; an empty one for the first message.
    :param rows: the rows since the one that stood at the top of *old*.
    :param said: what the user said, "" for the first message.
    :param cursor: the number of the row that the cursor is in.
    :param lost: how many rows at the beginning of *rows* are forgotten.
    """
    form = FORMATS[agent_type]
    start = box_start(rows, agent_type, cursor)
    body = rows if start is None else rows[:start]
    before = old.rows[: box_start(old.rows, agent_type, old.row if old.rows else None)][lost:]
    fresh = trimmed(body[first_new(before, body) :])
    if said:
        prompt = old.rows[old.row][: old.column] if old.row < len(old.rows) else ""
        fresh = trimmed(without_echo(fresh, said, prompt, form.echo_tail))
        while fresh and re.fullmatch(r"\s*[>❯›$]\s*", fresh[0]):
            fresh = fresh[1:]
    return "\n".join(trimmed(_without_status(_without_tools(fresh, form.tools), form)))


def _without_status(rows: list[str], form: Format) -> list[str]:
    pattern = _patterns(form.status)
    end = len(rows)
    while pattern is not None and end and (not rows[end - 1].strip() or pattern.search(rows[end - 1])):
        end -= 1
    return rows[:end]


def _without_tools(rows: list[str], tools: tuple[Block, ...]) -> list[str]:
    for tool in tools:
        first, last = re.compile(tool.first), re.compile(tool.last)
        at = 0
        while (at := next((n for n in range(at, len(rows)) if first.match(rows[n])), len(rows))) < len(rows):
            if tool.naming and not any(tool.naming in row for row in rows[at : at + 3]):
                at += 1
                continue
            end = next((n for n in range(at + 1, min(len(rows), at + 40)) if last.search(rows[n])), None)
            if end is None:
                break
            while end + 1 < len(rows) and re.match(r"^\s*(?:[}\]]|.*Thanks for reporting!)", rows[end + 1]):
                end += 1
            rows = rows[:at] + rows[end + 1 :]
    return rows
