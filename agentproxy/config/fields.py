"""How an option is written down: its default beside its meaning, unit and danger, read by loading and by the documents."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from types import MappingProxyType
from typing import Any, TypedDict, get_args, get_origin, get_type_hints

Check = Callable[[Any], bool]
NOTHING: Mapping[str, Any] = MappingProxyType({})


class Rule(TypedDict):
    """What a right value looks like, and the function that knows it."""

    expected: str
    check: Check


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an option is for.

    :param text: one or two sentences.
    :param unit: unit of a number (``seconds``, ``bytes``), or empty.
    :param danger: what can go wrong with it, or empty.
    :param secret: never shown, not in an error either.
    :param required: has no default and must be written.
    :param expected: what a right value looks like, for the fault's sentence.
    :param check: says whether a value of the right type is right.
    :param shown_default: the default in words where it depends on the machine.
    """

    text: str
    unit: str = ""
    danger: str = ""
    secret: bool = False
    required: bool = False
    expected: str = ""
    check: Check | None = None
    shown_default: str = ""


def option(
    default: Any,
    text: str,
    *,
    unit: str = "",
    danger: str = "",
    secret: bool = False,
    expected: str = "",
    check: Check | None = None,
) -> Any:
    """Return a dataclass field with a default and its meaning; see :class:`Meaning`."""
    meaning = Meaning(text, unit, danger, secret, False, expected, check)
    if isinstance(default, Mapping):
        return dataclasses.field(default_factory=lambda: default, metadata={"meaning": meaning})
    return dataclasses.field(default=default, metadata={"meaning": meaning})


def required(text: str, *, secret: bool = False, shown_default: str = "") -> Any:
    """Return a dataclass field that must be written, or is computed when ``shown_default`` says how."""
    meaning = Meaning(text, secret=secret, required=not shown_default, shown_default=shown_default)
    return dataclasses.field(metadata={"meaning": meaning})


def section(kind: type[Any], text: str) -> Any:
    """Return a dataclass field that holds a section of options."""
    return dataclasses.field(default_factory=kind, metadata={"meaning": Meaning(text)})


@dataclass(frozen=True, slots=True)
class Option:
    """One option as loading and the documents see it."""

    name: str
    kind: Any
    meaning: Meaning
    default: Any

    @property
    def is_section(self) -> bool:
        """Return whether it holds further options at fixed names."""
        return dataclasses.is_dataclass(self.kind)


@cache
def options_of(kind: Any) -> Mapping[str, Option]:
    """Return the options of a section by name, in the order in which they are written."""
    hints = get_type_hints(kind)
    return MappingProxyType(
        {
            entry.name: Option(entry.name, hints[entry.name], entry.metadata["meaning"], _default(entry))
            for entry in dataclasses.fields(kind)
        }
    )


def _default(entry: dataclasses.Field[Any]) -> Any:
    if entry.default_factory is not dataclasses.MISSING:
        return entry.default_factory()
    return None if entry.default is dataclasses.MISSING else entry.default


@cache
def leaves_of(kind: Any, prefix: str = "") -> Mapping[str, Option]:
    """Return every option below a section by its dotted path; lists and maps are leaves."""
    found: dict[str, Option] = {}
    for name, entry in options_of(kind).items():
        path = f"{prefix}{name}"
        found |= leaves_of(entry.kind, f"{path}.") if entry.is_section else {path: entry}
    return MappingProxyType(found)


def holds_secrets(kind: Any) -> bool:
    """Return whether a value of this type may contain a secret somewhere below."""
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return any(o.meaning.secret or holds_secrets(o.kind) for o in options_of(kind).values())
    return get_origin(kind) is not None and any(holds_secrets(part) for part in get_args(kind))


def positive(value: float) -> bool:
    """Return whether a number is above zero."""
    return value > 0


def not_negative(value: float) -> bool:
    """Return whether a number is zero or more."""
    return value >= 0


def is_port(value: int) -> bool:
    """Return whether a number is a TCP port, 0 (any free one) included."""
    return 0 <= value <= 65535


def are_networks(values: tuple[str, ...]) -> bool:
    """Return whether every text is an address or a network in CIDR form."""
    try:
        return all(ipaddress.ip_network(value, strict=False) for value in values)
    except ValueError:
        return False


ORIGIN = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?")


def are_origins(values: tuple[str, ...]) -> bool:
    """Return whether every text is a browser origin (scheme, host, port and nothing else) or ``*``."""
    return all(value == "*" or ORIGIN.fullmatch(value) for value in values)


def is_url(value: str) -> bool:
    """Return whether a text begins as an http or https URL."""
    return re.match(r"https?://[^\s/]+", value) is not None


def is_time(value: str) -> bool:
    """Return whether a text is empty or a time with its zone."""
    try:
        return not value or datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False
