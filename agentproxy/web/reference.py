"""The reference of the routes, docs/routes.md, made from the OpenAPI document and so from the types that read and write.

``python -m agentproxy.web.reference [FILE]`` prints it, or writes it to FILE.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from agentproxy import web
from agentproxy.web.openapi import document
from agentproxy.web.routing import Route, routes_of

HEAD = """\
# Routes

Made by `python -m agentproxy.web.reference docs/routes.md` from the types that validate requests; a test compares. A running server
shows the same at `/docs`, and as OpenAPI 3.1 at `/openapi.json`. What the answers mean: [api.md](api.md); what an answer "no" looks
like: [errors.md](errors.md). Routes marked *open* need no identity. Everything below `/ID/` goes to the session's agent server
as it is ([gateway.md](gateway.md)).
"""


def all_routes() -> list[Route]:
    """Return every route of every part of this package, in the order of modules and sources."""
    modules = [import_module(f"agentproxy.web.{one.name}") for one in iter_modules(web.__path__)]
    kinds = {value: None for module in modules for value in vars(module).values() if isinstance(value, type)}
    return [one for kind in kinds for one in routes_of(kind)]


def page() -> str:
    """Return the whole page."""
    described = document(all_routes())
    shapes = described["components"]["schemas"]
    parts = [HEAD]
    topics: dict[str, list[tuple[str, str, Mapping[str, Any]]]] = {}
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            topics.setdefault(operation["tags"][0], []).append((method.upper(), path, operation))
    for topic, found in sorted(topics.items()):
        parts.append(f"\n## {topic}\n")
        for method, path, operation in found:
            parts.extend(_route(method, path, operation, shapes))
    return "".join(parts)


def _route(method: str, path: str, operation: Mapping[str, Any], shapes: Mapping[str, Any]) -> Iterator[str]:
    is_open = operation.get("security") == [{}]
    yield f"\n### {method} {path.replace('{', ':').replace('}', '')}\n\n"
    yield operation["summary"] + "." + (" *Open.*" if is_open else "") + "\n\n"
    if "description" in operation:
        yield " ".join(operation["description"].split()) + "\n\n"
    rows = [("query", one["name"], one["schema"], one.get("description", "")) for one in operation["parameters"]
            if one["in"] == "query"]  # fmt: skip
    if "requestBody" in operation:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        rows += [("body", *row) for row in _fields(schema, shapes)]
    if rows:
        yield "| In | Name | Type | Meaning |\n|---|---|---|---|\n"
        for place, name, kind, meaning in rows:
            yield f"| {place} | `{name}` | {_kind(kind)} | {_cell(meaning)} |\n"
        yield "\n"
    yield from _answers(operation["responses"])


def _fields(schema: Mapping[str, Any], shapes: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    whole = shapes[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    for name, inner in whole.get("properties", {}).items():
        yield name, inner, inner.get("description", "")


def _answers(responses: Mapping[str, Any]) -> Iterator[str]:
    for status, said in responses.items():
        if status == "default":
            continue
        kinds = said.get("content", {})
        shown = [f"{_kind(one['schema'])} as `{kind}`" for kind, one in kinds.items()] or ["nothing"]
        yield f"{status}: {', or '.join(shown)}\n\n"


def _kind(schema: Mapping[str, Any]) -> str:
    """Return a schema in a few words."""
    if "$ref" in schema:
        return f"`{schema['$ref'].rpartition('/')[2]}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    kind = str(schema.get("type", "anything"))
    if kind == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    bounds = [f"{word} {schema[key]}" for key, word in (("minimum", "from"), ("maximum", "to")) if key in schema]
    default = [f"else `{schema['default']}`"] if schema.get("default") not in (None, [], {}, "") else []
    return " ".join(filter(None, (kind.replace("null", "null"), ", ".join((*bounds, *default)))))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main(arguments: Sequence[str]) -> None:
    """Print the page, or write it to the file that is named."""
    if arguments:
        Path(arguments[0]).write_text(page(), encoding="utf-8")
    else:
        sys.stdout.write(page())


if __name__ == "__main__":
    main(sys.argv[1:])
