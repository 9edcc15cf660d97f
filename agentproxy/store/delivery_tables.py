"""The tables of deliveries, approvals and budgets; see ``schema.py``."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, String, Table, Text

from agentproxy.store.schema import metadata

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("session_id", String(64), nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("record", Text, nullable=False),
)
Index("deliveries_of_session", deliveries.c.session_id, deliveries.c.position, deliveries.c.id)
Index("deliveries_by_state", deliveries.c.state, deliveries.c.session_id)

repeats = Table(
    "repeats",
    metadata,
    Column("scope", String(255), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("body", String(64), nullable=False),
    Column("result", String(64), nullable=False),
    Column("created_at", BigInteger, nullable=False),
)
Index("repeats_by_age", repeats.c.created_at)

approvals = Table(
    "approvals",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("session_id", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("record", Text, nullable=False),
)
Index("approvals_by_state", approvals.c.state, approvals.c.created_at, approvals.c.id)
Index("approvals_of_session", approvals.c.session_id, approvals.c.created_at)

approval_rules = Table(
    "approval_rules",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("owner", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("record", Text, nullable=False),
)
Index("approval_rules_of_owner", approval_rules.c.owner, approval_rules.c.created_at)

spending = Table(
    "spending",
    metadata,
    Column("subject", String(255), primary_key=True),
    Column("measure", String(16), primary_key=True),
    Column("period", String(16), primary_key=True),
    Column("amount", BigInteger, nullable=False),
    Column("lifted", BigInteger, nullable=False),
)
