"""What is wrong with a configuration, as sentences that name the place, the value and what was expected."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

HUGE = 2**63
"""No option has a number of this size, and Python refuses to print very long ones."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong.

    :param path: dotted path of the option (``auth.static.api_keys[0].key``), name of a variable, or of a file.
    :param problem: what is wrong, with the value where it may be shown, and what was expected.
    :param nearest: the option that was probably meant, or None.
    """

    path: str
    problem: str
    nearest: str | None = None

    def __str__(self) -> str:
        """Return the sentence."""
        hint = f" Did you mean {self.nearest}?" if self.nearest else ""
        return f"{self.path}: {self.problem}.{hint}"


class ConfigError(Exception):
    """The configuration cannot be used; all faults at once.

    :ivar faults: what is wrong, in the order of the file.
    """

    def __init__(self, faults: Sequence[Fault], origin: str = "") -> None:
        """Take the faults and the file that they stand in."""
        self.faults = tuple(faults)
        self.origin = origin
        super().__init__(self.faults, origin)

    def __str__(self) -> str:
        """Return all sentences, one a line."""
        where = f" in {self.origin}" if self.origin else ""
        lines = "\n".join(f"  {fault}" for fault in self.faults)
        return f"The configuration{where} cannot be used:\n{lines}"


def nearest(name: str, known: Iterable[str], elsewhere: Iterable[str] = ()) -> str | None:
    """Return what was probably meant by a name: one of ``known``, else a dotted path that ends in it."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    if matches:
        return matches[0]
    ends = {path.rpartition(".")[2]: path for path in elsewhere}
    found = difflib.get_close_matches(name, list(ends), n=1, cutoff=0.75)
    return ends[found[0]] if found else None


def shown(value: Any) -> str:
    """Return a value as a fault may show it: scalars shortened, of the rest only the kind."""
    if isinstance(value, str):
        return f"'{value}'" if len(value) <= 60 else f"'{value[:57]}...'"
    if isinstance(value, int) and abs(value) >= HUGE:
        return "a huge number"
    return str(value).lower() if isinstance(value, bool) else str(value) if is_scalar(value) else kind_of(value)


def is_scalar(value: Any) -> bool:
    """Return whether a value is one number, text or truth value."""
    return isinstance(value, str | int | float)


def kind_of(value: Any) -> str:
    """Return the kind of a value in the words of the configuration's author."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, bool):
        return "true or false"
    return (
        "a text" if isinstance(value, str) else "a number" if isinstance(value, int | float) else type(value).__name__
    )
