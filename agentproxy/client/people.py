"""Calls about people: what agents ask leave for, who may see, talk and type, keys and accounts, and what is spent. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from urllib.parse import quote

from agentproxy.client import results
from agentproxy.client.call import Call, answer_as, field_as, given, nothing, session_path


def approvals(session_id: str | None = None) -> Call[tuple[results.Approval, ...]]:
    """List the approvals that wait, in all sessions that the caller sees or in one."""
    shape = tuple[results.Approval, ...]
    return Call("GET", "/approvals", field_as("approvals", shape), {"session_id": session_id}, repeatable=True)


def approve(approval_id: str, answer: str) -> Call[results.Approval]:
    """Answer an approval: allow, deny, or the name of a choice."""
    return Call(
        "POST", f"/approvals/{quote(approval_id, safe='')}", answer_as(results.Approval), body={"answer": answer}
    )


def share(session_id: str, access: str = "read", expires_in: float | None = None) -> Call[results.Share]:
    """Make the link of a session, or return the one that it has."""
    body = given(access=access, expires_in=expires_in)
    return Call("POST", session_path(session_id, "/share"), answer_as(results.Share), body=body, repeatable=True)


def unshare(session_id: str) -> Call[None]:
    """Take the link of a session back."""
    return Call("DELETE", session_path(session_id, "/share"), nothing)


def grant(session_id: str, grantee: str, access: str = "read") -> Call[None]:
    """Share a session with ``user:NAME`` or ``team:ORG/SLUG``."""
    path = session_path(session_id, f"/access/{quote(grantee)}")
    return Call("PUT", path, nothing, body={"access": access}, repeatable=True)


def ungrant(session_id: str, grantee: str) -> Call[None]:
    """Take a grant back."""
    return Call("DELETE", session_path(session_id, f"/access/{quote(grantee)}"), nothing)


def add_token(
    name: str, *, owner: str | None = None, scopes: Sequence[str] | None = None, expires_in: float | None = None
) -> Call[results.Token]:
    """Make an API token; its secret is in the answer and nowhere else."""
    body = given(name=name, owner=owner, scopes=list(scopes) if scopes is not None else None, expires_in=expires_in)
    return Call("POST", "/auth/tokens", answer_as(results.Token), body=body)


def tokens(owner: str | None = None) -> Call[tuple[results.Token, ...]]:
    """List the caller's tokens, another owner's, or everybody's (``*``)."""
    shape = tuple[results.Token, ...]
    return Call("GET", "/auth/tokens", field_as("tokens", shape), {"owner": owner}, repeatable=True)


def revoke_token(token_id: str) -> Call[None]:
    """Revoke a token; what it had opened is cut."""
    return Call("DELETE", f"/auth/tokens/{quote(token_id, safe='')}", nothing)


def audit(
    *, after: int = 0, session_id: str | None = None, actor: str | None = None, limit: int | None = None
) -> Call[tuple[results.AuditEntry, ...]]:
    """Return who did what."""
    query = {"after": after, "session_id": session_id, "actor": actor, "limit": limit}
    return Call("GET", "/audit", field_as("entries", tuple[results.AuditEntry, ...]), query, repeatable=True)


def approval_rules() -> Call[tuple[results.Rule, ...]]:
    """List the rules that answer approvals for the caller."""
    return Call("GET", "/approvals/rules", field_as("rules", tuple[results.Rule, ...]), repeatable=True)


def add_approval_rule(
    command: str, answer: str = "allow", *, agent: str = "", repository: str = "", until: datetime | None = None
) -> Call[results.Rule]:
    """Let approvals of a command be answered by themselves: ``allow`` or ``deny``."""
    body = given(command=command, answer=answer, agent=agent, repository=repository, until=until)
    return Call("POST", "/approvals/rules", answer_as(results.Rule), body=body)


def remove_approval_rule(rule_id: str) -> Call[None]:
    """Remove a rule."""
    return Call("DELETE", f"/approvals/rules/{quote(rule_id, safe='')}", nothing)


def shared(session_id: str) -> Call[results.Share]:
    """Show the link of a session."""
    return Call("GET", session_path(session_id, "/share"), answer_as(results.Share), repeatable=True)


def access(session_id: str, user: str | None = None) -> Call[results.Access]:
    """Show with whom a session is shared, and what the caller, or *user*, could do to it and because of what."""
    query = {"user": user}
    return Call("GET", session_path(session_id, "/access"), answer_as(results.Access), query, repeatable=True)


def keyboard(session_id: str) -> Call[results.Keyboard]:
    """Show who types into a session."""
    return Call("GET", session_path(session_id, "/keyboard"), answer_as(results.Keyboard), repeatable=True)


def use_keyboard(
    session_id: str, action: str, *, seconds: float = 60.0, to: str | None = None, force: bool = False
) -> Call[results.Keyboard]:
    """Take the keyboard of a session, hand it over, or release it."""
    body = given(action=action, seconds=seconds, to=to, force=force)
    return Call("POST", session_path(session_id, "/keyboard"), answer_as(results.Keyboard), body=body)


def accounts() -> Call[tuple[results.Account, ...]]:
    """List the accounts."""
    return Call("GET", "/auth/accounts", field_as("accounts", tuple[results.Account, ...]), repeatable=True)


def add_account(
    name: str,
    *,
    kind: str = "user",
    role: str = "user",
    permissions: Sequence[str] = (),
    teams: Sequence[str] = (),
    login: str = "",
) -> Call[results.Account]:
    """Make an account of a user or a service."""
    lists = {"permissions": list(permissions), "teams": list(teams)}
    body = {"name": name, "kind": kind, "role": role, "login": login, **lists}
    return Call("POST", "/auth/accounts", answer_as(results.Account), body=body)


def change_account(
    name: str,
    *,
    role: str | None = None,
    permissions: Sequence[str] | None = None,
    teams: Sequence[str] | None = None,
    login: str | None = None,
    disabled: bool | None = None,
) -> Call[results.Account]:
    """Change an account; what is None stays."""
    lists = given(permissions=permissions and list(permissions), teams=teams and list(teams))
    body = {**given(role=role, login=login, disabled=disabled), **lists}
    return Call("PATCH", f"/auth/accounts/{quote(name, safe='')}", answer_as(results.Account), body=body)


def budgets(session_id: str | None = None) -> Call[tuple[results.Budget, ...]]:
    """Show what the caller, or a session, has spent of its budgets."""
    shape = tuple[results.Budget, ...]
    return Call("GET", "/budgets", field_as("budgets", shape), {"session_id": session_id}, repeatable=True)


def lift_budget(subject: str, measure: str, amount: int) -> Call[results.Budget]:
    """Give a subject so much more for now."""
    body = {"subject": subject, "measure": measure, "amount": amount}
    return Call("POST", "/budgets/lift", answer_as(results.Budget), body=body)


def log_in_kinds() -> Call[tuple[results.LoginKind, ...]]:
    """List the ways to log in that the server offers."""
    return Call("GET", "/auth/types", field_as("types", tuple[results.LoginKind, ...]), repeatable=True)


def log_ins(owner: str | None = None) -> Call[tuple[results.LogIn, ...]]:
    """List the log-ins in browsers that are open: the caller's, another owner's, or everybody's (``*``)."""
    return Call("GET", "/auth/logins", field_as("logins", tuple[results.LogIn, ...]), {"owner": owner}, repeatable=True)


def end_log_in(login_id: str) -> Call[None]:
    """End a log-in; what it had opened is cut."""
    return Call("DELETE", f"/auth/logins/{quote(login_id, safe='')}", nothing)


def approval(approval_id: str) -> Call[results.Approval]:
    """Show one approval."""
    return Call("GET", f"/approvals/{quote(approval_id, safe='')}", answer_as(results.Approval), repeatable=True)


def approval_history(session_id: str, limit: int | None = None) -> Call[tuple[results.Approval, ...]]:
    """List the approvals of a session, settled ones too."""
    shape = tuple[results.Approval, ...]
    path = session_path(session_id, "/approvals")
    return Call("GET", path, field_as("approvals", shape), {"limit": limit}, repeatable=True)


def push_key() -> Call[str]:
    """Show the key with which a page subscribes its browser."""
    return Call("GET", "/notification/key", field_as("public_key", str), repeatable=True)


def subscribe_push(endpoint: str, p256dh: str, auth: str, session_ids: Sequence[str] = ()) -> Call[str]:
    """Keep a browser's subscription for the caller and return its id."""
    body = {"endpoint": endpoint, "keys": {"p256dh": p256dh, "auth": auth}, "session_ids": list(session_ids)}
    return Call("POST", "/notification/subscribe", field_as("subscription_id", str), body=body, repeatable=True)


def push_subscriptions() -> Call[tuple[results.PushSubscription, ...]]:
    """List the caller's subscriptions."""
    shape = tuple[results.PushSubscription, ...]
    return Call("GET", "/notification/subscribe", answer_as(shape), repeatable=True)


def unsubscribe_push(endpoint: str) -> Call[None]:
    """Remove the caller's subscription with an endpoint."""
    return Call("DELETE", "/notification/subscribe", nothing, body={"endpoint": endpoint})


def notify(title: str, body: str, **how: object) -> Call[results.Notified]:
    """Notify the caller's browsers, or others': ``user_id``, ``user_type``, ``username``, ``session_id``; ``url``, ``icon``,
    ``badge``, ``ttl`` in seconds, ``urgency`` (low, normal, high), ``dry_run``."""
    said = {"title": title, "body": body, **how}
    return Call("POST", "/notifications/send", answer_as(results.Notified), body=said)
