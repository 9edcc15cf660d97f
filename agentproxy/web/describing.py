"""What the OpenAPI document says of each route beside its docstring: query, body, answer.

A route that is not here cannot be described; a test says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agentproxy.web import approvals, deliveries, identity, oauth, push, sharing, xapi
from agentproxy.web import shapes as s

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
    "POST /start": D(s.Started, xapi.StartBody, s.StartQuery),
    "GET /search": D(s.Sessions, query=s.SearchQuery),
    f"GET {OF}": D(s.Session),
    f"PATCH {OF}": D(s.Session, xapi.ChangeBody),
    f"DELETE {OF}": D(s.Terminated),
    f"POST {OF}/stop": D(s.Session),
    f"POST {OF}/restart": D(s.Session),
    f"POST {OF}/interrupt": D(s.Interrupted),
    f"GET {OF}/log": D(TEXT, query=s.LogQuery),
    f"GET {OF}/messages": D(s.Messages, query=s.MessagesQuery),
    f"POST {OF}/messages": D(s.Delivery, deliveries.MessageBody, s.SendQuery, (200, 202)),
    f"GET {OF}/export": D("application/json", query=s.ExportQuery, also=("text/markdown",)),
    f"GET {OF}/events": D(s.Events, query=s.EventsQuery, also=(SSE,)),
    "GET /events": D(s.Events, query=s.EventsQuery, also=(SSE,)),
    "GET /sessions/status/stream": D(SSE),
    "GET /sessions/status/wait": D(s.StatusChange, query=s.StatusQuery),
    f"GET {OF}/messages/wait": D(s.Updated, query=s.MessagesWaitQuery),
    f"GET {OF}/wait": D(s.Waited, query=s.WaitQuery),
    f"GET {OF}/deliveries": D(s.Deliveries, query=s.DeliveriesQuery),
    f"GET {OF}/deliveries/<delivery_id>": D(s.Delivery),
    f"PATCH {OF}/deliveries/<delivery_id>": D(s.Delivery, deliveries.EditBody),
    f"DELETE {OF}/deliveries/<delivery_id>": D(s.Delivery),
    f"POST {OF}/deliveries/<delivery_id>/retry": D(s.Delivery),
    f"POST {OF}/deliveries/<delivery_id>/discard": D(s.Delivery),
    f"GET {OF}/keyboard": D(s.Keyboard),
    f"POST {OF}/keyboard": D(s.Keyboard, deliveries.KeyboardBody),
    "GET /approvals": D(s.Approvals, query=s.OfSessionQuery),
    f"GET {OF}/approvals": D(s.Approvals, query=s.LimitQuery),
    "GET /approvals/rules": D(s.Rules),
    "POST /approvals/rules": D(s.Rule, approvals.RuleBody, statuses=(201,)),
    "DELETE /approvals/rules/<rule_id>": D(s.Removed),
    "GET /approvals/<approval_id>": D(s.Approval),
    "POST /approvals/<approval_id>": D(s.Approval, approvals.AnswerBody),
    "GET /budgets": D(s.Levels, query=s.OfSessionQuery),
    "POST /budgets/lift": D(s.Level, approvals.LiftBody),
    f"POST {OF}/share": D(s.Share, sharing.ShareBody, statuses=(200, 201)),
    f"GET {OF}/share": D(s.Share),
    f"DELETE {OF}/share": D(s.Done),
    "GET /s/<token>/<path:rest>": D("application/json"),
    f"GET {OF}/access": D(s.Access, query=s.AccessQuery),
    f"PUT {OF}/access/<path:grantee>": D(s.Grant, sharing.GrantBody),
    f"DELETE {OF}/access/<path:grantee>": D(s.Done),
    "GET /audit": D(s.Audit, query=s.AuditQuery),
    "GET /auth/types": D(s.LoginTypes),
    "GET /auth/status": D(s.LoginStatus),
    "GET /user/info": D(s.UserInfo),
    "POST /auth/tokens": D(s.Token, identity.TokenBody, statuses=(201,)),
    "GET /auth/tokens": D(s.Tokens, query=s.OwnerQuery),
    "DELETE /auth/tokens/<token_id>": D(s.Token),
    "GET /auth/logins": D(s.KnownLogins, query=s.OwnerQuery),
    "DELETE /auth/logins/<login_id>": D(s.KnownLogin),
    "POST /auth/accounts": D(s.Account, identity.AccountBody, statuses=(201,)),
    "GET /auth/accounts": D(s.Accounts),
    "PATCH /auth/accounts/<name>": D(s.Account, identity.AccountChange),
    "POST /oauth/authorize": D(s.Authorize, oauth.AuthorizeBody),
    "GET /oauth/callback": D(s.Login, query=oauth.CallbackQuery, statuses=(200, 302)),
    "POST /oauth/logout": D(s.Done, query=s.LogoutQuery),
    "POST /oauth/refresh": D(s.Login),
    "GET /oauth/login": D(None, query=oauth.LoginQuery, statuses=(302,)),
    "POST /notification/subscribe": D(s.Subscribed, push.SubscribeBody),
    "GET /notification/subscribe": D(list[s.Subscription]),
    "DELETE /notification/subscribe": D(s.Success, push.UnsubscribeBody),
    "POST /notifications/send": D(s.Notified, push.NotifyBody),
    "GET /health": D(s.Alive),
    "GET /health/live": D(s.Alive),
    "GET /health/ready": D(s.Readiness, statuses=(200, 503)),
    "GET /metrics": D(TEXT),
    "GET /openapi.json": D("application/json"),
    "GET /docs": D("text/html"),
    "GET /docs/<name>": D("text/css", also=("text/javascript", "image/png")),
}
