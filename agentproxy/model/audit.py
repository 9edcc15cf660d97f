"""The audit: who tried what on which session, from where, and whether it was allowed; entries are chained by their hashes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

FIRST = "0" * 64
"""What stands in place of the hash before the first entry."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One thing that somebody tried.

    :param actor: the principal's ``user_id``; empty for somebody unknown.
    :param source: how the actor was recognised, as in :class:`Principal`.
    :param credential: id of the key, token or log-in; never the secret.
    :param address: where the request came from.
    :param verb: the permission that it needed, or what was changed (``grant.add``, ``budget.lift``, ...),
        or ``auth.login``, ``auth.logout``, ``auth.refused``, or the route that refused it.
    :param reason: the permission or grant that allowed it, or why it was refused.
    :param facts: what else is worth keeping; JSON values.
    """

    time: datetime
    actor: str
    verb: str
    allowed: bool
    reason: str
    session_id: str | None = None
    source: str = ""
    credential: str = ""
    address: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One numbered attempt; ``hash`` covers it and the hash of the entry before."""

    number: int
    attempt: Attempt
    hash: str


def body(attempt: Attempt) -> str:
    """Return the text of an attempt that is kept and hashed: JSON with sorted keys."""
    facts = {
        "time": attempt.time.isoformat(),
        "actor": attempt.actor,
        "verb": attempt.verb,
        "allowed": attempt.allowed,
        "reason": attempt.reason,
        "session_id": attempt.session_id,
        "source": attempt.source,
        "credential": attempt.credential,
        "address": attempt.address,
        "facts": dict(attempt.facts),
    }
    return json.dumps(facts, sort_keys=True, separators=(",", ":"))


def of_body(text: str) -> Attempt:
    """Return the attempt of a kept text."""
    facts = json.loads(text)
    return Attempt(**{**facts, "time": datetime.fromisoformat(facts["time"])})


def chained(before: str, number: int, text: str) -> str:
    """Return the hash of an entry: SHA-256 over the hash before, the number and the text."""
    return hashlib.sha256(f"{before}\n{number}\n{text}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Kept:
    """A row as it stands in the store: its text, its hash, and its columns for searching."""

    number: int
    text: str
    hash: str
    columns: tuple[str, str, str | None, bool]


def first_break(rows: Iterable[Kept], before: str = FIRST, number: int = 0) -> str | None:
    """Return the sentence about the first row that does not fit the chain, or None when all do.

    :param before: the hash of the entry before the first row.
    :param number: the number of that entry.
    """
    for row in rows:
        if row.number != number + 1:
            return f"entry {number + 1} is missing: after {number} comes {row.number}"
        if row.hash != chained(before, row.number, row.text):
            return f"entry {row.number} was changed, or one before it"
        attempt = of_body(row.text)
        if row.columns != (attempt.actor, attempt.verb, attempt.session_id, attempt.allowed):
            return f"entry {row.number}: its columns differ from what was hashed"
        before, number = row.hash, row.number
    return None
