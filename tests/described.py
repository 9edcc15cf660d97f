"""A client that holds every answer of a daemon against the daemon's own OpenAPI document."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from jsonschema import Draft202012Validator

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
        """Send one request; see :meth:`Client.request`."""
        reply = super().request(method, target, body, headers, timeout)
        operation = self._operation(method, target.partition("?")[0])
        if operation is not None:
            self.check(operation, reply)
        return reply

    def _operation(self, method: str, path: str) -> dict[str, Any] | None:
        """Return what the document says of a request, None when it is not one of ours (an agent server's, say)."""
        for pattern, operations in self._routes:
            if pattern.fullmatch(path) and method.lower() in operations:
                found: dict[str, Any] = operations[method.lower()]
                return found
        return None

    def check(self, operation: dict[str, Any], reply: Reply) -> None:
        """Hold an answer against its description.

        :raises AssertionError: the status, the media type or the JSON is not described.
        """
        name = operation["operationId"]
        described = operation["responses"].get(str(reply.status))
        if described is None:
            assert reply.status >= 400, f"{name} does not describe the status {reply.status}"
            described = operation["responses"]["default"]
        kinds = described.get("content", {})
        if not reply.body:
            return
        assert reply.media_type in kinds, f"{name} does not describe {reply.media_type}, but {', '.join(kinds)}"
        schema = kinds[reply.media_type]["schema"]
        if reply.media_type == "application/json":
            self._validate(name, schema, reply.json())

    def _validate(self, name: str, schema: dict[str, Any], value: Any) -> None:
        whole = {**schema, "components": self.document["components"]}
        faults = [f"{fault.json_path}: {fault.message}" for fault in Draft202012Validator(whole).iter_errors(value)]
        assert not faults, f"an answer of {name} is not as described: {faults[:3]}"


def _pattern(path: str) -> str:
    parts = re.split(r"(\{\w+\})", path)
    return "".join("[^/]+" if part.startswith("{") else re.escape(part) for part in parts)
