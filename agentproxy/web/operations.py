"""What operators and their tools ask.

| Route | Answer |
|---|---|
| `GET /health` | `{"status": "ok"}` while the server answers at all |
| `GET /health/live` | the same |
| `GET /health/ready` | `{"status": "ready"|"not ready", "checks": {name: null or why not}}`, 503 when one says why not |
| `GET /metrics` | Prometheus' text format |
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from twisted.web.http import Request

from agentproxy.model.permission import require
from agentproxy.model.principal import Principal
from agentproxy.web.answers import answer
from agentproxy.web.routing import route

Check = Callable[[], str | None]
"""Returns None, or the sentence why something that the server depends on cannot be used."""


class Operations:
    """Health and metrics.

    :param checks: what the server depends on, by name.
    :param metrics: returns the numbers.
    """

    def __init__(self, checks: Mapping[str, Check], metrics: Callable[[], Awaitable[bytes]]) -> None:
        self._checks = checks
        self._metrics = metrics

    @route("GET", "/health", open=True)
    @route("GET", "/health/live", open=True)
    async def live(self, request: Request, caller: Principal) -> bytes:  # noqa: ARG002
        """Say that the server answers."""
        return answer(request, {"status": "ok"})

    @route("GET", "/health/ready", open=True)
    async def ready(self, request: Request, caller: Principal) -> bytes:  # noqa: ARG002
        """Say whether everything that the server depends on can be used, and what not."""
        found = {name: check() for name, check in self._checks.items()}
        well = not any(found.values())
        return answer(request, {"status": "ready" if well else "not ready", "checks": found}, 200 if well else 503)

    @route("GET", "/metrics")
    async def metrics(self, request: Request, caller: Principal) -> bytes:
        """Show the server's numbers in Prometheus' text format."""
        require(caller, "admin.metrics")
        request.responseHeaders.setRawHeaders("content-type", ["text/plain; version=0.0.4; charset=utf-8"])
        return await self._metrics()
