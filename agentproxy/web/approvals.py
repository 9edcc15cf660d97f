"""Approvals that agents want, rules that answer them, and budgets.

| Route | Answer |
|---|---|
| `GET /approvals` | `{"approvals": [...]}`: those that wait, in all sessions that the caller sees; `session_id` |
| `GET /approvals/:approval` | the approval |
| `POST /approvals/:approval` | the approval, answered; body `answer`: `allow`, `deny`, or the name of a choice |
| `GET /sessions/:id/approvals` | `{"approvals": [...]}`: the last ones of a session, settled ones too; `limit` |
| `GET /approvals/rules` | `{"rules": [...]}` |
| `POST /approvals/rules` | 201 and the rule; body `command`, `answer`, `agent`, `repository`, `until` |
| `DELETE /approvals/rules/:rule` | `{"rule_id", "status": "removed"}` |
| `GET /budgets` | `{"budgets": [...]}`: the caller's accounts, or all; `session_id` |
| `POST /budgets/lift` | the account; body `subject`, `measure`, `amount` |
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from twisted.web.http import Request

from agentproxy.features.approvals import Approvals
from agentproxy.features.budgets import Budgets
from agentproxy.features.deliveries import Permitting
from agentproxy.model.approval import Approval, Rule
from agentproxy.model.budget import Level
from agentproxy.model.principal import Principal
from agentproxy.model.session import Session
from agentproxy.web import wire
from agentproxy.web.answers import answer
from agentproxy.web.bounds import Amount, Text
from agentproxy.web.routing import route

Sees = Callable[[Principal, Session], bool]
"""Whether somebody may read a session; nothing is noted."""


class AnswerBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``POST /approvals/:approval``."""

    answer: str


class RuleBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``POST /approvals/rules``."""

    command: Text
    answer: Literal["allow", "deny"] = "allow"
    agent: str = ""
    repository: str = ""
    until: datetime | None = None


class LiftBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``POST /budgets/lift``."""

    subject: Text
    measure: Literal["turns", "minutes", "starts"]
    amount: Amount


def shown(one: Approval) -> dict[str, Any]:
    """Return an approval as this face shows it."""
    return {
        "approval_id": one.id,
        "session_id": one.session_id,
        "state": one.state.value,
        "subject": one.prompt.subject,
        "prompt": one.prompt.text,
        "choices": [{"name": each.name, "label": each.label} for each in one.prompt.choices],
        "created_at": one.created_at,
        "expires_at": one.expires_at,
        "answered_at": one.answered_at,
        "answer": one.answer or None,
        "by": one.by or None,
        "reason": one.reason,
    }


def shown_rule(one: Rule) -> dict[str, Any]:
    """Return a rule as this face shows it."""
    return {
        "rule_id": one.id,
        "owner": one.owner or None,
        "command": one.command,
        "answer": one.answer,
        "agent": one.agent or None,
        "repository": one.repository or None,
        "until": one.expires_at,
    }


def shown_level(one: Level) -> dict[str, Any]:
    """Return how a budget stands, as this face shows it."""
    account = one.account
    facts = {"subject": account.subject, "measure": account.measure, "period": account.period}
    return {**facts, "used": one.used, "limit": one.limit, "state": one.state or "fine"}


class ApprovalRoutes:
    """The routes of approvals, rules and budgets."""

    def __init__(self, approvals: Approvals, budgets: Budgets, permits: Permitting, sees: Sees) -> None:
        self._approvals, self._budgets, self._permits, self._sees = approvals, budgets, permits, sees

    @route("GET", "/approvals")
    async def waiting(self, request: Request, caller: Principal) -> bytes:
        """List the approvals that wait in all sessions that the caller sees, oldest first."""
        wanted = wire.query(request).get("session_id")
        found = self._approvals.waiting(lambda session: self._sees(caller, session))
        rows = [
            {**shown(one), "agent": session.agent, "user_id": session.owner}
            for one, session in found
            if wanted in (None, session.id)
        ]
        return answer(request, {"approvals": rows})

    @route("GET", "/approvals/rules")
    async def rules(self, request: Request, caller: Principal) -> bytes:
        """List the rules that answer for the caller."""
        return answer(request, {"rules": [shown_rule(one) for one in self._approvals.rules.of(caller)]})

    @route("POST", "/approvals/rules")
    async def add_rule(self, request: Request, caller: Principal) -> bytes:
        """Keep a rule that answers approvals of the caller's sessions."""
        body = wire.body(request, RuleBody)
        until = body.until
        if until is not None and until.tzinfo is None:
            raise wire.invalid("$.until", "expected a time with its zone")
        if until is not None and until <= datetime.now(UTC):
            raise wire.invalid("$.until", "expected a time that is not over")
        rule = Rule("", "", body.command, body.answer, body.agent, body.repository, until)
        return answer(request, shown_rule(await self._approvals.rules.add(caller, rule)), 201)

    @route("DELETE", "/approvals/rules/<rule_id>")
    async def remove_rule(self, request: Request, caller: Principal, rule_id: str) -> bytes:
        """Remove a rule."""
        await self._approvals.rules.remove(caller, rule_id)
        return answer(request, {"rule_id": rule_id, "status": "removed"})

    @route("GET", "/approvals/<approval_id>")
    async def get(self, request: Request, caller: Principal, approval_id: str) -> bytes:
        """Show one approval."""
        return answer(request, shown(await self._approvals.get(caller, approval_id)))

    @route("POST", "/approvals/<approval_id>")
    async def decide(self, request: Request, caller: Principal, approval_id: str) -> bytes:
        """Answer an approval; 409 with what is now on the screen when the agent does not ask it any more."""
        body = wire.body(request, AnswerBody)
        return answer(request, shown(await self._approvals.answer(caller, approval_id, body.answer)))

    @route("GET", "/sessions/<session_id>/approvals")
    async def of_session(self, request: Request, caller: Principal, session_id: str) -> bytes:
        """List the last approvals of a session, settled ones too."""
        limit = wire.whole_number(wire.query(request), "limit", 100, 1, 1000)
        found = await self._approvals.of_session(caller, session_id, limit)
        return answer(request, {"approvals": [shown(one) for one in found]})

    @route("GET", "/budgets")
    async def budgets(self, request: Request, caller: Principal) -> bytes:
        """Show how the caller's budgets stand, or those that a session pays from."""
        session_id = wire.query(request).get("session_id")
        if session_id is not None:
            found = self._budgets.of_session(await self._permits.permitted(caller, session_id, "session.read"))
        else:
            found = self._budgets.levels(caller)
        return answer(request, {"budgets": [shown_level(one) for one in found]})

    @route("POST", "/budgets/lift")
    async def lift(self, request: Request, caller: Principal) -> bytes:
        """Give an account more for its present period."""
        body = wire.body(request, LiftBody)
        if not 0 < body.amount <= 10**9:
            raise wire.invalid("$.amount", "expected a whole number above 0")
        return answer(request, shown_level(await self._budgets.lift(caller, body.subject, body.measure, body.amount)))
