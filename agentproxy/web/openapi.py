"""The OpenAPI 3.1 document, made from the routes and from the very types that read requests and write answers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from agentproxy import __version__
from agentproxy.errors import KINDS
from agentproxy.web.describing import ROUTES, Description
from agentproxy.web.routing import Route

FIELD = re.compile(r"<(?:\w+:)?(\w+)>")
REFS = "#/components/schemas/{name}"
PATTERNS = {"grantee": {"pattern": "^(user:.+|team:[^/]+/.+)$"}}
"""What a field of a path has to look like, where not anything will do."""
TIME = r"^\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})$"
"""A point in time, for tools that do not look at the format ``date-time``."""


class Refused(msgspec.Struct, kw_only=True):
    """An answer "no"; docs/errors.md has every code. Some have further fields, such as ``step`` and ``output``."""

    error: str
    code: str
    message: str
    details: str | None = None
    session_id: str | None = None


def document(routes: Sequence[Route], *, asks: bool = False) -> dict[str, Any]:
    """Return the document of a face.

    :param asks: whether the server asks who somebody is; else it works without a key.
    """
    known = [(one, ROUTES[f"{one.method} {one.path}"]) for one in routes]
    shapes = [shape for _one, said in known for shape in (said.body, said.query, said.answer) if _is_shape(shape)]
    _schemas, components = msgspec.json.schema_components([*dict.fromkeys(shapes), Refused], ref_template=REFS)
    paths: dict[str, dict[str, Any]] = {}
    for one, said in known:
        paths.setdefault(FIELD.sub(r"{\1}", one.path), {})[one.method.lower()] = _operation(one, said, components)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "agentproxy",
            "version": __version__,
            "description": "Sessions of coding agents behind one server. `/{session_id}/*` is forwarded to the session's"
            " agent server as it is, and so not described here.",
        },
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": {name: _with_times(shape) for name, shape in components.items()},
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
        "security": [{"key": []}, {"bearer": []}, *([] if asks else [{}])],
    }


def _with_times(schema: Any) -> Any:
    """Return a schema whose points in time have a pattern."""
    if isinstance(schema, list):
        return [_with_times(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _with_times(inner) for name, inner in schema.items()}
    return {**found, "pattern": TIME} if found.get("format") == "date-time" else found


def _is_shape(shape: Any) -> bool:
    return shape is not None and not isinstance(shape, str)


def _operation(one: Route, said: Description, components: dict[str, Any]) -> dict[str, Any]:
    first, _, rest = one.summary.partition("\n")
    described = re.sub(r"\n?:\w+[^:]*:.*", "", rest, flags=re.DOTALL).strip()
    operation: dict[str, Any] = {
        "operationId": f"{one.method.lower()}{re.sub(r'[^a-zA-Z0-9]+', '_', one.path).rstrip('_')}",
        "summary": first.rstrip("."),
        "tags": [_topic(one.path)],
        "parameters": [*_path_fields(one.path), *_query_fields(said.query, components)],
        "responses": {**_good(said), "default": _refusal()},
    }
    if described:
        operation["description"] = described
    if said.body is not None:
        schema = msgspec.json.schema_components([said.body], ref_template=REFS)[0][0]
        operation["requestBody"] = {"required": False, "content": {"application/json": {"schema": schema}}}
    if one.open:
        operation["security"] = [{}]
    return operation


def _topic(path: str) -> str:
    return path.strip("/").split("/")[0] or "server"


def _path_fields(path: str) -> Iterable[dict[str, Any]]:
    for name in FIELD.findall(path):
        schema = {"type": "string", **PATTERNS.get(name, {"minLength": 1})}
        yield {"name": name, "in": "path", "required": True, "schema": schema}


def _query_fields(shape: type | None, components: dict[str, Any]) -> Iterable[dict[str, Any]]:
    if shape is None:
        return
    schema = components[shape.__name__]
    for name, inner in schema.get("properties", {}).items():
        inner = dict(inner)
        described = inner.pop("description", None)
        yield {"name": name, "in": "query", "required": False, "schema": inner} | (
            {"description": described} if described else {}
        )


def _good(said: Description) -> dict[str, Any]:
    content: dict[str, Any] = {kind: {"schema": {"type": "string"}} for kind in said.also}
    if isinstance(said.answer, str):
        content = {said.answer: {"schema": {} if said.answer == "application/json" else {"type": "string"}}, **content}
    elif said.answer is not None:
        schema = msgspec.json.schema_components([said.answer], ref_template=REFS)[0][0]
        content = {"application/json": {"schema": schema}, **content}
    good = {"description": "The answer."} | ({"content": content} if content else {})
    return {str(status): good for status in said.statuses}


def _refusal() -> dict[str, Any]:
    codes = ", ".join(sorted({str(kind.status) for kind in KINDS.values()}))
    return {
        "description": f"The answer no, with one of {codes}.",
        "content": {"application/json": {"schema": {"$ref": REFS.format(name="Refused")}}},
    }
