"""Bodies of requests checked, and answers "no" as problem+json, both as agentapi words them. Pure.

========  ===========================================================================================
400       empty body, malformed JSON
413       1 MiB and more
415       a content type that is not JSON
422       not an object, missing, unknown or wrong properties (all listed)
========  ===========================================================================================
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

from agentproxy.embedded.json_faults import JsonError, parse

MOST_BODY = 1024 * 1024
MOST_CELLS = 5000
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
"""Characters that a terminal program takes for keys, not for text."""


class ProblemError(Exception):
    """An answer "no": ``status``, ``detail`` and the ``errors`` of agentapi's shape."""

    def __init__(self, status: int, detail: str, errors: list[dict[str, Any]] | None = None) -> None:
        super().__init__(status, detail)
        self.status, self.detail, self.errors = status, detail, errors

    @property
    def title(self) -> str:
        """The reason phrase of the status."""
        return reason(self.status)

    def as_json(self, schema: str) -> dict[str, Any]:
        """Return the body of the answer; *schema* is the URL of its schema."""
        found: dict[str, Any] = {
            "$schema": schema,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        return {**found, "errors": self.errors} if self.errors else found


def reason(status: int) -> str:
    """Return the reason phrase of a status."""
    return "Request Entity Too Large" if status == 413 else HTTPStatus(status).phrase


def fault(message: str, location: str, value: Any) -> dict[str, Any]:
    """Return one item of ``errors``; no ``value`` for None, the names in it in order."""
    item = {"message": message, "location": location, "value": in_order(value)}
    return {name: part for name, part in item.items() if part is not None and (name != "message" or part)}


def in_order(value: Any) -> Any:
    """Return a JSON value with the names of its objects sorted."""
    if isinstance(value, list):
        return [in_order(each) for each in value]
    return {name: in_order(value[name]) for name in sorted(value)} if isinstance(value, dict) else value


def message_wish(data: bytes, content_type: str | None) -> tuple[str, str]:
    """Return (content, type) of the body of ``POST /message``.

    :raises ProblemError: 400, 413, 415 or 422 as the table says.
    """
    value = _json_object(data, content_type)
    errors = _faults(value)
    wish = {name.lower(): part for name, part in value.items()}
    if not errors and wish["type"] == "user" and CONTROL.search(wish["content"]):
        errors = [
            fault("control characters cannot be typed as a message; send them with type raw", "body.content", None)
        ]
    if errors:
        raise ProblemError(422, "validation failed", errors)
    return wish["content"], wish["type"]


def size_wish(data: bytes, content_type: str | None) -> tuple[int, int]:
    """Return (width, height) of the body of ``POST /resize``.

    :raises ProblemError: 400, 413, 415 or 422 as the table says.
    """
    value = _json_object(data, content_type)
    errors = []
    for name in ("width", "height"):
        size = value.get(name)
        if not isinstance(size, int) or isinstance(size, bool) or not 10 <= size <= MOST_CELLS:
            errors.append(fault(f"expected a number of cells from 10 to {MOST_CELLS}", f"body.{name}", size))
    errors += [fault("unexpected property", f"body.{name}", value) for name in value if name not in ("width", "height")]
    if errors:
        raise ProblemError(422, "validation failed", errors)
    return value["width"], value["height"]


def permission_wish(data: bytes, content_type: str | None) -> tuple[str, str | None]:
    """Return (id, option) of the body of ``POST /permissions``; no option calls the request off.

    :raises ProblemError: 400, 413, 415 or 422 as the table says.
    """
    value = _json_object(data, content_type)
    errors = []
    if not isinstance(value.get("id"), str):
        errors.append(fault("expected the id of a request, a string", "body.id", value.get("id")))
    if "option" not in value:
        errors.append(fault("expected required property option to be present", "body", value))
    elif not isinstance(value["option"], str | None):
        errors.append(fault("expected the id of an offered option, or null", "body.option", value["option"]))
    errors += [fault("unexpected property", f"body.{name}", value) for name in value if name not in ("id", "option")]
    if errors:
        raise ProblemError(422, "validation failed", errors)
    return value["id"], value["option"]


def _json_object(data: bytes, content_type: str | None) -> dict[str, Any]:
    if len(data) >= MOST_BODY:
        raise ProblemError(413, f"request body is too large limit={MOST_BODY} bytes")
    if not data:
        raise ProblemError(400, "request body is required")
    text = data.decode("utf-8", "replace")
    media = (content_type or "application/json").partition(";")[0].strip()
    if media not in ("application/json", "json") and not media.endswith("+json"):
        raise ProblemError(415, "validation failed", [fault(f"unknown content type: {content_type}", "body", text)])
    try:
        value = parse(text)
    except JsonError as error:
        raise ProblemError(400, "validation failed", [fault(str(error), "body", text)]) from None
    if not isinstance(value, dict):
        raise ProblemError(422, "validation failed", [fault("expected object", "body", value)])
    return value


def _faults(value: dict[str, Any]) -> list[dict[str, Any]]:
    known = {name.lower(): part for name, part in value.items()}
    errors = []
    for name in ("content", "type"):
        if name not in known:
            errors.append(fault(f"expected required property {name} to be present", "body", value))
        elif not isinstance(known[name], str):
            errors.append(fault("expected string", f"body.{name}", known[name]))
        elif name == "type" and known[name] not in ("user", "raw"):
            errors.append(fault("", "body.type", known[name]))
    unknown = [name for name in sorted(value) if name.lower() not in ("content", "type", "$schema")]
    return errors + [fault("unexpected property", f"body.{name}", value) for name in unknown]
