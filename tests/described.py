"""Answers held against the OpenAPI document: a daemon's by its client, those of a test's own faces as they are made."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from functools import cache, cached_property
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from twisted.python.failure import Failure
from twisted.web.http import Request

from agentproxy.web import routing
from agentproxy.web.openapi import document
from agentproxy.web.reference import all_routes
from agentproxy.web.routing import Route
from tests.wire import Client, Reply


class DescribedClient(Client):
    """Requests to one daemon; an answer that its document does not describe fails the test."""

    @cached_property
    def document(self) -> Any:
        """The OpenAPI document of the daemon."""
        return json.loads(super().request("GET", "/openapi.json").body)

    @cached_property
    def _routes(self) -> list[tuple[re.Pattern[str], dict[str, Any]]]:
        fields = sorted(self.document["paths"].items(), key=lambda item: item[0].count("{"))
        return [(re.compile(_pattern(path)), operations) for path, operations in fields]

    def request(
        self,
        method: str,
        target: str,
        body: bytes | str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Reply:
        """Send one request; see :meth:`Client.request`.

        :raises AssertionError: the status, the media type or the JSON of the answer is not described.
        """
        reply = super().request(method, target, body, headers, timeout)
        operation = self._operation(method, target.partition("?")[0])
        if operation is not None:
            fault = fault_of(self.document, operation, reply.status, reply.media_type, reply.body)
            assert fault is None, fault
        return reply

    def _operation(self, method: str, path: str) -> dict[str, Any] | None:
        """Return what the document says of a request, None when it is not one of ours (an agent server's, say)."""
        for pattern, operations in self._routes:
            if pattern.fullmatch(path) and method.lower() in operations:
                found: dict[str, Any] = operations[method.lower()]
                return found
        return None


def fault_of(whole: Any, operation: Mapping[str, Any], status: int, media_type: str, body: bytes) -> str | None:
    """Return what of an answer is not as its operation says, or None."""
    name = operation["operationId"]
    described = operation["responses"].get(str(status))
    if described is None:
        if status < 400:
            return f"{name} does not describe the status {status}"
        described = operation["responses"]["default"]
    kinds = described.get("content", {})
    if not body:
        return None
    if media_type not in kinds:
        return f"{name} does not describe {media_type}, but {', '.join(kinds)}"
    if media_type != "application/json":
        return None
    schema = {**kinds[media_type]["schema"], "components": whole["components"]}
    faults = [f"{one.json_path}: {one.message}" for one in Draft202012Validator(schema).iter_errors(json.loads(body))]
    return f"an answer of {name} is not as described: {faults[:3]}" if faults else None


def _pattern(path: str) -> str:
    parts = re.split(r"(\{\w+\})", path)
    return "".join("[^/]+" if part.startswith("{") else re.escape(part) for part in parts)


@cache
def _whole() -> Any:
    return json.loads(json.dumps(document(all_routes())))


def _own_fault(one: Route, request: Request, body: Any) -> str | None:
    """Return what of an answer made here is not as described; routes that a test has made up are not."""
    operations = _whole()["paths"].get(re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", one.path), {})
    operation = operations.get(one.method.lower())
    if operation is None or not isinstance(body, bytes):
        return None
    kind = (request.responseHeaders.getRawHeaders("content-type") or [b""])[0]
    text = kind.decode() if isinstance(kind, bytes) else str(kind)
    return fault_of(_whole(), operation, request.code, text.partition(";")[0], body)


def hold_faces(monkeypatch: pytest.MonkeyPatch, faults: list[str]) -> None:
    """Hold every answer of faces that are made from now on against its description; what is not as it says goes to *faults*."""
    add, refused = routing.Face._add, routing._refused

    def held_add(face: routing.Face, one: Route, handler: Callable[..., Awaitable[bytes]]) -> None:
        async def held(request: Request, caller: Any, **fields: Any) -> bytes:
            body = await handler(request, caller, **fields)
            fault = _own_fault(one, request, body)
            faults.extend([fault] if fault else [])
            return body

        add(face, one, held)

    def held_refusal(request: Any, failure: Failure) -> bytes:
        body = refused(request, failure)
        any_operation = next(iter(_whole()["paths"]["/search"].values()))
        fault = fault_of(_whole(), any_operation, request.code, "application/json", body)
        faults.extend([fault] if fault else [])
        return body

    monkeypatch.setattr(routing.Face, "_add", held_add)
    monkeypatch.setattr(routing, "_refused", held_refusal)
