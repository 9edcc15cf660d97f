#!/usr/bin/env python3
"""Precision and recall of the attention patterns over saved screens, as a table.

``python scripts/judge_screens.py [DIRECTORY ...]``; without one, both halves of ``tests/screens``. The patterns were written from
``train``; ``judge`` was not used for it. A file is called ``AGENT-KIND-NUMBER.txt``.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from agentproxy.model.attention import Kind, classify
from agentproxy.runtime.catalogue import load

SCREENS = Path(__file__).parents[1] / "tests" / "screens"
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def judged(directory: Path) -> Iterator[tuple[str, Kind, Kind]]:
    """Yield the name of each screen, what it shows, and what the patterns say."""
    agents = load().agents
    for file in sorted(directory.glob("*.txt")):
        agent, kind, _number = file.stem.split("-")
        found = classify(file.read_text(encoding="utf-8"), agents[agent].marks, NOON)
        yield file.stem, Kind(kind), found.kind


def table(directory: Path) -> str:
    """Return precision and recall of each kind in Markdown, and the screens that were mistaken."""
    results = list(judged(directory))
    right = Counter(truth for _name, truth, said in results if truth is said)
    truths, told = Counter(row[1] for row in results), Counter(row[2] for row in results)
    lines = [f"## {directory.name}: {sum(right.values())} of {len(results)}", ""]
    lines += ["| kind | screens | precision | recall |", "|---|---|---|---|"]
    for kind in Kind:
        if truths[kind] or told[kind]:
            precision = f"{right[kind] / told[kind]:.2f}" if told[kind] else "-"
            recall = f"{right[kind] / truths[kind]:.2f}" if truths[kind] else "-"
            lines.append(f"| {kind.value} | {truths[kind]} | {precision} | {recall} |")
    wrong = [f"- {name}: {said.value}" for name, truth, said in results if truth is not said]
    return "\n".join([*lines, "", *(["Mistaken:", "", *wrong, ""] if wrong else [])])


if __name__ == "__main__":
    for name in sys.argv[1:] or [str(SCREENS / "train"), str(SCREENS / "judge")]:
        print(table(Path(name)))
