"""Messages with an honest outcome.

| Route | Answer |
|---|---|
| `POST /sessions/:id/messages` | 202 and the delivery; body `content`, `at`, `expires_in`, `oneshot`; `Idempotency-Key` |
| the same, `?wait=delivered`, `answered`; `timeout` | 200 and the delivery when it is so or has failed; 202 when not in time |
| `GET /sessions/:id/deliveries` | `{"deliveries": [...], "held"}`; `state`, `limit` |
| `GET /sessions/:id/deliveries/:delivery` | the delivery |
| `PATCH /sessions/:id/deliveries/:delivery` | the delivery; body `content`, `at`, `expires_in`, `before` (an id, or null) |
| `DELETE /sessions/:id/deliveries/:delivery` | the delivery, withdrawn |
| `POST /sessions/:id/deliveries/:delivery/retry` | the delivery, accepted again |
| `POST /sessions/:id/deliveries/:delivery/discard` | an uncertain delivery, settled |
| `GET /sessions/:id/keyboard` | `{"holder", "seconds"}` |
| `POST /sessions/:id/keyboard` | the same; body `action` (`take`, `hand_over`, `release`), `seconds`, `to`, `force` |
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from twisted.web.http import Request

from agentproxy.features.attending import House
from agentproxy.features.deliveries import Deliveries, NewMessage, Permitting
from agentproxy.features.keyboard import LONGEST
from agentproxy.features.permitting import Note
from agentproxy.model.delivery import At, Delivery, DeliveryState
from agentproxy.model.principal import Principal
from agentproxy.web import asked, wire
from agentproxy.web.answers import answer
from agentproxy.web.bounds import Text, WithinAYear
from agentproxy.web.routing import route

WAIT = 60.0
"""Seconds that a sender waits when it does not say how long."""
LONGEST_WAIT = 3600.0


class MessageBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``POST /sessions/:id/messages``; ``type`` may say ``user``, as in the agent server's own API."""

    content: Text
    type: Literal["user"] = "user"
    at: Literal["turn-end", "interrupt"] = "turn-end"
    expires_in: WithinAYear | None = None
    oneshot: bool = False


class EditBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``PATCH`` on a delivery; a field left out stays as it is."""

    content: Text | msgspec.UnsetType = msgspec.UNSET
    at: Literal["turn-end", "interrupt"] | msgspec.UnsetType = msgspec.UNSET
    expires_in: WithinAYear | msgspec.UnsetType | None = msgspec.UNSET
    before: str | msgspec.UnsetType | None = msgspec.UNSET


class KeyboardBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``POST /sessions/:id/keyboard``."""

    action: Literal["take", "hand_over", "release"]
    seconds: float = 60.0
    to: str | None = None
    force: bool = False


def shown(one: Delivery) -> dict[str, Any]:
    """Return a delivery as this face shows it."""
    facts: dict[str, Any] = {
        "delivery_id": one.id,
        "session_id": one.session_id,
        "state": one.state.value,
        "reason": one.reason,
        "content": one.text,
        "sender": one.sender,
        "at": one.at.value,
        "created_at": one.created_at,
        "updated_at": one.updated_at,
        "expires_at": one.expires_at,
        "typed_at": one.typed_at,
        "delivered_at": one.delivered_at,
        "answered_at": one.answered_at,
        "message_id": one.message_id,
        "answer": one.answer,
    }
    if one.interrupted:
        facts["interrupted"] = True
    if one.first:
        facts["first"] = True
    if one.last:
        facts["oneshot"] = True
    return facts


def _seconds(value: float | None, path: str) -> float | None:
    if value is not None and not 0 < value <= 365 * 86400:
        raise wire.invalid(path, "expected seconds above 0, at most a year")
    return value


class DeliveryRoutes:
    """The routes of messages, deliveries and the keyboard."""

    def __init__(self, deliveries: Deliveries, house: House, permits: Permitting, note: Note) -> None:
        self._deliveries, self._house, self._permits, self._note = deliveries, house, permits, note

    @route("POST", "/sessions/<session_id>/messages", waits=True)
    async def send(self, request: Request, caller: Principal, session_id: str) -> bytes:
        """Queue a message for a session's agent."""
        values = wire.query(request)
        until = wire.one_of(values, "wait", "accepted", ("accepted", "delivered", "answered"))
        seconds = asked.seconds(values, "timeout", WAIT, LONGEST_WAIT)
        body = wire.body(request, MessageBody)
        message = NewMessage(body.content, At(body.at), _seconds(body.expires_in, "$.expires_in"), body.oneshot)
        key = wire.header(request, "idempotency-key")
        delivery, _new = await self._deliveries.send(caller, session_id, message, key)
        if until == "accepted":
            return answer(request, shown(delivery), 202)
        settled = await self._deliveries.wait(delivery, until, seconds)
        reached = settled.state is DeliveryState.ANSWERED or settled.state is DeliveryState(until)
        failed = settled.state in (
            DeliveryState.UNCERTAIN,
            DeliveryState.REFUSED,
            DeliveryState.EXPIRED,
            DeliveryState.WITHDRAWN,
        )
        return answer(request, shown(settled), 200 if reached or failed else 202)

    @route("GET", "/sessions/<session_id>/deliveries")
    async def page(self, request: Request, caller: Principal, session_id: str) -> bytes:
        """List a session's deliveries: what waits is in the order of typing."""
        values = wire.query(request)
        states = [self._state(name) for name in filter(None, values.get("state", "").split(","))]
        limit = wire.whole_number(values, "limit", 200, 1, 1000)
        found, held = await self._deliveries.page(caller, session_id, states, limit)
        return answer(request, {"deliveries": [shown(one) for one in found], "held": held})

    def _state(self, name: str) -> DeliveryState:
        known = [one.value for one in DeliveryState]
        if name not in known:
            raise wire.invalid("state", f"expected some of {', '.join(known)}, got {name!r}")
        return DeliveryState(name)

    @route("GET", "/sessions/<session_id>/deliveries/<delivery_id>")
    async def get(self, request: Request, caller: Principal, session_id: str, delivery_id: str) -> bytes:
        """Show one delivery."""
        return answer(request, shown(await self._deliveries.get(caller, session_id, delivery_id)))

    @route("PATCH", "/sessions/<session_id>/deliveries/<delivery_id>")
    async def edit(self, request: Request, caller: Principal, session_id: str, delivery_id: str) -> bytes:
        """Change or move a delivery that is not typed yet."""
        body = wire.body(request, EditBody)
        changes: dict[str, Any] = {}
        if body.content is not msgspec.UNSET:
            changes["text"] = body.content
        if body.at is not msgspec.UNSET:
            changes["at"] = At(body.at)
        if body.expires_in is not msgspec.UNSET:
            changes["expires_in"] = _seconds(body.expires_in, "$.expires_in")
        if body.before is not msgspec.UNSET:
            changes["before"] = body.before
        if changes:
            await self._deliveries.edit(caller, session_id, delivery_id, changes)
        return answer(request, shown(await self._deliveries.get(caller, session_id, delivery_id)))

    @route("DELETE", "/sessions/<session_id>/deliveries/<delivery_id>")
    async def withdraw(self, request: Request, caller: Principal, session_id: str, delivery_id: str) -> bytes:
        """Take a delivery back that is not typed yet."""
        return answer(request, shown(await self._deliveries.withdraw(caller, session_id, delivery_id)))

    @route("POST", "/sessions/<session_id>/deliveries/<delivery_id>/retry")
    async def retry(self, request: Request, caller: Principal, session_id: str, delivery_id: str) -> bytes:
        """Type a delivery again that is uncertain, refused or expired."""
        return answer(request, shown(await self._deliveries.retry(caller, session_id, delivery_id)))

    @route("POST", "/sessions/<session_id>/deliveries/<delivery_id>/discard")
    async def discard(self, request: Request, caller: Principal, session_id: str, delivery_id: str) -> bytes:
        """Settle an uncertain delivery without typing it again."""
        return answer(request, shown(await self._deliveries.discard(caller, session_id, delivery_id)))

    @route("GET", "/sessions/<session_id>/keyboard")
    async def keyboard(self, request: Request, caller: Principal, session_id: str) -> bytes:
        """Show who has a session's keyboard."""
        await self._permits.permitted(caller, session_id, "session.read")
        return self._keyboard(request, session_id)

    @route("POST", "/sessions/<session_id>/keyboard")
    async def change_keyboard(self, request: Request, caller: Principal, session_id: str) -> bytes:
        """Take a session's keyboard, hand it over or release it."""
        body = wire.body(request, KeyboardBody)
        if not 0 < body.seconds <= LONGEST:
            raise wire.invalid("$.seconds", f"expected seconds above 0, at most {LONGEST:g}")
        await self._permits.permitted(caller, session_id, "session.message")
        attendant = self._house.living(session_id)
        before = attendant.keyboard.holder
        if body.action == "take":
            if body.force:
                await self._permits.permitted(caller, session_id, "session.stop")
                attendant.keyboard.release(caller.user_id, force=True)
            await attendant.take_keyboard(caller.user_id, body.seconds)
        elif body.action == "hand_over":
            if not body.to:
                raise wire.invalid("$.to", "expected the name of a user")
            attendant.keyboard.hand_over(caller.user_id, body.to, body.seconds)
        else:
            if body.force:
                await self._permits.permitted(caller, session_id, "session.stop")
            attendant.keyboard.release(caller.user_id, force=body.force)
        if before != (holder := attendant.keyboard.holder):  # a page that shows a terminal takes it again and again
            reason = "session.stop" if body.force and body.action != "hand_over" else "session.message"
            facts = {"before": before, "holder": holder}
            self._note(caller, f"keyboard.{body.action}", session_id, True, reason, facts)
        return self._keyboard(request, session_id)

    def _keyboard(self, request: Request, session_id: str) -> bytes:
        found = self._house.of(session_id)
        holder = found.keyboard.holder if found is not None else None
        left = round(found.keyboard.seconds_left, 3) if found is not None else 0
        return answer(request, {"session_id": session_id, "holder": holder, "seconds": left})
