"""Waits: one question, answered when it is so or at the deadline. The first two are the peers'.

| Route | Answer |
|---|---|
| `GET /sessions/status/wait` | `{"session_id", "status", "timestamp"}`, or `{"events": []}`; `timeout` 1 to 60, else 30 |
| `GET /sessions/:id/messages/wait` | `{"updated": true, "session_id", "timestamp"}` or `{"updated": false}`; `timeout`, `since` |
| `GET /sessions/:id/wait` | `{"reached", "until", "session", "event"}`; `until`, `timeout` 0 to 300, else 30, `after` |
"""

from __future__ import annotations

from twisted.web.http import Request

from agentproxy.errors import SESSION_NOT_FOUND, Refusal
from agentproxy.features.waiting import Until, Waits
from agentproxy.model.principal import Principal
from agentproxy.web import asked, sse, wire, xapi
from agentproxy.web.answers import answer
from agentproxy.web.journal import status_shown
from agentproxy.web.routing import route

LONGEST = 300.0


class Waiting:
    """The routes of waits."""

    def __init__(self, waits: Waits) -> None:
        self._waits = waits

    @route("GET", "/sessions/status/wait")
    async def status(self, request: Request, caller: Principal) -> bytes:
        """Wait for the next change of a session's status."""
        seconds = asked.clamped(wire.query(request), "timeout", 30, 1, 60)
        event = await self._waits.status(caller, seconds)
        return answer(request, {"events": []} if event is None else status_shown(event))

    @route("GET", "/sessions/<session_id>/messages/wait")
    async def messages(self, request: Request, caller: Principal, session_id: str) -> bytes:
        """Wait until something is said."""
        values = wire.query(request)
        seconds = asked.clamped(values, "timeout", 30, 1, 60)
        try:
            changed = await self._waits.messages(caller, session_id, asked.since(values), seconds)
        except Refusal as refusal:
            if refusal.kind is SESSION_NOT_FOUND:
                raise Refusal(
                    SESSION_NOT_FOUND, session_id=session_id, facts={"message": "session not found"}
                ) from None
            raise
        if changed is None:
            return answer(request, {"updated": False})
        return answer(request, {"updated": True, "session_id": session_id, "timestamp": changed})

    @route("GET", "/sessions/<session_id>/wait")
    async def until(self, request: Request, caller: Principal, session_id: str) -> bytes:
        """Wait until the agent is quiet, has said something, wants a person, or the session has ended."""
        values = wire.query(request)
        until = Until(wire.one_of(values, "until", "stable", tuple(one.value for one in Until)))
        after = asked.number(values["after"], "after") if "after" in values else None
        seconds = asked.seconds(values, "timeout", 30, LONGEST)
        found = await self._waits.until(caller, session_id, until, after, seconds)
        event = None if found.event is None else sse.shown(found.event)
        told = {"reached": found.reached, "until": until.value, "session": xapi.shown(found.shown), "event": event}
        return answer(request, told)
