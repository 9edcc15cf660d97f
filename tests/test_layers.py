"""The layers of DESIGN: which way imports go. A failure says which line to move and where."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "agentproxy"

LEVEL = {
    "errors": 0,
    "logs": 0,
    "config": 0,
    "model": 1,
    "store": 2,
    "agents": 2,
    "runtime": 3,
    "features": 4,
    "auth": 4,
    "gateway": 5,
    "web": 5,
    "console": 5,
    "admission": 6,
    "service": 7,
}
STRANGERS = [{"store", "agents"}, {"gateway", "web"}]
ALONE: dict[str, set[str]] = {"embedded": set(), "demo": set(), "client": {"errors", "model"}}
TOP = {"__main__", "cli", "commands", "daemon"}


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, part of agentproxy) for each import of our own package, those inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "agentproxy" and len(parts) > 1:
                yield node.lineno, parts[1]


def modules() -> list[Path]:
    """Return every module of the package."""
    return sorted(PACKAGE.rglob("*.py"))


def part_of(path: Path) -> str:
    """Return the part (package or top-level module) that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def complaint(part: str, other: str) -> str | None:
    """Return why ``part`` may not import ``other``, or None."""
    if other == part or other.startswith("__") or part in TOP or part == "__init__":
        return None
    if part in ALONE:
        return None if other in ALONE[part] else f"{part} stands alone: it may import only {sorted(ALONE[part])}"
    if other in ALONE:
        return f"{other} is a separate program or library; only the command line may import it"
    if part not in LEVEL or other not in LEVEL:
        return f"{part if part not in LEVEL else other} has no layer: add it to DESIGN and to LEVEL in this test"
    if {part, other} in STRANGERS:
        return f"{part} and {other} do not know each other: let features/ or service/ bring them together"
    if LEVEL[other] >= LEVEL[part]:
        return (
            f"{part} (layer {LEVEL[part]}) may import only from layers below; move the code or pass it as an argument"
        )
    return None


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_downwards(path: Path) -> None:
    """No module imports from its own level or above it."""
    part = part_of(path)
    wrong = [
        f"{path.relative_to(PACKAGE.parent)}:{line} imports agentproxy.{other}: {why}"
        for line, other in imported(path)
        if (why := complaint(part, other))
    ]
    assert not wrong, "\n".join(wrong)


def test_the_model_is_pure() -> None:
    """model/ and errors.py know neither Twisted nor I/O libraries."""
    forbidden = {"twisted", "socket", "subprocess", "sqlalchemy", "treq", "klein", "threading"}
    wrong = []
    for path in [*(PACKAGE / "model").rglob("*.py"), PACKAGE / "errors.py"]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            else:
                continue
            wrong += [f"{path.name}:{node.lineno} imports {n}" for n in names if n.split(".")[0] in forbidden]
    assert not wrong, "\n".join(wrong)
