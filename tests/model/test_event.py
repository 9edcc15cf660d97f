"""The table of kinds of events: complete, and what the code writes is in it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentproxy.model import event
from agentproxy.model.event import KINDS, fault

ROOT = Path(__file__).resolve().parents[2]
PLACE_OF_KIND = {"NewEvent": 1, "tell": 0, "change": 1}


def written() -> Iterator[tuple[str, str]]:
    """Yield (place, kind) for each event that the source writes with a literal kind."""
    for path in sorted((ROOT / "agentproxy").rglob("*.py")):
        if "embedded" in path.parts:
            continue  # it has a stream of its own
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            place = PLACE_OF_KIND.get(name)
            value = node.args[place] if place is not None and len(node.args) > place else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", value.value


def test_every_event_that_is_written_is_in_the_table() -> None:
    """No event is written whose kind the table, and so docs/events.md, does not explain."""
    found = list(written())
    assert len(found) > 10
    unknown = [f"{place} writes {kind!r}" for place, kind in found if kind not in KINDS]
    assert not unknown, "add the kind to agentproxy/model/event.py: " + "; ".join(unknown)


def test_the_table_of_the_docs_is_the_one_of_the_code() -> None:
    """docs/events.md holds exactly the table that the code makes."""
    text = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")
    assert event.table() in text, "paste the output of `python -m agentproxy.model.event` into docs/events.md"


@pytest.mark.parametrize(
    ("kind", "data", "wrong"),
    [
        ("agent.status", {"status": "stable"}, None),
        ("agent.status", {}, "missing fields ['status']"),
        ("agent.status", {"status": "stable", "extra": 1}, "unknown fields ['extra']"),
        ("session.step", {"step": "clone", "seconds": 1}, None),
        ("message", {"id": 1, "role": "user", "content": ""}, None),
        ("nonsense", {}, "no kind 'nonsense'"),
    ],
)
def test_data_is_judged_by_its_row(kind: str, data: dict[str, object], wrong: str | None) -> None:
    """Fields that are missing or not explained are named."""
    found = fault(kind, data)
    assert found is None if wrong is None else wrong in (found or "")
