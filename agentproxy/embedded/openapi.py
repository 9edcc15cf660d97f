"""The routes as an OpenAPI 3.1 document. Pure."""

from __future__ import annotations

from typing import Any

_ROUTES = {
    "/status": ("get", "The status of the agent"),
    "/messages": ("get", "All messages of the conversation"),
    "/message": ("post", "Say something to the agent"),
    "/upload": ("post", "Upload a file for the agent"),
    "/events": ("get", "Messages, status and errors as server-sent events"),
    "/screen": ("get", "The screen, its cursor and its size"),
    "/health": ("get", "Whether the agent lives"),
    "/interrupt": ("post", "Press the key that interrupts the agent"),
}
_MESSAGE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["content", "type"],
    "properties": {"$schema": {}, "content": {"type": "string"}, "type": {"enum": ["user", "raw"]}},
}
_FILE = {"type": "object", "required": ["file"], "properties": {"file": {"type": "string", "format": "binary"}}}
_BODIES = {"/message": ("application/json", _MESSAGE), "/upload": ("multipart/form-data", _FILE)}

_TEXT, _LIST, _TRUTH, _OBJECT = {"type": "string"}, {"type": "array"}, {"type": "boolean"}, {"type": "object"}
_ANSWERS: dict[str, dict[str, Any]] = {
    "StatusResponseBody": {"status": _TEXT, "agent_type": _TEXT, "transport": _TEXT, "prompt": _TRUTH},
    "MessagesResponseBody": {"messages": _LIST},
    "MessageResponseBody": {"ok": _TRUTH},
    "UploadResponseBody": {"ok": _TRUTH, "filePath": _TEXT},
    "ScreenResponseBody": {"text": _TEXT, "cursor": _OBJECT, "size": _OBJECT},
    "HealthResponseBody": {"ok": _TRUTH},
    "InterruptResponseBody": {"ok": _TRUTH},
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
    media = "text/event-stream" if path == "/events" else "application/json"
    operation: dict[str, Any] = {
        "summary": summary,
        "responses": {
            "200": {"description": "OK", "content": {media: {}}},
            "default": {"description": "Error", "content": {"application/problem+json": {}}},
        },
    }
    if path in _BODIES:
        kind, schema = _BODIES[path]
        operation["requestBody"] = {"required": True, "content": {kind: {"schema": schema}}}
    return operation
