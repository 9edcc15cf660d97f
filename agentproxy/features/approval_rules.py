"""Answers given beforehand: rules of the configuration, and those that users keep."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

from agentproxy.errors import FORBIDDEN, INVALID_REQUEST, RULE_NOT_FOUND, Refusal
from agentproxy.features.permitting import Note
from agentproxy.model.approval import Rule
from agentproxy.model.permission import may
from agentproxy.model.principal import Principal
from agentproxy.model.repository import parse
from agentproxy.store import Store
from agentproxy.store import approvals as rows
from agentproxy.store.rows import micros

LIMIT = 1000
"""Rules that one user may keep."""


class Rules:
    """All rules.

    :param configured: those of the configuration; nobody can remove them by the API.
    :param note: keeps in the audit who added and removed which.
    """

    def __init__(self, store: Store, configured: Sequence[Rule], note: Note) -> None:
        self._store = store
        self._note = note
        self._configured = tuple(configured)
        self._kept: list[Rule] = []

    async def open(self) -> None:
        """Read the kept rules."""
        self._kept = await self._store.run(rows.read_rules)

    def all(self) -> list[Rule]:
        """Return every rule."""
        return [*self._configured, *self._kept]

    def of(self, caller: Principal) -> list[Rule]:
        """Return the rules that answer for the caller's sessions; whoever may act for everybody sees all."""
        everybody = may(caller, "admin.settings")
        return [one for one in self.all() if everybody or one.owner in ("", caller.user_id)]

    async def add(self, caller: Principal, rule: Rule) -> Rule:
        """Keep a rule for the caller's own sessions.

        :param rule: its id and owner are set here.
        :raises Refusal: INVALID_REQUEST or FORBIDDEN.
        """
        if not may(caller, "session.message"):
            raise Refusal(FORBIDDEN, "this needs session.message")
        if not rule.command.strip():
            raise Refusal(INVALID_REQUEST, "$.command: is empty; * stands for everything")
        if rule.repository:
            parse(rule.repository, "$.repository")
        if len([one for one in self._kept if one.owner == caller.user_id]) >= LIMIT:
            raise Refusal(INVALID_REQUEST, f"you have {LIMIT} rules already")
        now = datetime.now(UTC)
        kept = Rule(
            str(uuid.uuid4()), caller.user_id, rule.command, rule.answer, rule.agent, rule.repository, rule.expires_at
        )
        await self._store.run(lambda it: rows.add_rule(it, kept, micros(now)), writes=True)
        self._kept.append(kept)
        self._note(caller, "rule.add", None, True, "session.message", _facts(kept))
        return kept

    async def remove(self, caller: Principal, rule_id: str) -> None:
        """Remove a rule of the caller; whoever may act for everybody removes any.

        :raises Refusal: RULE_NOT_FOUND, also for one of the configuration.
        """
        everybody = may(caller, "admin.settings")
        found = next((one for one in self._kept if one.id == rule_id), None)
        if found is None or (found.owner != caller.user_id and not everybody):
            raise Refusal(RULE_NOT_FOUND, rule_id)
        await self._store.run(lambda it: rows.remove_rule(it, rule_id), writes=True)
        self._kept.remove(found)
        reason = "its owner" if found.owner == caller.user_id else "admin.settings"
        self._note(caller, "rule.remove", None, True, reason, _facts(found))


def _facts(rule: Rule) -> dict[str, object]:
    """Return what the audit keeps of a rule: enough to know what it answered, for whom and until when."""
    until = rule.expires_at.isoformat() if rule.expires_at is not None else None
    named = {"rule": rule.id, "owner": rule.owner, "command": rule.command, "answer": rule.answer}
    return {**named, "agent": rule.agent, "repository": rule.repository, "until": until}
