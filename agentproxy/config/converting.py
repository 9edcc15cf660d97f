"""From a tree of plain values to typed options, collecting every fault instead of stopping at the first."""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from agentproxy.config.faults import HUGE, ConfigError, Fault, is_scalar, nearest, shown
from agentproxy.config.fields import Meaning, holds_secrets, leaves_of, options_of
from agentproxy.config.options import Config
from agentproxy.config.reading import parse
from agentproxy.config.variables import Given, Text

WRONG: Any = object()
TRUTH = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


class Converter:
    """Makes options of plain values; :attr:`faults` says what was wrong with them.

    :param beside: folder that relative paths of the file start from.
    :param cwd: folder that relative paths of the environment and the command line start from.
    :param home: folder that ``~`` stands for.
    """

    def __init__(self, beside: Path, cwd: Path, home: Path) -> None:
        """Remember the folders."""
        self.faults: list[Fault] = []
        self._beside = beside
        self._cwd = cwd
        self._home = home

    def section(self, kind: Any, tree: Any, path: str) -> Any:
        """Return the options of one section, or ``WRONG``."""
        if tree is None:
            tree = {}
        if not isinstance(tree, dict):
            return self._wrong(path, tree, "a map of options", secret=holds_secrets(kind))
        known = options_of(kind)
        good = True
        for name in tree.keys() - known.keys():
            good = self._unknown(path, str(name), known)
        values = {}
        for name, entry in known.items():
            here = f"{path}.{name}" if path else name
            if name in tree and not (tree[name] is None and not entry.meaning.required):
                values[name] = self.value(entry.kind, entry.meaning, tree[name], here)
                good = good and values[name] is not WRONG
            elif entry.meaning.required:
                self.faults.append(Fault(here, "is missing"))
                good = False
        return kind(**values) if good else WRONG

    def value(self, kind: Any, meaning: Meaning, value: Any, path: str) -> Any:
        """Return the value of one option, or ``WRONG``."""
        made = self._made(kind, value, path, meaning)
        if made is WRONG or meaning.check is None or made is None or meaning.check(made):
            return made
        return self._wrong(path, value, meaning.expected, secret=meaning.secret)

    def _unknown(self, path: str, name: str, known: Mapping[str, Any]) -> bool:
        guess = nearest(name, known, leaves_of(Config))
        place = f"{path}." if path else ""
        if guess in known:
            guess = f"{place}{guess}"
        self.faults.append(Fault(f"{place}{name}", "is not an option", guess))
        return False

    def _wrong(self, path: str, value: Any, expected: str, *, secret: bool = False) -> Any:
        seen = "***" if secret and is_scalar(value) else shown(value)
        self.faults.append(Fault(path, f"expected {expected}, found {seen}"))
        return WRONG

    def _made(self, kind: Any, value: Any, path: str, meaning: Meaning) -> Any:
        origin = get_origin(kind)
        if origin in (Union, types.UnionType):
            inner = next(part for part in get_args(kind) if part is not type(None))
            return None if value is None else self._made(inner, value, path, meaning)
        if origin is Literal:
            return self._choice(get_args(kind), value, path)
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            return self.section(kind, value, path)
        if origin is tuple:
            return self._list(get_args(kind)[0], value, path, meaning)
        if origin is not None and issubclass(origin, Mapping):
            return self._map(get_args(kind)[1], value, path, meaning)
        return self._scalar(kind, value, path, meaning)

    def _choice(self, choices: tuple[str, ...], value: Any, path: str) -> Any:
        if isinstance(value, str) and value in choices:
            return str(value)
        guess = nearest(value, choices) if isinstance(value, str) else None
        expected = " or ".join(choices) if len(choices) < 3 else f"one of {', '.join(choices)}"
        self.faults.append(Fault(path, f"expected {expected}, found {shown(value)}", guess))
        return WRONG

    def _list(self, kind: Any, value: Any, path: str, meaning: Meaning) -> Any:
        if isinstance(value, Text):
            value = self._split(value, path, kind)
        if not isinstance(value, list):
            return self._wrong(path, value, "a list", secret=meaning.secret or holds_secrets(kind))
        made = [self._made(kind, inner, f"{path}[{number}]", meaning) for number, inner in enumerate(value)]
        return WRONG if WRONG in made else tuple(made)

    def _split(self, text: Text, path: str, kind: Any) -> Any:
        if dataclasses.is_dataclass(kind) or text.lstrip().startswith("["):
            return self._parsed(text, path)
        return [type(text)(part.strip()) for part in text.split(",") if part.strip()]

    def _parsed(self, text: Text, path: str) -> Any:
        try:
            return parse(text, path)
        except ConfigError:
            return text

    def _map(self, kind: Any, value: Any, path: str, meaning: Meaning) -> Any:
        if isinstance(value, Text):
            value = self._parsed(value, path)
        if not isinstance(value, dict):
            return self._wrong(path, value, "a map", secret=meaning.secret or holds_secrets(kind))
        made = {str(name): self._made(kind, inner, f"{path}.{name}", meaning) for name, inner in value.items()}
        return WRONG if WRONG in made.values() else types.MappingProxyType(made)

    def _scalar(self, kind: type[Any], value: Any, path: str, meaning: Meaning) -> Any:
        made = WRONG
        if kind is bool:
            made = _truth(value)
        elif kind in (int, float):
            made = _number(kind, value)
        elif isinstance(value, str) and "\0" not in value:
            made = self._path(value) if kind is Path else str(value)
        if made is not WRONG:
            return made
        expected = {bool: "true or false", int: "a whole number", float: "a number", Path: "a path"}.get(kind, "a text")
        unit = f" ({meaning.unit})" if meaning.unit and kind in (int, float) else ""
        quote = " in quotes" if kind is str and is_scalar(value) and not isinstance(value, str) else ""
        return self._wrong(path, value, f"{expected}{quote}{unit}", secret=meaning.secret)

    def _path(self, text: str) -> Any:
        if not text:
            return WRONG
        if text == "~" or text.startswith("~/"):
            return self._home / text[2:]
        return (self._cwd if isinstance(text, Given) else self._beside) / str(text)


def _truth(value: Any) -> Any:
    if isinstance(value, Text):
        return TRUTH.get(value.strip().lower(), WRONG)
    return value if isinstance(value, bool) else WRONG


def _number(kind: type[Any], value: Any) -> Any:
    if isinstance(value, Text):
        try:
            value = kind(str(value))
        except ValueError:
            return WRONG
    if isinstance(value, bool) or not isinstance(value, int | float):
        return WRONG
    if isinstance(value, float) and (not math.isfinite(value) or (kind is int and not value.is_integer())):
        return WRONG
    return kind(value) if abs(value) < HUGE else WRONG
