"""From the bytes of a file to a tree of plain values: YAML or JSON by content, a key only once, text keys only."""

from __future__ import annotations

import json
from collections.abc import Hashable
from typing import Any

import yaml

from agentproxy.config.faults import ConfigError, Fault

DEPTH = 50


class _Loader(yaml.SafeLoader):
    """YAML without dates (times stay text) and without keys that stand twice."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the loader's own form
        letter: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for letter, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Refuse a key that stands twice in one map."""
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = str(self.construct_object(key_node, deep=True))
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key}' stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def read(content: bytes, name: str) -> dict[str, Any]:
    """Return the tree of a configuration file.

    :param name: how the file is called in a fault.
    :raises ConfigError: with the line where it is not readable.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError([Fault(name, f"is not UTF-8 text (byte {error.start})")]) from None
    tree = parse(text, name)
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError([Fault(name, "expected a map of options at the top")])
    faults = list(_odd_places(tree, "", 0))
    if faults:
        raise ConfigError(faults, name)
    return tree


def parse(text: str, name: str) -> Any:
    """Return the value that a YAML or JSON text stands for.

    :raises ConfigError: when it is neither; the text itself is not repeated, because it may hold secrets.
    """
    problem = None
    if text.lstrip().startswith("{"):
        try:
            return json.loads(text, object_pairs_hook=_once)
        except (ValueError, RecursionError) as error:
            problem = str(error)
    try:
        return yaml.load(text, _Loader)  # a safe loader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        problem = problem or f"{error.problem or error.context}{where}"
    except Exception as error:  # PyYAML lets ValueError, KeyError and others of malformed scalars through
        problem = problem or f"is not readable ({type(error).__name__})"
    raise ConfigError([Fault(name, f"is neither YAML nor JSON: {problem}")]) from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key '{twice}' stands twice")
    return tree


def _odd_places(value: Any, path: str, depth: int) -> list[Fault]:
    """Return the places that no configuration has: keys that are not text, and endless depth (aliases of YAML)."""
    if depth > DEPTH:
        return [Fault(path[:80] or "(top)", f"is nested deeper than {DEPTH} levels")]
    found: list[Fault] = []
    if isinstance(value, dict):
        for key, inner in value.items():
            here = f"{path}.{key}" if path else str(key)
            if not isinstance(key, str):
                found.append(Fault(here, "expected a text as the key; put it in quotes"))
            found += _odd_places(inner, here, depth + 1)
            if len(found) > DEPTH:
                break
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            found += _odd_places(inner, f"{path}[{number}]", depth + 1)
            if len(found) > DEPTH:
                break
    return found
