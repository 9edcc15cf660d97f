"""A start that is asked for twice with the same Idempotency-Key begins one session, and both get it."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import asdict, replace
from datetime import UTC, datetime

from twisted.internet.defer import Deferred

from agentproxy.errors import SESSION_NOT_FOUND, Refusal
from agentproxy.features.deliveries import repeat_of
from agentproxy.features.looking import Shown
from agentproxy.features.sessions import Sessions
from agentproxy.model.principal import Principal
from agentproxy.model.start import StartRequest
from agentproxy.store import Store
from agentproxy.store import deliveries as rows
from agentproxy.store.deliveries import Repeat


def digest(wish: StartRequest) -> str:
    """Return what two equal wishes have in common, however long each waits."""
    facts = {name: value for name, value in asdict(wish).items() if name not in ("wait", "places", "session_id")}
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


class Starts:
    """Starts sessions, each key once."""

    def __init__(self, sessions: Sessions, store: Store) -> None:
        self._sessions, self._store = sessions, store
        self._under_way: dict[str, list[Deferred[None]]] = {}

    async def start(self, caller: Principal, wish: StartRequest, key: str | None) -> Shown:
        """Start a session, or return the one that the same request started before.

        :raises Refusal: KEY_REUSED, INVALID_REQUEST, or those of :meth:`Sessions.start`.
        """
        repeat = repeat_of("start", caller.user_id, key, digest(wish))
        if repeat is None:
            return await self._sessions.start(caller, wish)
        chosen, now = str(uuid.uuid4()), datetime.now(UTC)
        known = await self._store.run(lambda it: rows.remember(it, repeat, chosen, now), writes=True)
        if known is None:
            return await self._start(caller, replace(wish, session_id=chosen), repeat, chosen)
        return await self._again(caller, wish, repeat, known)

    async def _again(self, caller: Principal, wish: StartRequest, repeat: Repeat, known: str) -> Shown:
        if known in self._under_way:
            waiting: Deferred[None] = Deferred()
            self._under_way[known].append(waiting)
            await waiting
        try:
            return await self._sessions.joined(caller, known, wish.wait)
        except Refusal as refusal:
            if refusal.kind is not SESSION_NOT_FOUND or await self._store.session(known) is not None:
                raise
        return await self._start(caller, replace(wish, session_id=known), repeat, known)

    async def _start(self, caller: Principal, wish: StartRequest, repeat: Repeat, session_id: str) -> Shown:
        self._under_way[session_id] = []
        try:
            return await self._sessions.start(caller, wish)
        except Refusal:
            if await self._store.session(session_id) is None:
                await self._store.write(rows.forgetting(repeat.scope, repeat.key))
            raise
        finally:
            for waiting in self._under_way.pop(session_id):
                waiting.callback(None)
