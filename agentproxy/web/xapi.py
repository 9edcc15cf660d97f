"""The ``xapi`` face: agentapi-proxy's dialect over the sessions.

| Route | Answer |
|---|---|
| `POST /start` | `{"session_id", "session"}`; `?wait=none|listening|stable`, `?user_id=` |
| `GET /search` | `{"sessions": [...], "next_cursor"}`; `user_id`, `status`, `agent`, `tag.KEY`, `limit`, `cursor` |
| `GET /sessions/:id` | the session |
| `PATCH /sessions/:id` | the session; body `description`, `tags`, `annotations` |
| `DELETE /sessions/:id` | `{"message", "session_id", "status": "terminated"}` |
| `POST /sessions/:id/stop` | the session, ended |
| `POST /sessions/:id/restart` | the session in its next incarnation, with the agent's resume arguments |
| `POST /sessions/:id/interrupt` | `{"session_id", "status": "interrupted"}` |
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from twisted.web.http import Request

from agentproxy.features.looking import Shown
from agentproxy.features.repeating import Starts
from agentproxy.features.sessions import Sessions
from agentproxy.model.attention import Attention
from agentproxy.model.principal import Principal
from agentproxy.model.search import Listed, SessionQuery
from agentproxy.model.session import Phase
from agentproxy.model.start import StartRequest, Wait
from agentproxy.web import wire
from agentproxy.web.answers import answer
from agentproxy.web.routing import route


class Params(msgspec.Struct, forbid_unknown_fields=True):
    """``params`` of a start."""

    message: str | None = None
    github_token: str | None = None
    repo_full_name: str | None = None


class StartBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``POST /start``."""

    user_id: str | None = None
    environment: dict[str, str] | None = None
    tags: dict[str, str] | None = None
    agent: str | None = None
    command: list[str] | None = None
    message: str | None = None
    params: Params | None = None
    scope: str = "user"
    team_id: str | None = None
    description: str | None = None
    script: str | None = None
    restart: Literal["never", "resume"] | None = None
    continue_from: str | None = None
    oneshot: bool = False


class ChangeBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``PATCH /sessions/:id``; a field left out stays as it is."""

    description: str | msgspec.UnsetType | None = msgspec.UNSET
    tags: dict[str, str] | msgspec.UnsetType = msgspec.UNSET
    annotations: dict[str, str] | msgspec.UnsetType = msgspec.UNSET


def wish_of(body: StartBody, values: dict[str, str]) -> StartRequest:
    """Return the wish that a body and a query express, with the place of each field that can stand in several.

    :raises Refusal: ``wait`` or ``scope`` has another value.
    """
    tags = body.tags or {}
    params = body.params or Params()
    places: dict[str, str] = {}

    def first(name: str, *found: tuple[str, str | None]) -> str | None:
        for place, value in found:
            if value:
                places[name] = place
                return value
        return None

    wait = wire.one_of(values, "wait", "listening", tuple(one.value for one in Wait))
    if body.scope not in ("user", "team"):
        raise wire.invalid("$.scope", f"expected user or team, got {body.scope!r}")
    return StartRequest(
        user_id=first("user_id", ("user_id", values.get("user_id")), ("$.user_id", body.user_id)),
        agent=body.agent,
        command=tuple(body.command) if body.command else None,
        environment=body.environment or {},
        tags=tags,
        message=first(
            "message",
            ("$.params.message", params.message),
            ("$.tags.message", tags.get("message")),
            ("$.message", body.message),
        ),
        repository=first(
            "repository",
            ("$.params.repo_full_name", params.repo_full_name),
            ("$.tags.repository", tags.get("repository")),
        ),
        env_file=first("env_file", ("$.tags.env_file", tags.get("env_file"))),
        github_token=first("github_token", ("$.params.github_token", params.github_token)),
        scope=body.scope,
        team_id=body.team_id,
        description=body.description or tags.get("description"),
        script=body.script,
        restart=body.restart,
        oneshot=body.oneshot,
        wait=Wait(wait),
        continue_from=body.continue_from or None,
        places=places,
    )


def shown_attention(one: Attention) -> dict[str, Any]:
    """Return what a session's agent does or waits for, as this face shows it."""
    facts = {"kind": one.kind.value, "wanted": one.wanted, "line": one.line, "action": one.action}
    return {**facts, "until": one.until} if one.until is not None else facts


def shown(view: Shown) -> dict[str, Any]:
    """Return a session as this face shows it."""
    session = view.session
    facts: dict[str, Any] = {
        "session_id": session.id,
        "user_id": session.owner,
        "status": "inactive" if session.phase is Phase.ENDED else "active",
        "phase": session.phase.value,
        "agent": session.agent,
        "agent_status": view.agent_status.value if view.agent_status else None,
        "started_at": session.created_at,
        "updated_at": session.updated_at,
        "port": session.port or 0,
        "addr": f"localhost:{session.port}" if session.port else f"unix:{view.socket}" if view.socket else "",
        "tags": dict(session.tags),
        "scope": session.scope,
        "team_id": session.team_id,
        "description": session.description,
        "annotations": dict(session.annotations),
        "incarnation": session.incarnation,
        "agent_automatic": bool(session.options.get("agent_automatic")),
    }
    if view.attention is not None:
        facts["attention"] = shown_attention(view.attention)
    if session.options.get("continued_from"):
        facts["continued_from"] = session.options["continued_from"]
    if session.options.get("first_message"):
        facts["first_message"] = session.options["first_message"]
    if view.queue_position is not None:
        facts["queue_position"] = view.queue_position
    if session.ending is not None:
        facts["ended_at"] = session.ended_at
        facts["ending"] = {"message": session.ending.sentence, **session.ending.facts()}
    return facts


class Xapi:
    """The routes of sessions."""

    def __init__(self, sessions: Sessions, starts: Starts) -> None:
        self._sessions, self._starts = sessions, starts

    @route("POST", "/start")
    async def start(self, request: Request, caller: Principal) -> bytes:
        """Start a session."""
        wish = wish_of(wire.body(request, StartBody), wire.query(request))
        view = await self._starts.start(caller, wish, wire.header(request, "idempotency-key"))
        return answer(request, {"session_id": view.session.id, "session": shown(view)})

    @route("GET", "/search")
    async def search(self, request: Request, caller: Principal) -> bytes:
        """List sessions, newest first."""
        values = wire.query(request)
        tags = {name.removeprefix("tag."): value for name, value in values.items() if name.startswith("tag.")}
        query = SessionQuery(
            user_id=values.get("user_id") or None,
            status=Listed(wire.one_of(values, "status", "all", tuple(one.value for one in Listed))),
            tags=tags,
            agent=values.get("agent") or None,
            limit=wire.whole_number(values, "limit", 100, 1, 1000),
            cursor=values.get("cursor"),
        )
        views, cursor = await self._sessions.search(caller, query)
        return answer(request, {"sessions": [shown(view) for view in views], "next_cursor": cursor})

    @route("GET", "/sessions/<session_id>")
    async def get(self, request: Request, caller: Principal, session_id: str) -> bytes:
        """Show one session."""
        return answer(request, shown(await self._sessions.get(caller, session_id)))

    @route("PATCH", "/sessions/<session_id>")
    async def change(self, request: Request, caller: Principal, session_id: str) -> bytes:
        """Change what people say about a session."""
        body = wire.body(request, ChangeBody)
        changes = {
            name: value
            for name in ("description", "tags", "annotations")
            if (value := getattr(body, name)) is not msgspec.UNSET
        }
        return answer(request, shown(await self._sessions.change(caller, session_id, changes)))

    @route("DELETE", "/sessions/<session_id>")
    async def delete(self, request: Request, caller: Principal, session_id: str) -> bytes:
        """End a session and take it from the lists."""
        await self._sessions.delete(caller, session_id)
        return answer(
            request,
            {"message": "Session terminated successfully", "session_id": session_id, "status": "terminated"},
        )

    @route("POST", "/sessions/<session_id>/stop")
    async def stop(self, request: Request, caller: Principal, session_id: str) -> bytes:
        """End a session's agent server."""
        return answer(request, shown(await self._sessions.stop(caller, session_id)))

    @route("POST", "/sessions/<session_id>/restart")
    async def restart(self, request: Request, caller: Principal, session_id: str) -> bytes:
        """Begin a session's next incarnation."""
        return answer(request, shown(await self._sessions.restart(caller, session_id)))

    @route("POST", "/sessions/<session_id>/interrupt")
    async def interrupt(self, request: Request, caller: Principal, session_id: str) -> bytes:
        """Press the agent's interrupt keys."""
        await self._sessions.interrupt(caller, session_id)
        return answer(request, {"session_id": session_id, "status": "interrupted"})
