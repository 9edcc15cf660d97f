"""Laying what an agent needs over a file that is there: JSON and TOML, as data in and text out. Pure.

What stands in a file stays, with two exceptions: a ``true`` of ours replaces a ``false``, and a text that comes from the
environment (:class:`Given`) replaces what an earlier start left, because each start's environment counts for that start.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

_PLACEHOLDER = re.compile(r"@([A-Za-z_][A-Za-z0-9_]*)(?::([0-9]+)|\|([^@]*))?@")
_COMMENT = re.compile(r"\s+#[^\"']*$")
_ABSENT = object()
_PLACES = 20
"""Lines that are tried for one value of a TOML file; a file with more is left alone."""


class Given(str):
    """A text made of the session's environment."""


def fill(value: Any, facts: Mapping[str, str]) -> Any:
    """Return catalogue data with its placeholders filled; keys and entries whose fact is missing are left out."""
    if isinstance(value, str):
        return _filled(value, facts)
    if isinstance(value, list):
        return [item for item in (fill(each, facts) for each in value) if item is not _ABSENT]
    if isinstance(value, Mapping):
        pairs = ((_filled(str(key), facts), fill(item, facts)) for key, item in value.items())
        return {key: item for key, item in pairs if key is not _ABSENT and item is not _ABSENT}
    return value


def _filled(text: str, facts: Mapping[str, str]) -> Any:
    absent = [m for m in _PLACEHOLDER.finditer(text) if m[3] is None and not facts.get(m[1])]
    if absent:
        return _ABSENT

    def fact(match: re.Match[str]) -> str:
        value = facts.get(match[1]) or match[3] or ""
        return value[-int(match[2]) :] if match[2] else value

    filled = _PLACEHOLDER.sub(fact, text)
    return Given(filled) if any(m[1] != "WORK" for m in _PLACEHOLDER.finditer(text)) else filled


def merged(form: str, before: str, wanted: Mapping[str, Any]) -> str:
    """Return the text of a file with what is wanted in it.

    :param form: ``json`` or ``toml``.
    :raises ValueError: the text before is not of this form.
    """
    if form == "toml":
        return _merged_toml(before, wanted)
    found = json.loads(before) if before.strip() else {}
    if not isinstance(found, dict):
        raise ValueError("not an object")
    together = _together(found, wanted)
    return before if together == found and before else json.dumps(together, indent=2, ensure_ascii=False) + "\n"


def _together(found: Any, wanted: Any) -> Any:
    if isinstance(found, Mapping) and isinstance(wanted, Mapping):
        added = {key: _together(found[key], item) if key in found else item for key, item in wanted.items()}
        return {**found, **added}
    if isinstance(found, list) and isinstance(wanted, list):
        return [*found, *(item for item in wanted if item not in found)]
    return wanted if isinstance(wanted, Given) or (wanted is True and found in (False, None)) else found


def _merged_toml(before: str, wanted: Mapping[str, Any]) -> str:
    """Add what is missing: single values at the head, whole tables at the end; comments and order stay."""
    found = tomllib.loads(before)
    head = [f"{key} = {json.dumps(item)}\n" for key, item in _values(wanted) if key not in found]
    tail = [_table(path, table) for path, table in _tables((), wanted) if not _has(found, path)]
    text = "".join([*head, before, *(["\n"] if before and not before.endswith("\n") else []), *tail])
    for path, value in _given((), wanted):
        text = _with(text, path, value)
    tomllib.loads(text)
    return text


def _given(path: tuple[str, ...], table: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Given]]:
    for key, item in table.items():
        if isinstance(item, Given):
            yield (*path, key), item
        elif isinstance(item, Mapping):
            yield from _given((*path, key), item)


def _with(text: str, path: tuple[str, ...], value: Given) -> str:
    """Return a TOML text in which *value* stands at *path*, everything else as it was.

    :raises ValueError: no line can be changed or added so that just this comes out, as within an inline table.
    """
    expected = deepcopy(found := tomllib.loads(text))
    table = expected
    for key in path[:-1]:
        table = table[key]
        if not isinstance(table, dict):
            raise ValueError(f"{key} is no table")
    table[path[-1]] = str(value)
    if found == expected:
        return text
    lines = text.splitlines(keepends=True)
    for changed in _attempts(lines, path, json.dumps(value)):
        try:
            if tomllib.loads(changed) == expected:
                return changed
        except tomllib.TOMLDecodeError:
            continue
    raise ValueError(f"{'.'.join(path)} cannot be set")


def _attempts(lines: list[str], path: tuple[str, ...], value: str) -> Iterator[str]:
    """Yield the texts in which a line that may be the one has *value*, then those with a line more below a table's name."""
    places = [(at, line.partition("=")[0]) for at, line in enumerate(lines) if path[-1] in line.partition("=")[0]]
    for at, name in places[:_PLACES]:
        comment = _COMMENT.search(lines[at].rstrip("\n"))
        changed = f"{name}= {value}{comment[0] if comment else ''}\n"
        yield "".join([*lines[:at], changed, *lines[at + 1 :]])
    heads = [
        at + 1 for at, line in enumerate(lines) if line.lstrip().startswith("[") and path[-2:-1] and path[-2] in line
    ]
    for at in heads[:_PLACES]:
        yield "".join([*lines[:at], f"{json.dumps(path[-1])} = {value}\n", *lines[at:]])


def _values(table: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(key, item) for key, item in table.items() if not isinstance(item, Mapping)]


def _tables(path: tuple[str, ...], table: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    for key, item in table.items():
        if isinstance(item, Mapping):
            if _values(item):
                yield (*path, key), item
            yield from _tables((*path, key), item)


def _has(found: Any, path: tuple[str, ...]) -> bool:
    for key in path:
        if not isinstance(found, Mapping) or key not in found:
            return False
        found = found[key]
    return True


def _table(path: tuple[str, ...], table: Mapping[str, Any]) -> str:
    lines = [f"{json.dumps(key)} = {json.dumps(item)}\n" for key, item in _values(table)]
    return "".join([f"\n[{'.'.join(json.dumps(key) for key in path)}]\n", *lines])
