"""Messages with a life, wanted approvals and their rules, repeated requests, and what was spent of budgets."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables of deliveries, approvals and budgets."""
    _deliveries()
    _approvals()
    _budgets()


def _deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("session_id", sa.String(64), nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
    )
    op.create_index("deliveries_of_session", "deliveries", ["session_id", "position", "id"])
    op.create_index("deliveries_by_state", "deliveries", ["state", "session_id"])
    op.create_table(
        "repeats",
        sa.Column("scope", sa.String(255), primary_key=True),
        sa.Column("key", sa.String(255), primary_key=True),
        sa.Column("body", sa.String(64), nullable=False),
        sa.Column("result", sa.String(64), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_index("repeats_by_age", "repeats", ["created_at"])


def _approvals() -> None:
    op.create_table(
        "approvals",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("session_id", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
    )
    op.create_index("approvals_by_state", "approvals", ["state", "created_at", "id"])
    op.create_index("approvals_of_session", "approvals", ["session_id", "created_at"])
    op.create_table(
        "approval_rules",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("record", sa.Text, nullable=False),
    )
    op.create_index("approval_rules_of_owner", "approval_rules", ["owner", "created_at"])


def _budgets() -> None:
    op.create_table(
        "spending",
        sa.Column("subject", sa.String(255), primary_key=True),
        sa.Column("measure", sa.String(16), primary_key=True),
        sa.Column("period", sa.String(16), primary_key=True),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("lifted", sa.BigInteger, nullable=False),
    )
