"""Every call of the API as data: what is sent, and what its answer becomes. No I/O; both clients send these."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from agentproxy.client import results

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request and how to read its answer.

    :param query: values that are None are left out.
    :param body: sent as JSON; None sends nothing.
    :param repeatable: whether sending it twice does no more than sending it once.
    :param patience: seconds that the server may take.
    """

    method: str
    path: str
    read: Callable[[bytes], T]
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = False
    patience: float = 60.0

    @property
    def target(self) -> str:
        """Return path and query as they are sent."""
        given = {name: _text(value) for name, value in self.query.items() if value is not None}
        return self.path + ("?" + urlencode(given) if given else "")

    @property
    def content(self) -> bytes | None:
        """Return the body as it is sent."""
        return None if self.body is None else msgspec.json.encode(self.body)


def _text(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _as(shape: type[T]) -> Callable[[bytes], T]:
    return msgspec.json.Decoder(shape, strict=False).decode


def _inside(name: str, shape: Any) -> Callable[[bytes], Any]:
    def read(answer: bytes) -> Any:
        found = msgspec.json.decode(answer).get(name)
        return msgspec.convert(found, shape, strict=False)

    return read


def _nothing(_answer: bytes) -> None:
    return None


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _session(session_id: str, rest: str = "") -> str:
    return f"/sessions/{quote(session_id, safe='')}{rest}"


_SESSION = _as(results.Session)


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
    wait: str = "listening",
    idempotency_key: str | None = None,
) -> Call[results.Session]:
    """Start a session."""
    body = _given(
        agent=agent,
        message=message,
        user_id=user_id,
        environment=environment,
        tags=tags,
        params=_given(repo_full_name=repository) or None,
        description=description,
        team_id=team_id,
        scope="team" if team_id else None,
        script=script,
        continue_from=continue_from,
    )
    return Call(
        "POST",
        "/start",
        _inside("session", results.Session),
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
    return Call("GET", "/search", _as(results.Page), {**wanted, **tagged}, repeatable=True)


def get(session_id: str) -> Call[results.Session]:
    """Show one session."""
    return Call("GET", _session(session_id), _SESSION, repeatable=True)


def change(
    session_id: str,
    *,
    description: str | None = None,
    tags: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> Call[results.Session]:
    """Change what people say about a session; what is None stays as it is."""
    body = _given(description=description, tags=tags, annotations=annotations)
    return Call("PATCH", _session(session_id), _SESSION, body=body, repeatable=True)


def stop(session_id: str) -> Call[results.Session]:
    """End a session's agent; its history stays."""
    return Call("POST", _session(session_id, "/stop"), _SESSION, repeatable=True)


def restart(session_id: str) -> Call[results.Session]:
    """Begin the session's next incarnation."""
    return Call("POST", _session(session_id, "/restart"), _SESSION, patience=900)


def interrupt(session_id: str) -> Call[None]:
    """Press the agent's own interrupt keys."""
    return Call("POST", _session(session_id, "/interrupt"), _nothing)


def delete(session_id: str) -> Call[None]:
    """End a session and take it from the lists."""
    return Call("DELETE", _session(session_id), _nothing)


def send(
    session_id: str, content: str, *, wait: str | None = None, at: str | None = None, idempotency_key: str | None = None
) -> Call[results.Delivery]:
    """Queue a user message; with ``wait`` answer when it is delivered or answered."""
    return Call(
        "POST",
        _session(session_id, "/messages"),
        _inside("delivery", results.Delivery),
        {"wait": wait},
        _given(content=content, at=at),
        {"Idempotency-Key": idempotency_key or str(uuid.uuid4())},
        repeatable=True,
        patience=3600 if wait else 60,
    )


def messages(session_id: str, *, after: int | None = None, q: str | None = None) -> Call[tuple[results.Message, ...]]:
    """Return what was said, oldest first."""
    shape = tuple[results.Message, ...]
    query = {"after": after, "q": q}
    return Call("GET", _session(session_id, "/messages"), _inside("messages", shape), query, repeatable=True)


def log(session_id: str, *, size: int | None = None) -> Call[str]:
    """Return the end of what the agent server printed; ``size`` in bytes."""
    read = lambda answer: answer.decode("utf-8", "replace")  # noqa: E731
    return Call("GET", _session(session_id, "/log"), read, {"bytes": size}, repeatable=True)


def follow_log(session_id: str, size: int | None = None) -> Call[None]:
    """Open the log: its end, and what comes behind it."""
    query = {"bytes": size, "follow": True}
    headers = {"Accept": "text/plain"}
    return Call("GET", _session(session_id, "/log"), _nothing, query, headers=headers, repeatable=True, patience=86_400)


def events(
    session_id: str | None = None, *, after: int = 0, limit: int | None = None, types: Sequence[str] = ()
) -> Call[tuple[results.Event, ...]]:
    """Return a page of a session's journal, or of everything that the caller may see."""
    path = "/events" if session_id is None else _session(session_id, "/events")
    query = {"after": after, "limit": limit, "types": ",".join(types) or None}
    headers = {"Accept": "application/json"}
    shape = tuple[results.Event, ...]
    return Call("GET", path, _inside("events", shape), query, headers=headers, repeatable=True)


def event_stream(session_id: str | None, after: int, types: Sequence[str] = ()) -> Call[None]:
    """Open the stream of the journal behind the event ``after``."""
    path = "/events" if session_id is None else _session(session_id, "/events")
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-cache", "Last-Event-ID": str(after)}
    return Call("GET", path, _nothing, {"types": ",".join(types) or None}, headers=headers, repeatable=True)


def export(session_id: str, form: str = "json") -> Call[bytes]:
    """Return the session with its transcript; ``form`` is json or markdown."""
    return Call("GET", _session(session_id, "/export"), bytes, {"format": form}, repeatable=True)


def whoami() -> Call[str]:
    """Ask by which name the server knows the caller."""
    read = lambda answer: str(msgspec.json.decode(answer).get("user_id") or "nobody")  # noqa: E731
    return Call("GET", "/auth/status", read, repeatable=True)


def health() -> Call[dict[str, Any]]:
    """Ask whether the server is ready, and what is not."""
    return Call("GET", "/health/ready", _as(dict[str, Any]), repeatable=True)
