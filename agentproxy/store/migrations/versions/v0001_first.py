"""The first tables: sessions, their tags, incarnations, the journal, transcripts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables and start the numbers of the journal at 0."""
    _sessions()
    _incarnations()
    _journal()


def _sessions() -> None:
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("agent", sa.Text, nullable=False),
        sa.Column("phase", sa.String(16), nullable=False),
        sa.Column("scope", sa.String(16), nullable=False),
        sa.Column("team_id", sa.Text),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Column("deleted_at", sa.BigInteger),
        sa.Column("environment", sa.Text),
        sa.Column("record", sa.Text, nullable=False),
    )
    _partial("sessions_listed", "sessions", ["created_at", "id"], "deleted_at IS NULL")
    op.create_index("sessions_of_owner", "sessions", ["owner", "created_at", "id"])
    op.create_index("sessions_of_agent", "sessions", ["agent", "created_at", "id"])
    op.create_index("sessions_of_team", "sessions", ["team_id", "created_at", "id"])
    _partial("sessions_living", "sessions", ["created_at", "id"], "phase <> 'ended'")
    op.create_table(
        "session_tags",
        sa.Column("session_id", sa.String(64), primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    op.create_index("session_tags_by_value", "session_tags", ["name", "value", "session_id"])


def _incarnations() -> None:
    op.create_table(
        "incarnations",
        sa.Column("session_id", sa.String(64), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("door", sa.Text),
        sa.Column("record", sa.Text, nullable=False),
    )
    _partial("incarnations_open", "incarnations", ["created_at"], "ended_at IS NULL")


def _journal() -> None:
    op.create_table(
        "events",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("session_id", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
    )
    op.create_index("events_of_session", "events", ["session_id", "number"])
    op.create_table(
        "messages",
        sa.Column("session_id", sa.String(64), primary_key=True),
        sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("final", sa.Boolean),
    )
    counters = op.create_table(
        "counters",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(counters, [{"name": "event", "value": 0}])


def _partial(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
