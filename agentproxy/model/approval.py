"""A wanted approval: which prompt it is, what can be answered, and which rules answer it. Pure rules.

An approval is bound to its prompt by a fingerprint of what stands on the screen, without what moves there by itself (spinners,
counters, the mark of the chosen line). An answer is pressed only while the same prompt shows.
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from agentproxy.errors import Refusal
from agentproxy.model.attention import Marks, last_rows
from agentproxy.model.repository import parse

ABOVE = 12
"""Rows above the question that belong to the prompt: what is to be approved stands there."""

BELOW = 6
"""Rows that may follow what a pattern of the subject takes in: the rest of the choices and a hint."""

_NUMBERED = re.compile(r"^\W*(?P<key>[1-9])[.)] +(?P<label>\S.*)$", re.MULTILINE)
_LETTERED = re.compile(r"^\W*(?P<key>[a-z])\. +(?P<label>\S.*)$", re.MULTILINE)
_HINT = re.compile(r"\((?P<key>[a-z]|esc)\)\W*$")
_WORDS = re.compile(r"\((?P<key>[A-Z])\)(?P<rest>[a-z' ]+)")
_MOVES = re.compile(r"[✻✽✢✶✳·⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏●○◦•❯›>┃│║△▣□■]|\b\d+(\.\d+)? ?m?s\b")
_SPACE = re.compile(r"\s+")
_JOINS = re.compile(r"[;&|<>`\n]|\$\(")


class ApprovalState(Enum):
    """Where an approval is in its life."""

    WAITING = "waiting"
    ANSWERING = "answering"
    ALLOWED = "allowed"
    DENIED = "denied"
    CHOSEN = "chosen"
    EXPIRED = "expired"
    GONE = "gone"
    UNCERTAIN = "uncertain"


OPEN = frozenset({ApprovalState.WAITING, ApprovalState.ANSWERING})


@dataclass(frozen=True, slots=True)
class AcpRequest:
    """What an agent asks leave for over the Agent Client Protocol.

    :param kind: of the tool, as the protocol names it: ``execute``, ``edit``, ``read``, ...
    :param command: the command line that the tool is called with; empty when it is called with something else.
    :param options: the offered answers as (id, name, kind).
    """

    id: str
    title: str
    kind: str
    command: str
    options: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """One offered answer.

    :param name: what a caller says to choose it.
    :param keys: what is pressed for it, half a second apart; the id of the option when the prompt is the protocol's.
    """

    name: str
    label: str
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Prompt:
    """What an agent asks, as it stands on its screen.

    :param subject: what is to be approved (a command line, a path), where it can be told; else empty.
    :param request: id of the request when the agent asks over its protocol; empty for a question on the screen.
    """

    text: str
    fingerprint: str
    subject: str
    choices: tuple[Choice, ...]
    request: str = ""


@dataclass(frozen=True, slots=True)
class Approval:
    """One wanted approval.

    :param answer: the name of the choice, or ``allow`` or ``deny``, once it is answered.
    :param by: who answered it; ``rule ID`` for a rule.
    """

    id: str
    session_id: str
    incarnation: int
    prompt: Prompt
    created_at: datetime
    state: ApprovalState = ApprovalState.WAITING
    expires_at: datetime | None = None
    answered_at: datetime | None = None
    answer: str = ""
    by: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """An answer given beforehand.

    :param owner: whose sessions it is for; empty for those of everybody (the configuration's rules only).
    :param command: what the subject has to be: a pattern with ``*`` and ``?``. ``pytest *`` is not ``pytest; rm x``: a
        subject that joins commands matches only a rule that spells it out.
    :param agent: only this agent's sessions; empty for all.
    :param repository: only sessions of this repository (``owner/name`` on GitHub, or a URL); empty for all.
    :param answer: ``allow`` or ``deny``.
    """

    id: str
    owner: str
    command: str
    answer: str = "allow"
    agent: str = ""
    repository: str = ""
    expires_at: datetime | None = None


def read_prompt(screen: str, line: str, marks: Marks, keys: Mapping[str, tuple[str, ...]]) -> Prompt:
    """Return the prompt that stands on a screen.

    :param line: the row that shows it, as :class:`~agentproxy.model.attention.Attention` has it.
    :param keys: ``allow`` and ``deny`` of the catalogue.
    """
    rows = last_rows(screen).split("\n")
    place = max((n for n, row in enumerate(rows) if line and line in row), default=len(rows) - 1)
    said = [n for n, row in enumerate(rows[:place]) if any(one.search(row) for one in marks.said)]
    first = max([place - ABOVE, 0, *(n + 1 for n in said)])
    text = "\n".join(rows[first:])
    return Prompt(text, fingerprint(text), _subject(text, marks), choices(text, keys))


_PREFERRED = {"allow": ("allow_once", "allow_always"), "deny": ("reject_once", "reject_always")}
"""The kinds of options that ``allow`` and ``deny`` stand for: the one that reaches less far first."""


def prompt_of(request: AcpRequest) -> Prompt:
    """Return the prompt of a request over the protocol; each request is one of its own, however equal two are."""
    found = []
    for name, kinds in _PREFERRED.items():
        ids = [option for kind in kinds for option, _name, its in request.options if its == kind]
        found += [Choice(name, name.capitalize(), (ids[0],))] if ids else []
    taken = {one.name for one in found}
    found += [Choice(option, name, (option,)) for option, name, _kind in request.options if option not in taken]
    rows = [request.title, request.command if request.command not in request.title else ""]
    text = "\n".join([*filter(None, rows), *(f"- {name}" for _id, name, _kind in request.options)])
    told = f"{request.id}\n{text}".encode("utf-8", "surrogatepass")
    return Prompt(text, hashlib.sha256(told).hexdigest()[:32], request.command.strip(), tuple(found), request.id)


def fingerprint(text: str) -> str:
    """Return what tells a prompt from another one, the same however its spinner stands and whatever is selected."""
    kept = [_SPACE.sub(" ", _MOVES.sub("", row)).strip() for row in text.split("\n")]
    return hashlib.sha256("\n".join(filter(None, kept)).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _subject(text: str, marks: Marks) -> str:
    """Return what is to be approved: the last match that ends near the end of the screen, so that it is of no older prompt."""
    for pattern in marks.subject:
        found = list(pattern.finditer(text))
        if found and text.count("\n", found[-1].end()) <= BELOW:
            return found[-1]["subject"].strip()
    return ""


def choices(text: str, keys: Mapping[str, tuple[str, ...]]) -> tuple[Choice, ...]:
    """Return the answers that a prompt offers; ``allow`` and ``deny`` of the catalogue stand first."""
    known = [Choice(name, name.capitalize(), keys[name]) for name in ("allow", "deny") if keys.get(name)]
    return (*known, *_offered(text))


def _offered(text: str) -> Iterable[Choice]:
    rows = list(_NUMBERED.finditer(text)) or list(_LETTERED.finditer(text))
    for row in rows:
        label, hint = row["label"].rstrip(" │"), _HINT.search(row["label"])
        pressed = row["key"] if hint is None else "\x1b" if hint["key"] == "esc" else hint["key"]
        yield Choice(row["key"], label, (pressed,))
    if not rows:
        for word in _WORDS.finditer(text):
            yield Choice(word["key"].lower(), f"{word['key']}{word['rest']}".strip(), (f"{word['key'].lower()}\r",))


def find_choice(prompt: Prompt, name: str) -> Choice | None:
    """Return the choice of that name or label, None when it is not offered."""
    wanted = name.strip().lower()
    return next((one for one in prompt.choices if wanted in (one.name, one.label.lower())), None)


def matches(rule: Rule, prompt: Prompt, owner: str, agent: str, repository: str, now: datetime) -> bool:
    """Return whether a rule answers a prompt; without a known subject none does."""
    if not prompt.subject or (rule.expires_at is not None and rule.expires_at <= now):
        return False
    if (rule.owner, rule.agent) != (rule.owner and owner, rule.agent and agent):
        return False
    if rule.repository and _place(rule.repository) != _place(repository):
        return False
    if _JOINS.search(prompt.subject):
        return rule.command == prompt.subject
    return fnmatch.fnmatchcase(
        prompt.subject, rule.command.replace("[", "[[]")
    )  # sets of characters are no wildcards here


def _place(reference: str) -> str:
    """Return what all references to one repository have in common: ``owner/name``, its URLs, each with any branch."""
    try:
        found = parse(reference)
    except Refusal:
        return reference
    return f"{found.host}/{found.full_name}".lower()


def rule_for(
    rules: Iterable[Rule], prompt: Prompt, owner: str, agent: str, repository: str, now: datetime
) -> Rule | None:
    """Return the rule that answers a prompt, a denying one before an allowing one, or None."""
    found = [one for one in rules if matches(one, prompt, owner, agent, repository, now)]
    return min(found, key=lambda one: one.answer != "deny", default=None)
