"""The routes as an OpenAPI 3.1 document. Pure."""

from __future__ import annotations

from html import escape
from typing import Any

_ROUTES = {
    "/status": ("get", "The status of the agent"),
    "/messages": ("get", "All messages of the conversation"),
    "/message": ("post", "Say something to the agent"),
    "/upload": ("post", "Upload a file for the agent"),
    "/events": ("get", "Messages, status and errors as server-sent events"),
    "/screen": ("get", "The screen, its cursor and its size"),
    "/screen/stream": ("get", "The rows of the screen as server-sent events: all, then those that change"),
    "/terminal": ("get", "The terminal over a WebSocket: bytes both ways, beginning with a clean screen"),
    "/resize": ("post", "Give the terminal another size"),
    "/health": ("get", "Whether the agent lives"),
    "/interrupt": ("post", "Press the keys that interrupt the agent"),
}
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
_BODIES = {
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
        "paths": {path: {method: _operation(path, summary)} for path, (method, summary) in _ROUTES.items()},
    }


def _operation(path: str, summary: str) -> dict[str, Any]:
    media = "text/event-stream" if path in ("/events", "/screen/stream") else "application/json"
    answer = {"101": {"description": "Switching Protocols"}} if path == "/terminal" else {"200": _ok(path, media)}
    operation: dict[str, Any] = {
        "summary": summary,
        "responses": {
            **answer,
            "default": {"description": "Error", "content": {"application/problem+json": {}}},
        },
    }
    if path in _BODIES:
        kind, schema = _BODIES[path]
        operation["requestBody"] = {"required": True, "content": {kind: {"schema": schema}}}
    return operation


def _ok(path: str, media: str) -> dict[str, Any]:
    name = _SCHEMAS.get(path)
    return {"description": "OK", "content": {media: {"schema": schema(name)} if name else {}}}


_SCHEMAS = {
    "/status": "StatusResponseBody",
    "/messages": "MessagesResponseBody",
    "/message": "MessageResponseBody",
    "/upload": "UploadResponseBody",
    "/screen": "ScreenResponseBody",
    "/health": "HealthResponseBody",
    "/interrupt": "InterruptResponseBody",
    "/resize": "ResizeResponseBody",
}


def downgraded(described: dict[str, Any]) -> dict[str, Any]:
    """Return a document as OpenAPI 3.0.3, which has the same words for what is used here."""
    return {**described, "openapi": "3.0.3"}


def as_yaml(described: dict[str, Any]) -> str:
    """Return a document as YAML."""
    import yaml  # only who asks pays for it

    text: str = yaml.safe_dump(described, sort_keys=False, allow_unicode=True)
    return text


def page() -> str:
    """Return the routes as a page for people; it loads nothing from elsewhere."""
    rows = "".join(
        f"<tr><td><code>{method.upper()} {path}</code></td><td>{escape(summary)}</td></tr>"
        for path, (method, summary) in _ROUTES.items()
    )
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8><title>AgentAPI</title><style>body{font:16px sans-serif;"
        "max-width:60em;margin:2em auto}td{padding:.3em 1em;border-bottom:1px solid #ccc}</style></head><body><h1>AgentAPI</h1>"
        f'<table>{rows}</table><p>As OpenAPI: <a href="openapi.json">JSON</a>, <a href="openapi.yaml">YAML</a>.</p></body></html>'
    )
