"""What the queries of journal, waits and transcripts ask for: cursors, kinds of events, times, deadlines."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime

from twisted.web.http import Request

from agentproxy.model.event import KINDS
from agentproxy.web import wire

_NUMBER = re.compile(r"[0-9]{1,18}")
_FLOAT = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")


def cursor(request: Request, values: dict[str, str]) -> int | None:
    """Return the cursor of a reader: ``Last-Event-ID``, else ``after``, else 0; None for ``after=latest``.

    The header comes first: a browser that connects again sends it beside the address of its first request.

    :raises Refusal: it is not a number.
    """
    header = (wire.header(request, "last-event-id") or "").strip()
    return number(header, "Last-Event-ID") if header else number(values.get("after", "0"), "after")


def number(text: str, name: str) -> int | None:
    """Return a cursor, None for ``latest``.

    :raises Refusal: it is something else.
    """
    if text == "latest":
        return None
    if not _NUMBER.fullmatch(text):
        raise wire.invalid(name, f"expected the number of an event or latest, got {text!r}")
    return int(text)


def kinds(values: dict[str, str]) -> frozenset[str]:
    """Return the kinds of events of ``types=a,b``; ``message.*`` is every kind that begins so. Empty is all.

    :raises Refusal: there is no such kind.
    """
    found: set[str] = set()
    for name in filter(None, (part.strip() for part in values.get("types", "").split(","))):
        stem = name[:-1] if name.endswith(".*") else None
        fitting = {kind for kind in KINDS if (kind.startswith(stem) if stem else kind == name)}
        if not fitting:
            raise wire.invalid("types", f"there are no events of the type {name!r}; docs/events.md has the table")
        found |= fitting
    return frozenset(found)


def seconds(values: dict[str, str], name: str, default: float, longest: float) -> float:
    """Return a wait in seconds from 0 to *longest*.

    :raises Refusal: it is something else.
    """
    text = values.get(name)
    if text is None:
        return default
    value = _float(text)
    if not 0 <= value <= longest:
        raise wire.invalid(name, f"expected seconds from 0 to {longest:g}, got {text!r}")
    return value


def clamped(values: dict[str, str], name: str, default: float, low: float, high: float) -> float:
    """Return a wait in seconds, moved into the bounds; what is no number is the default."""
    value = _float(values.get(name, ""))
    return default if math.isnan(value) else min(max(value, low), high)


def since(values: dict[str, str]) -> datetime | None:
    """Return the time of ``since``, milliseconds since 1970 or RFC 3339; None when it is not there.

    :raises Refusal: it is something else.
    """
    text = values.get("since")
    if not text:
        return None
    try:
        if re.fullmatch(r"[0-9]{1,14}", text):
            return datetime.fromtimestamp(int(text) / 1000, UTC)
        moment = datetime.fromisoformat(text.replace(" ", "+"))  # a "+" in a query arrives as a space
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError, OSError):
        raise wire.invalid("since", f"expected milliseconds since 1970 or a time, got {text!r}") from None


def _float(text: str) -> float:
    """Return a number as JSON writes it, else NaN: Python's own reading takes spaces, underscores and foreign digits too."""
    return float(text) if _FLOAT.fullmatch(text) else math.nan
