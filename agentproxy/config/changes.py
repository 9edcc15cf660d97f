"""What differs between two configurations, and what of it can be used without a restart."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agentproxy.config.explain import masked, value_at
from agentproxy.config.fields import leaves_of
from agentproxy.config.options import Config

AT_ONCE = ("auth.static.", "log.level")
"""Options (or their beginnings) that a reload puts into force; all others need a restart."""


@dataclass(frozen=True, slots=True)
class Change:
    """One option that has another value; secrets are masked.

    :param at_once: whether a reload puts it into force.
    """

    path: str
    before: Any
    after: Any
    at_once: bool

    def __str__(self) -> str:
        """Return the change as a sentence of a report."""
        effect = "in force now" if self.at_once else "needs a restart"
        shown = "changed" if self.before == self.after else f"{json.dumps(self.before)} -> {json.dumps(self.after)}"
        return f"{self.path}: {shown} ({effect})"


def changes(before: Config, after: Config) -> Sequence[Change]:
    """Return every option whose value differs, in the order of the configuration."""
    found = []
    for path, entry in leaves_of(Config).items():
        old, new = value_at(before, path), value_at(after, path)
        if old != new:
            secret = entry.meaning.secret
            shown = masked(old, secret=secret), masked(new, secret=secret)
            found.append(Change(path, *shown, path.startswith(AT_ONCE)))
    return found
