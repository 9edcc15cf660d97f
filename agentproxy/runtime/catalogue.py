"""The catalogue of agents: what is known of each coding agent, as data, and the choice of one for a session.

``catalogue.yaml`` says what each key means. The configuration's ``agents:`` is laid over it key by key; an agent that only
the configuration names needs at least a ``command``.
"""

from __future__ import annotations

import difflib
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from agentproxy.errors import INVALID_REQUEST, Refusal
from agentproxy.model.attention import MARKS, Marks
from agentproxy.runtime.steps import StepFailed

Which = Callable[[str], str | None]
"""Where a program is, None when it is nowhere: :func:`shutil.which` over the PATH that sessions get."""

TYPES = frozenset(
    [
        "claude",
        "goose",
        "aider",
        "codex",
        "gemini",
        "copilot",
        "amp",
        "cursor",
        "auggie",
        "amazonq",
        "opencode",
        "custom",
    ]
)
LAST = ("custom", "demo")
"""Agents that ``auto`` never finds on PATH."""


@dataclass(frozen=True, slots=True)
class HomeFile:
    """One file in HOME that answers a first-run question.

    :param path: relative to HOME.
    :param format: ``json`` or ``toml``; content is merged into a file that is there.
    :param when: the variable that must be set for it, None for always.
    """

    path: str
    format: str
    content: Mapping[str, Any]
    when: str | None = None


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent of the catalogue.

    :param command: program and arguments.
    :param type: agent type of the agent server, one of :data:`TYPES`.
    :param needs: variables passed on from the server's environment.
    :param environment: variables set unless the request sets them.
    :param interrupt: keys that stop a turn, sent half a second apart.
    :param resume: arguments added when a session is started again.
    :param allow: keys that say yes to a wanted approval, sent half a second apart; empty when no answer is known.
    :param deny: keys that say no to it.
    :param clear: keys that empty the input line.
    :param acp: it speaks the Agent Client Protocol on its pipes instead of drawing on a terminal.
    :param install: how to get it, the end of a sentence.
    """

    name: str
    title: str
    command: tuple[str, ...]
    type: str = "custom"
    needs: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    interrupt: tuple[str, ...] = ("\x03",)
    resume: tuple[str, ...] = ()
    home: tuple[HomeFile, ...] = ()
    marks: Marks = field(default_factory=Marks)
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    clear: tuple[str, ...] = ()
    acp: bool = False
    install: str = ""

    def argv(self, *, resume: bool = False) -> tuple[str, ...]:
        """Return the command, with the resume arguments when a session is started again."""
        return (*self.command, *self.resume) if resume else self.command


@dataclass(frozen=True, slots=True)
class Choice:
    """The agent that was picked; ``automatic`` when nobody named it, which log and answer say."""

    agent: Agent
    automatic: bool = False


class Catalogue:
    """All agents by name, in the order in which ``auto`` looks for them."""

    def __init__(self, agents: Mapping[str, Agent]) -> None:
        self.agents = dict(agents)

    def pick(
        self, name: str | None, default: str = "auto", which: Which = shutil.which, path: str = "$.agent"
    ) -> Choice:
        """Return the agent of a request.

        :param name: what the request says; None or empty means ``default``.
        :param default: the configured agent, ``auto`` for the first one found, else ``demo``.
        :param path: where the name stood in the request.
        :raises Refusal: INVALID_REQUEST, there is no agent of this name.
        :raises StepFailed: ``agent``, its program is not installed.
        """
        wanted = name or default
        if wanted == "auto":
            return Choice(self._first(which), automatic=True)
        agent = self.agents.get(wanted)
        if agent is None:
            raise Refusal(INVALID_REQUEST, f"{path}: {unknown('agent', wanted, self.agents)}")
        require_program(agent, which)
        return Choice(agent)

    def _first(self, which: Which) -> Agent:
        for name, agent in self.agents.items():
            if name not in LAST and agent.command and which(agent.command[0]):
                return agent
        return self.agents["demo"]

    def with_command(self, agent: Agent, command: tuple[str, ...], *, allowed: bool, path: str = "$.command") -> Agent:
        """Return the agent with a command of the request's own.

        :param allowed: the configuration's ``allow_commands``.
        :raises Refusal: INVALID_REQUEST, not allowed or not a command.
        """
        if not allowed:
            raise Refusal(INVALID_REQUEST, f"{path}: commands of a request's own are not allowed (allow_commands)")
        if not command or not command[0] or any("\0" in part for part in command):
            raise Refusal(INVALID_REQUEST, f"{path}: must name a program and may not contain NUL")
        return replace(agent, command=command, resume=())


def unknown(what: str, wanted: str, known: Mapping[str, Any]) -> str:
    """Return the sentence for a name that nobody knows, with the nearest one that is known."""
    near = difflib.get_close_matches(wanted, known, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known) or 'none'}"
    return f"unknown {what} {wanted[:80]!r}, {hint}"


def require_program(agent: Agent, which: Which) -> None:
    """Check that an agent's program can be found.

    :raises StepFailed: ``agent``, unavailable, with how to install it.
    """
    if not agent.command:
        raise StepFailed("agent", f"{agent.title} has no command; {agent.install}", unavailable=True)
    if which(agent.command[0]) is None:
        how = f"; to install it: {agent.install}" if agent.install else ""
        raise StepFailed("agent", f"{agent.command[0]} ({agent.title}) is not on PATH{how}", unavailable=True)


_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where PyYAML has it


def load(overlay: Mapping[str, Mapping[str, Any]] | None = None) -> Catalogue:
    """Return the catalogue with the configuration's ``agents:`` laid over it.

    :raises ValueError: a value of the overlay is wrong; the text names its path, ``agents.NAME.KEY``.
    """
    rows: dict[str, dict[str, Any]] = yaml.load(Path(__file__).with_name("catalogue.yaml").read_bytes(), _LOADER)
    known = dict(rows)
    for name, row in (overlay or {}).items():
        rows[name] = {**rows.get(name, {}), **row}
    ordered = [*(name for name in rows if name not in LAST), *LAST]
    agents = {name: _agent(name, rows[name]) for name in ordered}
    for name, agent in agents.items():
        if name not in known and not agent.command:
            raise ValueError(f"agents.{name}: {unknown('agent', name, known)}; a new one needs a command")
    return Catalogue(agents)


KEYS = frozenset(
    [
        "title",
        "command",
        "type",
        "needs",
        "environment",
        "interrupt",
        "resume",
        "home",
        "marks",
        "allow",
        "deny",
        "clear",
        "acp",
        "install",
    ]
)


def _agent(name: str, row: Mapping[str, Any]) -> Agent:
    where = f"agents.{name}"
    for key in row:
        if key not in KEYS:
            raise ValueError(f"{where}: {unknown('key', key, dict.fromkeys(sorted(KEYS)))}")
    command = _texts(row.get("command"), f"{where}.command")
    kind = row.get("type", "custom")
    if kind not in TYPES:
        raise ValueError(f"{where}.type: {unknown('agent type', str(kind), dict.fromkeys(sorted(TYPES)))}")
    if row.get("acp", False) not in (True, False):
        raise ValueError(f"{where}.acp: must be true or false")
    if row.get("acp"):  # it has no screen to read and no keys but this one
        row = {**row, "interrupt": ["\x1b"], "resume": None, "marks": None, "allow": None, "deny": None, "clear": None}
    return Agent(
        name=name,
        title=str(row.get("title", name)),
        command=tuple(sys.executable if part == "@PYTHON@" else part for part in command),
        type=kind,
        needs=_texts(row.get("needs"), f"{where}.needs"),
        environment={str(key): str(value) for key, value in _mapping(row.get("environment"), f"{where}.environment")},
        interrupt=_texts(row.get("interrupt", ["\x03"]), f"{where}.interrupt"),
        resume=_texts(row.get("resume"), f"{where}.resume"),
        home=tuple(_home_file(item, f"{where}.home") for item in row.get("home") or ()),
        marks=_marks(row.get("marks"), f"{where}.marks"),
        allow=_texts(row.get("allow"), f"{where}.allow"),
        deny=_texts(row.get("deny"), f"{where}.deny"),
        clear=_texts(row.get("clear"), f"{where}.clear"),
        acp=bool(row.get("acp")),
        install=str(row.get("install", "")),
    )


def _texts(value: Any, where: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{where}: must be a list of texts")
    return tuple(value)


def _mapping(value: Any, where: str) -> list[tuple[Any, Any]]:
    if value is not None and not isinstance(value, Mapping):
        raise ValueError(f"{where}: must be a mapping")
    return list((value or {}).items())


def _marks(value: Any, where: str) -> Marks:
    compiled: dict[str, tuple[re.Pattern[str], ...]] = {}
    for key, patterns in _mapping(value, where):
        if key not in MARKS:
            raise ValueError(f"{where}.{key}: must be one of {', '.join(MARKS)}")
        try:
            compiled[key] = tuple(re.compile(text, re.MULTILINE) for text in _texts(patterns, f"{where}.{key}"))
        except re.error as error:
            raise ValueError(f"{where}.{key}: not a regular expression: {error}") from error
    if any("subject" not in one.groupindex for one in compiled.get("subject", ())):
        raise ValueError(f"{where}.subject: needs the group (?P<subject>...)")
    return Marks(**compiled)


def _home_file(item: Any, where: str) -> HomeFile:
    row = dict(_mapping(item, where))
    path = row.get("path")
    if not isinstance(path, str) or path.startswith("/") or ".." in path.split("/") or not path.strip("/."):
        raise ValueError(f"{where}.path: must be a path inside HOME")
    if row.get("format") not in ("json", "toml"):
        raise ValueError(f"{where}.format: must be json or toml")
    content = dict(_mapping(row.get("content"), f"{where}.content"))
    return HomeFile(path, row["format"], content, row.get("when"))
