"""Approvals and their rules: the statements of their transactions. Blocking; run in the store's threads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from agentproxy.model.approval import OPEN, Approval, ApprovalState, Choice, Prompt, Rule
from agentproxy.model.event import NewEvent
from agentproxy.store import journal
from agentproxy.store.delivery_tables import approval_rules, approvals
from agentproxy.store.journal import Entry
from agentproxy.store.rows import micros, moment, plain, to_json
from agentproxy.store.writer import Work

_TIMES = ("expires_at", "answered_at")
_PLAIN = ("incarnation", "answer", "by", "reason")


def approval_row(one: Approval) -> dict[str, Any]:
    """Return the row of an approval."""
    record: dict[str, Any] = {name: getattr(one, name) for name in _PLAIN}
    record |= {name: None if (time := getattr(one, name)) is None else micros(time) for name in _TIMES}
    prompt = one.prompt
    offered = [{"name": each.name, "label": plain(each.label), "keys": list(each.keys)} for each in prompt.choices]
    record["prompt"] = {
        "text": plain(prompt.text),
        "fingerprint": prompt.fingerprint,
        "subject": plain(prompt.subject),
        "choices": offered,
    }
    columns = {"id": one.id, "session_id": one.session_id, "state": one.state.value}
    return {**columns, "created_at": micros(one.created_at), "record": to_json(record)}


def approval_of(row: Row[Any]) -> Approval:
    """Return the approval of a row."""
    record = json.loads(row.record)
    asked = record.pop("prompt")
    offered = tuple(Choice(each["name"], each["label"], tuple(each["keys"])) for each in asked["choices"])
    record |= {name: None if record[name] is None else moment(record[name]) for name in _TIMES}
    return Approval(
        id=row.id,
        session_id=row.session_id,
        state=ApprovalState(row.state),
        created_at=moment(row.created_at),
        prompt=Prompt(asked["text"], asked["fingerprint"], asked["subject"], offered),
        **record,
    )


def told(one: Approval, by: str = "") -> dict[str, Any]:
    """Return the facts of the event that says which state an approval has entered."""
    return {"id": one.id, "state": one.state.value, "subject": one.prompt.subject, "by": by or one.by}


def keeping(one: Approval, events: Sequence[NewEvent], *, new: bool) -> Work[None]:
    """Return the work that keeps an approval and writes *events*."""
    entries = [journal.entry(event) for event in events]

    def work(connection: Connection) -> tuple[None, Sequence[Entry]]:
        row = approval_row(one)
        connection.execute(insert(approvals), row) if new else connection.execute(
            update(approvals).where(approvals.c.id == one.id), row
        )
        return None, entries

    return work


def find_one(connection: Connection, approval_id: str) -> Approval | None:
    """Return one approval, None when there is none."""
    row = connection.execute(select(approvals).where(approvals.c.id == approval_id)).first()
    return None if row is None else approval_of(row)


def read_open(connection: Connection) -> list[Approval]:
    """Return the approvals of all sessions that are not settled, oldest first."""
    states = [one.value for one in OPEN]
    wanted = select(approvals).where(approvals.c.state.in_(states)).order_by(approvals.c.created_at, approvals.c.id)
    return [approval_of(row) for row in connection.execute(wanted)]


def read_page(connection: Connection, session_id: str | None, limit: int) -> list[Approval]:
    """Return the last *limit* approvals of a session, or of all, oldest first."""
    wanted = select(approvals)
    if session_id is not None:
        wanted = wanted.where(approvals.c.session_id == session_id)
    wanted = wanted.order_by(approvals.c.created_at.desc(), approvals.c.id.desc()).limit(limit)
    return [approval_of(row) for row in reversed(list(connection.execute(wanted)))]


def add_rule(connection: Connection, rule: Rule, created_at: int) -> None:
    """Keep a rule."""
    record = {"command": rule.command, "answer": rule.answer, "agent": rule.agent, "repository": rule.repository}
    expires_at = None if rule.expires_at is None else micros(rule.expires_at)
    columns = {"id": rule.id, "owner": rule.owner, "created_at": created_at, "expires_at": expires_at}
    connection.execute(insert(approval_rules), {**columns, "record": to_json(record)})


def remove_rule(connection: Connection, rule_id: str) -> None:
    """Remove a rule."""
    connection.execute(delete(approval_rules).where(approval_rules.c.id == rule_id))


def read_rules(connection: Connection) -> list[Rule]:
    """Return all rules, oldest first."""
    found = []
    for row in connection.execute(select(approval_rules).order_by(approval_rules.c.created_at, approval_rules.c.id)):
        expires_at = None if row.expires_at is None else moment(row.expires_at)
        found.append(Rule(id=row.id, owner=row.owner, expires_at=expires_at, **json.loads(row.record)))
    return found
