"""What the OpenAPI document says of each route beside its docstring: query, body, answer.

A route that is not here cannot be described; a test says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agentproxy.web.approvals import AnswerBody, LiftBody, RuleBody
from agentproxy.web.deliveries import EditBody, KeyboardBody, MessageBody
from agentproxy.web.identity import AccountBody, AccountChange, TokenBody
from agentproxy.web.oauth import AuthorizeBody, CallbackQuery, LoginQuery
from agentproxy.web.push import NotifyBody, SubscribeBody, UnsubscribeBody
from agentproxy.web.shapes import approvals, deliveries, history, identity, operations, push, sessions, sharing, waits
from agentproxy.web.sharing import GrantBody, ShareBody
from agentproxy.web.xapi import ChangeBody, StartBody

TEXT = "text/plain"
SSE = "text/event-stream"


@dataclass(frozen=True, slots=True)
class Description:
    """One route.

    :param answer: shape of the JSON answer, the media type of another one, or None for an empty one.
    :param body: shape of the request's body.
    :param query: shape of its query.
    :param statuses: of good answers.
    :param also: further media types of the answer.
    """

    answer: Any
    body: type | None = None
    query: type | None = None
    statuses: tuple[int, ...] = (200,)
    also: tuple[str, ...] = ()


D = Description
OF = "/sessions/<session_id>"

ROUTES: dict[str, Description] = {
    "POST /start": D(sessions.Started, StartBody, sessions.StartQuery),
    "GET /search": D(sessions.Sessions, query=sessions.SearchQuery),
    f"GET {OF}": D(sessions.Session),
    f"PATCH {OF}": D(sessions.Session, ChangeBody),
    f"DELETE {OF}": D(sessions.Terminated),
    f"POST {OF}/stop": D(sessions.Session),
    f"POST {OF}/restart": D(sessions.Session),
    f"POST {OF}/interrupt": D(sessions.Interrupted),
    f"GET {OF}/log": D(TEXT, query=history.LogQuery),
    f"GET {OF}/messages": D(history.Messages, query=history.MessagesQuery),
    f"POST {OF}/messages": D(deliveries.Delivery, MessageBody, deliveries.SendQuery, (200, 202)),
    f"GET {OF}/export": D("application/json", query=history.ExportQuery, also=("text/markdown",)),
    f"GET {OF}/events": D(history.Events, query=history.EventsQuery, also=(SSE,)),
    "GET /events": D(history.Events, query=history.EventsQuery, also=(SSE,)),
    "GET /sessions/status/stream": D(SSE),
    "GET /sessions/status/wait": D(waits.StatusChange, query=waits.StatusQuery),
    f"GET {OF}/messages/wait": D(waits.Updated, query=waits.MessagesWaitQuery),
    f"GET {OF}/wait": D(waits.Waited, query=waits.WaitQuery),
    f"GET {OF}/deliveries": D(deliveries.Deliveries, query=deliveries.DeliveriesQuery),
    f"GET {OF}/deliveries/<delivery_id>": D(deliveries.Delivery),
    f"PATCH {OF}/deliveries/<delivery_id>": D(deliveries.Delivery, EditBody),
    f"DELETE {OF}/deliveries/<delivery_id>": D(deliveries.Delivery),
    f"POST {OF}/deliveries/<delivery_id>/retry": D(deliveries.Delivery),
    f"POST {OF}/deliveries/<delivery_id>/discard": D(deliveries.Delivery),
    f"GET {OF}/keyboard": D(deliveries.Keyboard),
    f"POST {OF}/keyboard": D(deliveries.Keyboard, KeyboardBody),
    "GET /approvals": D(approvals.Approvals, query=approvals.OfSessionQuery),
    f"GET {OF}/approvals": D(approvals.Approvals, query=approvals.LimitQuery),
    "GET /approvals/rules": D(approvals.Rules),
    "POST /approvals/rules": D(approvals.Rule, RuleBody, statuses=(201,)),
    "DELETE /approvals/rules/<rule_id>": D(approvals.Removed),
    "GET /approvals/<approval_id>": D(approvals.Approval),
    "POST /approvals/<approval_id>": D(approvals.Approval, AnswerBody),
    "GET /budgets": D(approvals.Levels, query=approvals.OfSessionQuery),
    "POST /budgets/lift": D(approvals.Level, LiftBody),
    f"POST {OF}/share": D(sharing.Share, ShareBody, statuses=(200, 201)),
    f"GET {OF}/share": D(sharing.Share),
    f"DELETE {OF}/share": D(sharing.Done),
    "GET /s/<token>/<path:rest>": D("application/json"),
    f"GET {OF}/access": D(sharing.Access, query=sharing.AccessQuery),
    f"PUT {OF}/access/<path:grantee>": D(sharing.Grant, GrantBody),
    f"DELETE {OF}/access/<path:grantee>": D(sharing.Done),
    "GET /audit": D(sharing.Audit, query=sharing.AuditQuery),
    "GET /auth/types": D(identity.LoginTypes),
    "GET /auth/status": D(identity.LoginStatus),
    "GET /user/info": D(identity.UserInfo),
    "POST /auth/tokens": D(identity.Token, TokenBody, statuses=(201,)),
    "GET /auth/tokens": D(identity.Tokens, query=identity.OwnerQuery),
    "DELETE /auth/tokens/<token_id>": D(identity.Token),
    "GET /auth/logins": D(identity.KnownLogins, query=identity.OwnerQuery),
    "DELETE /auth/logins/<login_id>": D(identity.KnownLogin),
    "POST /auth/accounts": D(identity.Account, AccountBody, statuses=(201,)),
    "GET /auth/accounts": D(identity.Accounts),
    "PATCH /auth/accounts/<name>": D(identity.Account, AccountChange),
    "POST /oauth/authorize": D(identity.Authorize, AuthorizeBody),
    "GET /oauth/callback": D(identity.Login, query=CallbackQuery, statuses=(200, 302)),
    "POST /oauth/logout": D(sharing.Done, query=identity.LogoutQuery),
    "POST /oauth/refresh": D(identity.Login),
    "GET /oauth/login": D(None, query=LoginQuery, statuses=(302,)),
    "GET /notification/key": D(push.PublicKey),
    "POST /notification/subscribe": D(push.Subscribed, SubscribeBody),
    "GET /notification/subscribe": D(list[push.Subscription]),
    "DELETE /notification/subscribe": D(push.Success, UnsubscribeBody),
    "POST /notifications/send": D(push.Notified, NotifyBody),
    "GET /health": D(operations.Alive),
    "GET /health/live": D(operations.Alive),
    "GET /health/ready": D(operations.Readiness, statuses=(200, 503)),
    "GET /metrics": D(TEXT),
    "GET /openapi.json": D("application/json"),
    "GET /docs": D("text/html"),
    "GET /docs/<name>": D("text/css", also=("text/javascript", "image/png")),
}
