"""Calls about sessions: their life, what is said to them, what was said and what happened. No I/O; both clients send these."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

import msgspec

from agentproxy.client import results
from agentproxy.client.call import Call, answer_as, field_as, given, nothing, session_path

_SESSION = answer_as(results.Session)
_DELIVERY = answer_as(results.Delivery)


def start(
    *,
    agent: str | None = None,
    message: str | None = None,
    user_id: str | None = None,
    environment: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
    repository: str | None = None,
    description: str | None = None,
    team_id: str | None = None,
    script: str | None = None,
    continue_from: str | None = None,
    restart: str | None = None,
    oneshot: bool | None = None,
    wait: str = "listening",
    idempotency_key: str | None = None,
) -> Call[results.Session]:
    """Start a session."""
    body = given(
        agent=agent,
        message=message,
        user_id=user_id,
        environment=environment,
        tags=tags,
        params=given(repo_full_name=repository) or None,
        description=description,
        team_id=team_id,
        scope="team" if team_id else None,
        script=script,
        continue_from=continue_from,
        restart=restart,
        oneshot=oneshot,
    )
    return Call(
        "POST",
        "/start",
        field_as("session", results.Session),
        {"wait": wait},
        body,
        {"Idempotency-Key": idempotency_key or str(uuid.uuid4())},
        repeatable=True,
        patience=900,
    )


def search(
    *,
    user_id: str | None = None,
    status: str | None = None,
    agent: str | None = None,
    tags: Mapping[str, str] | None = None,
    limit: int | None = None,
    cursor: str | None = None,
) -> Call[results.Page]:
    """List sessions, newest first."""
    wanted = {"user_id": user_id, "status": status, "agent": agent, "limit": limit, "cursor": cursor}
    tagged = {f"tag.{name}": value for name, value in (tags or {}).items()}
    return Call("GET", "/search", answer_as(results.Page), {**wanted, **tagged}, repeatable=True)


def get(session_id: str) -> Call[results.Session]:
    """Show one session."""
    return Call("GET", session_path(session_id), _SESSION, repeatable=True)


def change(
    session_id: str,
    *,
    description: str | None = None,
    tags: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Call[results.Session]:
    """Change what people say about a session; what is None stays as it is."""
    body = given(description=description, tags=tags, annotations=annotations)
    return Call("PATCH", session_path(session_id), _SESSION, body=body, repeatable=True)


def stop(session_id: str) -> Call[results.Session]:
    """End a session's agent; its history stays."""
    return Call("POST", session_path(session_id, "/stop"), _SESSION, repeatable=True)


def restart(session_id: str) -> Call[results.Session]:
    """Begin the session's next incarnation."""
    return Call("POST", session_path(session_id, "/restart"), _SESSION, patience=900)


def wait(session_id: str, until: str = "stable", timeout: float = 300.0) -> Call[results.Session]:
    """Wait until the agent is ``stable``, says something (``message``), wants somebody (``attention``), or has ``ended``."""
    read = field_as("session", results.Session)
    query = {"until": until, "timeout": timeout}
    return Call("GET", session_path(session_id, "/wait"), read, query, repeatable=True, patience=timeout + 30)


def wait_message(session_id: str, since: datetime | None = None, timeout: float = 30.0) -> Call[datetime | None]:
    """Wait until a message is new, or has a new text, and return when that was; None when nothing was said in time.

    :param since: what was returned before; None is now.
    :param timeout: 1 to 60 seconds.
    """
    read = field_as("timestamp", datetime | None)
    query = {"since": since.isoformat() if since else None, "timeout": timeout}
    path = session_path(session_id, "/messages/wait")
    return Call("GET", path, read, query, repeatable=True, patience=timeout + 30)


def interrupt(session_id: str) -> Call[None]:
    """Press the agent's own interrupt keys."""
    return Call("POST", session_path(session_id, "/interrupt"), nothing)


def delete(session_id: str) -> Call[None]:
    """End a session and take it from the lists."""
    return Call("DELETE", session_path(session_id), nothing)


def send(
    session_id: str,
    content: str,
    *,
    wait: str | None = None,
    timeout: float | None = None,
    at: str | None = None,
    oneshot: bool | None = None,
    idempotency_key: str | None = None,
) -> Call[results.Delivery]:
    """Queue a user message; with ``wait`` (delivered, answered) answer when it is so, or after ``timeout`` seconds."""
    longest = timeout or 3600.0
    return Call(
        "POST",
        session_path(session_id, "/messages"),
        _DELIVERY,
        {"wait": wait, "timeout": longest if wait else None},
        given(content=content, at=at, oneshot=oneshot),
        {"Idempotency-Key": idempotency_key or str(uuid.uuid4())},
        repeatable=True,
        patience=longest + 30 if wait else 60,
    )


def deliveries(session_id: str, state: str | None = None) -> Call[tuple[results.Delivery, ...]]:
    """List a session's deliveries."""
    shape = tuple[results.Delivery, ...]
    return Call(
        "GET", session_path(session_id, "/deliveries"), field_as("deliveries", shape), {"state": state}, repeatable=True
    )


def delivery(session_id: str, delivery_id: str) -> Call[results.Delivery]:
    """Show one delivery."""
    return Call("GET", session_path(session_id, f"/deliveries/{quote(delivery_id)}"), _DELIVERY, repeatable=True)


def edit(
    session_id: str,
    delivery_id: str,
    *,
    content: str | None = None,
    at: str | None = None,
    expires_in: float | None = None,
    before: str | None = None,
) -> Call[results.Delivery]:
    """Change a delivery that is not typed yet, or put it before another one; what is None stays."""
    path = session_path(session_id, f"/deliveries/{quote(delivery_id)}")
    body = given(content=content, at=at, expires_in=expires_in, before=before)
    return Call("PATCH", path, _DELIVERY, body=body, repeatable=True)


def withdraw(session_id: str, delivery_id: str) -> Call[results.Delivery]:
    """Take a delivery back that is not typed yet."""
    return Call("DELETE", session_path(session_id, f"/deliveries/{quote(delivery_id)}"), _DELIVERY)


def settle(session_id: str, delivery_id: str, how: str) -> Call[results.Delivery]:
    """Decide about a delivery that is uncertain: ``retry`` types it again, ``discard`` does not."""
    return Call("POST", session_path(session_id, f"/deliveries/{quote(delivery_id)}/{how}"), _DELIVERY)


def messages(
    session_id: str,
    *,
    after: int | None = None,
    last: int | None = None,
    q: str | None = None,
    limit: int | None = None,
) -> Call[tuple[results.Message, ...]]:
    """Return what was said, oldest first: a page behind the id ``after``, or the ``last`` ones; ``q`` are words in it."""
    shape = tuple[results.Message, ...]
    query = {"after": after, "last": last, "q": q, "limit": limit}
    return Call("GET", session_path(session_id, "/messages"), field_as("messages", shape), query, repeatable=True)


def log(session_id: str, size: int | None = None) -> Call[str]:
    """Return the end of what the agent server printed; ``size`` in bytes."""
    read = lambda answer: answer.decode("utf-8", "replace")  # noqa: E731
    return Call("GET", session_path(session_id, "/log"), read, {"bytes": size}, repeatable=True)


def follow_log(session_id: str, size: int | None = None) -> Call[None]:
    """Open the log: its end, and what comes behind it."""
    query = {"bytes": size, "follow": True}
    headers = {"Accept": "text/plain"}
    return Call(
        "GET", session_path(session_id, "/log"), nothing, query, headers=headers, repeatable=True, patience=86_400
    )


def events_page(
    session_id: str | None = None, after: int = 0, limit: int | None = None, types: Sequence[str] = ()
) -> Call[tuple[results.Event, ...]]:
    """Return the events behind ``after`` that are there now, oldest first: of a session, or of all that the caller may see."""
    path = "/events" if session_id is None else session_path(session_id, "/events")
    query = {"after": after, "limit": limit, "types": ",".join(types) or None}
    headers = {"Accept": "application/json"}
    shape = tuple[results.Event, ...]
    return Call("GET", path, field_as("events", shape), query, headers=headers, repeatable=True)


def cursor(session_id: str | None = None) -> Call[int]:
    """Return the number of the last event that is there now, to follow what comes behind it."""
    path = "/events" if session_id is None else session_path(session_id, "/events")
    return Call("GET", path, field_as("cursor", int), {"after": "latest", "limit": 1}, repeatable=True)


def event_stream(session_id: str | None, after: int, types: Sequence[str] = ()) -> Call[None]:
    """Open the stream of the journal behind the event ``after``."""
    path = "/events" if session_id is None else session_path(session_id, "/events")
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-cache", "Last-Event-ID": str(after)}
    return Call("GET", path, nothing, {"types": ",".join(types) or None}, headers=headers, repeatable=True)


def export(session_id: str, form: str = "json") -> Call[bytes]:
    """Return the session with its transcript; ``form`` is json or markdown."""
    return Call("GET", session_path(session_id, "/export"), bytes, {"format": form}, repeatable=True)


def whoami() -> Call[str]:
    """Return the name by which the server knows the caller; refused when it knows nobody."""
    read = lambda answer: str(msgspec.json.decode(answer)["username"])  # noqa: E731
    return Call("GET", "/user/info", read, repeatable=True)


def health() -> Call[dict[str, Any]]:
    """Ask whether the server is ready, and what is not."""
    return Call("GET", "/health/ready", answer_as(dict[str, Any]), repeatable=True)
