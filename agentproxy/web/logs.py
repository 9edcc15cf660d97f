"""The log of what a session's agent servers print.

| Route | Answer |
|---|---|
| `GET /sessions/:id/log` | text: its end; `bytes`, `lines`; with `follow=1` it goes on while it grows and ends with the session |
"""

from __future__ import annotations

from contextlib import aclosing

from twisted.web.http import Request

from agentproxy.features.following import Logs
from agentproxy.model.principal import Principal
from agentproxy.web import wire
from agentproxy.web.routing import route
from agentproxy.web.sending import Sender


class SessionLog:
    """The route of the log."""

    def __init__(self, logs: Logs) -> None:
        self._logs = logs

    @route("GET", "/sessions/<session_id>/log")
    async def log(self, request: Request, caller: Principal, session_id: str) -> bytes:
        """Show the end of what the session's agent server has printed."""
        values = wire.query(request)
        size = wire.whole_number(values, "bytes", 65_536, 1, 8_388_608)
        lines = wire.whole_number(values, "lines", 1, 0, 1_000_000) if "lines" in values else None
        if not wire.truth(values, "follow"):
            text = await self._logs.tail(caller, session_id, size, lines)
            _head(request)
            return text
        followed = await self._logs.follow(caller, session_id, size, lines)
        _head(request)
        request.responseHeaders.setRawHeaders("x-accel-buffering", ["no"])
        request.write(b"")
        async with aclosing(followed):
            with Sender(request) as sender:
                async for data in followed:
                    await sender.write(data)
        return b""


def _head(request: Request) -> None:
    request.responseHeaders.setRawHeaders("content-type", ["text/plain; charset=utf-8"])
    request.responseHeaders.setRawHeaders("cache-control", ["no-cache"])
