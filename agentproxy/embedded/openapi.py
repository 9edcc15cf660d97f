"""The routes as an OpenAPI 3.1 document. Pure."""

from __future__ import annotations

from html import escape
from typing import Any

_ROUTES = (
    ("get", "/status", "The status of the agent"),
    ("get", "/messages", "All messages of the conversation"),
    ("post", "/message", "Say something to the agent"),
    ("post", "/upload", "Upload a file for the agent"),
    ("get", "/events", "Messages, status and errors as server-sent events"),
    ("get", "/screen", "The screen, its cursor and its size"),
    ("get", "/screen/stream", "The rows of the screen as server-sent events: all, then those that change"),
    ("get", "/terminal", "The terminal over a WebSocket: bytes both ways, beginning with a clean screen"),
    ("post", "/resize", "Give the terminal another size"),
    ("get", "/permissions", "What an agent on ACP asks leave for, and the options that it offers"),
    ("post", "/permissions", "Answer one of these requests with an offered option, or with null to call it off"),
    ("get", "/health", "Whether the agent lives"),
    ("post", "/interrupt", "Press the keys that interrupt the agent"),
)
_MESSAGE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["content", "type"],
    "properties": {"$schema": {}, "content": {"type": "string"}, "type": {"enum": ["user", "raw"]}},
}
_FILE = {"type": "object", "required": ["file"], "properties": {"file": {"type": "string", "format": "binary"}}}
_CELLS = {"type": "integer", "minimum": 10, "maximum": 5000}
_SIZE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["width", "height"],
    "properties": {"width": _CELLS, "height": _CELLS},
}
_CHOICE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["id", "option"],
    "properties": {"id": {"type": "string"}, "option": {"type": ["string", "null"]}},
}
_BODIES = {
    "/permissions": ("application/json", _CHOICE),
    "/resize": ("application/json", _SIZE),
    "/message": ("application/json", _MESSAGE),
    "/upload": ("multipart/form-data", _FILE),
}

_TEXT, _LIST, _TRUTH, _OBJECT = {"type": "string"}, {"type": "array"}, {"type": "boolean"}, {"type": "object"}
_ANSWERS: dict[str, dict[str, Any]] = {
    "StatusResponseBody": {"status": _TEXT, "agent_type": _TEXT, "transport": _TEXT, "prompt": _TRUTH},
    "MessagesResponseBody": {"messages": _LIST},
    "MessageResponseBody": {"ok": _TRUTH},
    "UploadResponseBody": {"ok": _TRUTH, "filePath": _TEXT},
    "ScreenResponseBody": {"text": _TEXT, "cursor": _OBJECT, "size": _OBJECT},
    "HealthResponseBody": {"ok": _TRUTH},
    "InterruptResponseBody": {"ok": _TRUTH},
    "PermissionsResponseBody": {"permissions": _LIST},
    "PermissionResponseBody": {"ok": _TRUTH},
    "ResizeResponseBody": {"ok": _TRUTH, "width": {"type": "integer"}, "height": {"type": "integer"}},
    "ErrorModel": {"title": _TEXT, "status": {"type": "integer"}, "detail": _TEXT},
}


def schema(name: str) -> dict[str, Any] | None:
    """Return the JSON schema of the answer *name*, None for an unknown one."""
    if name not in _ANSWERS:
        return None
    return {"type": "object", "required": list(_ANSWERS[name]), "properties": _ANSWERS[name]}


def document() -> dict[str, Any]:
    """Return the document."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "AgentAPI", "version": "0.12.1"},
        "paths": _paths(),
    }


def _paths() -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for method, path, summary in _ROUTES:
        paths.setdefault(path, {})[method] = _operation(method, path, summary)
    return paths


def _operation(method: str, path: str, summary: str) -> dict[str, Any]:
    media = "text/event-stream" if path in ("/events", "/screen/stream") else "application/json"
    answer = (
        {"101": {"description": "Switching Protocols"}} if path == "/terminal" else {"200": _ok(method, path, media)}
    )
    operation: dict[str, Any] = {
        "summary": summary,
        "responses": {
            **answer,
            "default": {"description": "Error", "content": {"application/problem+json": {}}},
        },
    }
    if method == "post" and path in _BODIES:
        kind, schema = _BODIES[path]
        operation["requestBody"] = {"required": True, "content": {kind: {"schema": schema}}}
    return operation


def _ok(method: str, path: str, media: str) -> dict[str, Any]:
    name = _SCHEMAS.get((method, path))
    return {"description": "OK", "content": {media: {"schema": schema(name)} if name else {}}}


_SCHEMAS = {
    ("get", "/status"): "StatusResponseBody",
    ("get", "/messages"): "MessagesResponseBody",
    ("post", "/message"): "MessageResponseBody",
    ("post", "/upload"): "UploadResponseBody",
    ("get", "/screen"): "ScreenResponseBody",
    ("get", "/health"): "HealthResponseBody",
    ("post", "/interrupt"): "InterruptResponseBody",
    ("post", "/resize"): "ResizeResponseBody",
    ("get", "/permissions"): "PermissionsResponseBody",
    ("post", "/permissions"): "PermissionResponseBody",
}


def downgraded(described: dict[str, Any]) -> dict[str, Any]:
    """Return a document as OpenAPI 3.0.3, which has another word for what may be null."""
    return {**_nullable(described), "openapi": "3.0.3"}


def _nullable(part: Any) -> Any:
    if isinstance(part, list):
        return [_nullable(each) for each in part]
    if not isinstance(part, dict):
        return part
    kind = part.get("type")
    if isinstance(kind, list):
        part = {**part, "type": next(each for each in kind if each != "null"), "nullable": "null" in kind}
    return {name: _nullable(each) for name, each in part.items()}


def as_yaml(described: dict[str, Any]) -> str:
    """Return a document as YAML."""
    import yaml  # only who asks pays for it

    text: str = yaml.safe_dump(described, sort_keys=False, allow_unicode=True)
    return text


def page() -> str:
    """Return the routes as a page for people; it loads nothing from elsewhere."""
    rows = "".join(
        f"<tr><td><code>{method.upper()} {path}</code></td><td>{escape(summary)}</td></tr>"
        for method, path, summary in _ROUTES
    )
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8><title>AgentAPI</title><style>body{font:16px sans-serif;"
        "max-width:60em;margin:2em auto}td{padding:.3em 1em;border-bottom:1px solid #ccc}</style></head><body><h1>AgentAPI</h1>"
        f'<table>{rows}</table><p>As OpenAPI: <a href="openapi.json">JSON</a>, <a href="openapi.yaml">YAML</a>.</p></body></html>'
    )
