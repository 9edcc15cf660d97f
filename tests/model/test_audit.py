"""The chain of the audit: every way to change it is seen."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from agentproxy.model.audit import FIRST, Attempt, Kept, body, chained, first_break, of_body


def rows(count: int) -> list[Kept]:
    """Return a chain of entries."""
    found: list[Kept] = []
    before = FIRST
    for number in range(1, count + 1):
        one = Attempt(
            datetime(2026, 1, 1, tzinfo=UTC), f"user{number}", "session.stop", True, "own", facts={"n": number}
        )
        text = body(one)
        before = chained(before, number, text)
        found.append(Kept(number, text, before, (one.actor, one.verb, one.session_id, one.allowed)))
    return found


def test_a_whole_chain_is_whole_and_reads_back() -> None:
    """What was kept reads back as it was, and nothing is complained about."""
    chain = rows(5)
    assert first_break(chain) is None
    assert of_body(chain[2].text).facts == {"n": 3}


def removed(chain: list[Kept]) -> list[Kept]:
    return chain[:2] + chain[3:]


def swapped(chain: list[Kept]) -> list[Kept]:
    return [*chain[:2], chain[3], chain[2], chain[4]]


def rewritten(chain: list[Kept]) -> list[Kept]:
    return [*chain[:2], replace(chain[2], text=chain[2].text.replace("user3", "user9")), *chain[3:]]


def relabelled(chain: list[Kept]) -> list[Kept]:
    return [*chain[:2], replace(chain[2], columns=("user9", *chain[2].columns[1:])), *chain[3:]]  # type: ignore[list-item]


def rehashed(chain: list[Kept]) -> list[Kept]:
    text = chain[2].text.replace("user3", "user9")
    return [*chain[:2], Kept(3, text, chained(chain[1].hash, 3, text), ("user9", *chain[2].columns[1:])), *chain[3:]]  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [removed, swapped, rewritten, relabelled, rehashed, lambda chain: chain[1:]])
def test_a_change_is_found(change: object) -> None:
    """An entry removed, moved, rewritten, shown under another name, or rewritten with its hash."""
    assert first_break(change(rows(5))) is not None  # type: ignore[operator]
