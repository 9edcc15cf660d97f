"""Every refusal that a client can see, said once: code, HTTP status, sentence and what to do next.

A :class:`Refusal` is raised by rules and features; only the faces and the gateway turn one into bytes. The
table :data:`KINDS` is the whole list, and the documentation of errors is made from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class RefusalKind:
    """One row of the table of refusals.

    :param code: stable machine name, never changed once released.
    :param status: HTTP status.
    :param error: the short sentence of the ``error`` field; the seeds' sentences where they name one.
    :param advice: what the caller can do next, one sentence.
    """

    code: str
    status: int
    error: str
    advice: str


@dataclass(eq=False)
class Refusal(Exception):  # noqa: N818 - the field's word for an expected "no" is not "error"
    """An answer "no", with its reason.

    :param kind: the row of :data:`KINDS` that it is.
    :param details: what exactly was wrong with this request; names the path (``$.environment.1A``) when there is one.
    :param session_id: the session that was asked for, when the refusal is about one.
    :param retry_after: seconds until trying again makes sense, or None.
    :param facts: further fields of the answer (``step``, ``exit_status``, ``output``...), JSON values only.
    """

    kind: RefusalKind
    details: str = ""
    session_id: str | None = None
    retry_after: float | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return the sentence of the refusal with its details."""
        return f"{self.kind.error}: {self.details}" if self.details else self.kind.error

    @property
    def message(self) -> str:
        """Return the ``message`` field: what happened and what to do next."""
        sentence = str(self).rstrip(".")
        ended = sentence if sentence.endswith(("?", "!")) else f"{sentence}."
        return f"{ended} {self.kind.advice}" if self.kind.advice else ended

    def body(self) -> dict[str, Any]:
        """Return the JSON object of the answer: the seeds' fields, then ``code``, ``message`` and the facts."""
        shown: dict[str, Any] = {"error": self.kind.error}
        if self.details:
            shown["details"] = self.details
        if self.session_id is not None:
            shown["session_id"] = self.session_id
        return {**shown, "code": self.kind.code, "message": self.message, **self.facts}


KINDS: dict[str, RefusalKind] = {}


def _kind(code: str, status: int, error: str, advice: str = "") -> RefusalKind:
    if code in KINDS:
        raise ValueError(f"two refusals have the code {code}")
    KINDS[code] = kind = RefusalKind(code, status, error, advice)
    return kind


# What the request itself got wrong.
INVALID_REQUEST = _kind("invalid_request", 400, "Invalid request format", "Correct the named field and send it again.")
AMBIGUOUS_REQUEST = _kind(
    "ambiguous_request", 400, "Malformed or ambiguous HTTP request", "Send one well-formed HTTP/1.1 request."
)
BODY_TOO_LARGE = _kind("body_too_large", 413, "Request body too large", "Send a smaller body.")
HEAD_TOO_LARGE = _kind("head_too_large", 431, "Request head too large", "Send fewer or shorter header fields.")
REQUEST_TIMEOUT = _kind("request_timeout", 408, "Request not complete in time", "Send the whole request at once.")
NOT_FOUND = _kind("not_found", 404, "Not found", "See docs/api.md for the routes.")
METHOD_NOT_ALLOWED = _kind("method_not_allowed", 405, "Method not allowed", "Use a method of the Allow header.")

# Who is asking.
UNAUTHENTICATED = _kind("unauthenticated", 401, "Authentication required", "Send a valid key, token or session cookie.")
FORBIDDEN = _kind("forbidden", 403, "Insufficient permissions", "Ask an administrator for the named permission.")
LOGIN_UNAVAILABLE = _kind(
    "login_unavailable", 503, "The identity cannot be checked now", "Try again after Retry-After seconds."
)
TOO_MANY_REQUESTS = _kind("too_many_requests", 429, "Too many requests", "Try again after Retry-After seconds.")
TOO_MANY_SESSIONS = _kind(
    "too_many_sessions", 429, "Too many sessions of this user", "End one of them, or ask an administrator for more."
)
WRONG_HOST = _kind(
    "wrong_host", 421, "This server is not known by that name", "Add the name to allowed_hosts, or use the address."
)
FOREIGN_ORIGIN = _kind(
    "foreign_origin",
    403,
    "The page's origin may not do this",
    "Add the origin to allowed_origins, or send a key instead.",
)
LOGIN_NOT_FOUND = _kind("login_not_found", 404, "Log-in not found", "List them with GET /auth/logins.")
TOKEN_NOT_FOUND = _kind("token_not_found", 404, "Token not found", "List them with GET /auth/tokens.")
ACCOUNT_NOT_FOUND = _kind("account_not_found", 404, "Account not found", "List them with GET /auth/accounts.")
ACCOUNT_EXISTS = _kind("account_exists", 409, "There is an account with this name", "Choose another name.")
SHARE_NOT_FOUND = _kind("share_not_found", 404, "Share not found for this session", "Make one with POST.")
SHARE_UNKNOWN = _kind("share_unknown", 404, "Invalid share token", "Ask for a new link.")
SHARE_EXPIRED = _kind("share_expired", 410, "Share link has expired", "Ask for a new link.")
SHARE_READ_ONLY = _kind("share_read_only", 403, "Shared sessions are read-only", "Ask for a link that allows writing.")

# Sessions. An id that does not exist and one that the caller may not see get the same answer.
SESSION_NOT_FOUND = _kind("session_not_found", 404, "Session not found", "List the sessions with GET /search.")
SESSION_STARTING = _kind("session_starting", 503, "Session is still starting", "Try again in a moment.")
SESSION_ENDED = _kind(
    "session_ended",
    502,
    "Session has ended",
    "Read its reason and log, or start it again with POST /sessions/ID/restart.",
)
SESSION_NOT_RUNNING = _kind("session_not_running", 409, "Session is not running", "Restart it first.")
SESSION_BUSY = _kind("session_busy", 409, "Session is busy with another change", "Try again when it has settled.")
AGENT_UNREACHABLE = _kind(
    "agent_unreachable", 502, "Agent server does not answer", "Look at GET /sessions/ID and its log."
)
AGENT_TIMEOUT = _kind(
    "agent_timeout", 504, "Agent server did not answer in time", "Look at GET /sessions/ID and its log."
)

# Starting one.
START_FAILED = _kind(
    "start_failed",
    500,
    "Failed to start agentapi server",
    "Read `step`, `exit_status` and `output`, mend the cause, start again.",
)
START_UNAVAILABLE = _kind(
    "start_unavailable",
    503,
    "Failed to start agentapi server",
    "The server lacks something that it needs; see `details`.",
)
AGENT_NOT_READY = _kind(
    "agent_not_ready",
    503,
    "Agent is not ready for a message",
    "The session lives on: look at it and its log, wait for it, or delete it.",
)
START_CANCELLED = _kind("start_cancelled", 409, "Session was deleted while it started", "Start another one.")
TOO_MANY_STARTS = _kind(
    "too_many_starts", 429, "Too many sessions are waiting to start", "Try again after Retry-After seconds."
)
# Messages, approvals and budgets.
DELIVERY_NOT_FOUND = _kind(
    "delivery_not_found", 404, "Delivery not found", "List them with GET /sessions/ID/deliveries."
)
DELIVERY_SETTLED = _kind(
    "delivery_settled", 409, "The delivery's state does not allow this", "Look at its state and send a new message."
)
KEY_REUSED = _kind(
    "key_reused", 409, "This Idempotency-Key was used with another body", "Take a new key for another request."
)
KEYBOARD_TAKEN = _kind(
    "keyboard_taken", 409, "Somebody else has the keyboard", "Wait until it is released, or ask its holder for it."
)
APPROVAL_NOT_FOUND = _kind("approval_not_found", 404, "Approval not found", "List them with GET /approvals.")
APPROVAL_CHANGED = _kind(
    "approval_changed", 409, "The agent does not ask this any more", "Look at `screen` and answer what stands there."
)
APPROVAL_WAITING = _kind(
    "approval_waiting",
    409,
    "The agent waits for an answer and would take the message as one",
    "Answer with POST /approvals/ID or raw keys, or queue the message with POST /sessions/ID/messages.",
)
RULE_NOT_FOUND = _kind("rule_not_found", 404, "Rule not found", "List them with GET /approvals/rules.")
BUDGET_SPENT = _kind(
    "budget_spent", 429, "The budget is spent", "Wait for the next period, or ask whoever may lift it."
)
SUBSCRIPTION_NOT_FOUND = _kind(
    "subscription_not_found", 404, "Subscription not found", "List yours with GET /notification/subscribe."
)
TOO_MANY_SUBSCRIPTIONS = _kind(
    "too_many_subscriptions", 409, "Too many subscriptions", "Remove one with DELETE /notification/subscribe."
)
PUSH_UNAVAILABLE = _kind(
    "push_unavailable",
    503,
    "The server has no keys for notifications",
    "An administrator makes them with `agentproxy helpers generate-vapid-keys` and puts them into the configuration.",
)
INTERNAL_ERROR = _kind(
    "internal_error", 500, "Internal server error", "The server's log has the reason; tell an administrator."
)
SHUTTING_DOWN = _kind("shutting_down", 503, "Server is shutting down", "Try again after it has restarted.")
STORE_UNAVAILABLE = _kind(
    "store_unavailable",
    503,
    "The store cannot be written",
    "An administrator must look at the disk; running agents go on.",
)


def table() -> str:
    """Return the table of all refusals in Markdown, as ``docs/errors.md`` shows it."""
    rows = [f"| `{kind.code}` | {kind.status} | {kind.error} | {kind.advice} |" for kind in KINDS.values()]
    return "\n".join(["| `code` | Status | `error` | What to do |", "|---|---|---|---|", *rows])


if __name__ == "__main__":
    print(table())  # noqa: T201 - this is the command that fills docs/errors.md
