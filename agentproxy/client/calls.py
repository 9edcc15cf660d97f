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
_DELIVERY = _as(results.Delivery)


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
        restart=restart,
        oneshot=oneshot,
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


def wait(session_id: str, until: str = "stable", *, timeout: float = 300.0) -> Call[results.Session]:
    """Wait until the agent is ``stable``, says something (``message``), wants somebody (``attention``), or has ``ended``."""
    read = _inside("session", results.Session)
    query = {"until": until, "timeout": timeout}
    return Call("GET", _session(session_id, "/wait"), read, query, repeatable=True, patience=timeout + 30)


def interrupt(session_id: str) -> Call[None]:
    """Press the agent's own interrupt keys."""
    return Call("POST", _session(session_id, "/interrupt"), _nothing)


def delete(session_id: str) -> Call[None]:
    """End a session and take it from the lists."""
    return Call("DELETE", _session(session_id), _nothing)


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
        _session(session_id, "/messages"),
        _DELIVERY,
        {"wait": wait, "timeout": longest if wait else None},
        _given(content=content, at=at, oneshot=oneshot),
        {"Idempotency-Key": idempotency_key or str(uuid.uuid4())},
        repeatable=True,
        patience=longest + 30 if wait else 60,
    )


def deliveries(session_id: str, *, state: str | None = None) -> Call[tuple[results.Delivery, ...]]:
    """List a session's deliveries."""
    shape = tuple[results.Delivery, ...]
    return Call(
        "GET", _session(session_id, "/deliveries"), _inside("deliveries", shape), {"state": state}, repeatable=True
    )


def delivery(session_id: str, delivery_id: str) -> Call[results.Delivery]:
    """Show one delivery."""
    return Call("GET", _session(session_id, f"/deliveries/{quote(delivery_id)}"), _DELIVERY, repeatable=True)


def withdraw(session_id: str, delivery_id: str) -> Call[results.Delivery]:
    """Take a delivery back that is not typed yet."""
    return Call("DELETE", _session(session_id, f"/deliveries/{quote(delivery_id)}"), _DELIVERY)


def settle(session_id: str, delivery_id: str, how: str) -> Call[results.Delivery]:
    """Decide about a delivery that is uncertain: ``retry`` types it again, ``discard`` does not."""
    return Call("POST", _session(session_id, f"/deliveries/{quote(delivery_id)}/{how}"), _DELIVERY)


def approvals(session_id: str | None = None) -> Call[tuple[results.Approval, ...]]:
    """List the approvals that wait, in all sessions that the caller sees or in one."""
    shape = tuple[results.Approval, ...]
    return Call("GET", "/approvals", _inside("approvals", shape), {"session_id": session_id}, repeatable=True)


def approve(approval_id: str, answer: str) -> Call[results.Approval]:
    """Answer an approval: allow, deny, or the name of a choice."""
    return Call("POST", f"/approvals/{quote(approval_id, safe='')}", _as(results.Approval), body={"answer": answer})


def share(session_id: str, *, access: str = "read", expires_in: float | None = None) -> Call[results.Share]:
    """Make the link of a session, or return the one that it has."""
    body = _given(access=access, expires_in=expires_in)
    return Call("POST", _session(session_id, "/share"), _as(results.Share), body=body, repeatable=True)


def unshare(session_id: str) -> Call[None]:
    """Take the link of a session back."""
    return Call("DELETE", _session(session_id, "/share"), _nothing)


def grant(session_id: str, grantee: str, access: str = "read") -> Call[None]:
    """Share a session with ``user:NAME`` or ``team:ORG/SLUG``."""
    path = _session(session_id, f"/access/{quote(grantee)}")
    return Call("PUT", path, _nothing, body={"access": access}, repeatable=True)


def ungrant(session_id: str, grantee: str) -> Call[None]:
    """Take a grant back."""
    return Call("DELETE", _session(session_id, f"/access/{quote(grantee)}"), _nothing)


def add_token(
    name: str, *, owner: str | None = None, scopes: Sequence[str] | None = None, expires_in: float | None = None
) -> Call[results.Token]:
    """Make an API token; its secret is in the answer and nowhere else."""
    body = _given(name=name, owner=owner, scopes=list(scopes) if scopes is not None else None, expires_in=expires_in)
    return Call("POST", "/auth/tokens", _as(results.Token), body=body)


def tokens(owner: str | None = None) -> Call[tuple[results.Token, ...]]:
    """List the caller's tokens, another owner's, or everybody's (``*``)."""
    shape = tuple[results.Token, ...]
    return Call("GET", "/auth/tokens", _inside("tokens", shape), {"owner": owner}, repeatable=True)


def revoke_token(token_id: str) -> Call[None]:
    """Revoke a token; what it had opened is cut."""
    return Call("DELETE", f"/auth/tokens/{quote(token_id, safe='')}", _nothing)


def audit(
    *, after: int = 0, session_id: str | None = None, actor: str | None = None, limit: int | None = None
) -> Call[tuple[results.AuditEntry, ...]]:
    """Return who did what."""
    query = {"after": after, "session_id": session_id, "actor": actor, "limit": limit}
    return Call("GET", "/audit", _inside("entries", tuple[results.AuditEntry, ...]), query, repeatable=True)


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


def cursor(session_id: str | None = None) -> Call[int]:
    """Return the number of the last event that is there now."""
    path = "/events" if session_id is None else _session(session_id, "/events")
    return Call("GET", path, _inside("cursor", int), {"after": "latest", "limit": 1}, repeatable=True)


def event_stream(session_id: str | None, after: int, types: Sequence[str] = ()) -> Call[None]:
    """Open the stream of the journal behind the event ``after``."""
    path = "/events" if session_id is None else _session(session_id, "/events")
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-cache", "Last-Event-ID": str(after)}
    return Call("GET", path, _nothing, {"types": ",".join(types) or None}, headers=headers, repeatable=True)


def export(session_id: str, form: str = "json") -> Call[bytes]:
    """Return the session with its transcript; ``form`` is json or markdown."""
    return Call("GET", _session(session_id, "/export"), bytes, {"format": form}, repeatable=True)


def whoami() -> Call[str]:
    """Ask by which name the server knows the caller; refused when it knows nobody."""
    read = lambda answer: str(msgspec.json.decode(answer)["username"])  # noqa: E731
    return Call("GET", "/user/info", read, repeatable=True)


def health() -> Call[dict[str, Any]]:
    """Ask whether the server is ready, and what is not."""
    return Call("GET", "/health/ready", _as(dict[str, Any]), repeatable=True)
