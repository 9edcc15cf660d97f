"""Messages know the life of the agent server that said them; the journal knows its size and what retention removed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, fill them from what is there, and make the table of removed events."""
    op.add_column("messages", sa.Column("incarnation", sa.Integer, nullable=False, server_default="1"))
    op.add_column("messages", sa.Column("place", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("messages", sa.Column("told", sa.Boolean, nullable=False, server_default=sa.true()))
    op.add_column("messages", sa.Column("changed_at", sa.BigInteger, nullable=False, server_default="0"))
    op.execute("UPDATE messages SET place = id, changed_at = time")
    op.create_index("messages_by_place", "messages", ["session_id", "incarnation", "place"], unique=True)
    op.add_column("counters", sa.Column("bytes", sa.BigInteger, nullable=False, server_default="0"))
    op.execute(
        "UPDATE counters SET bytes = (SELECT COALESCE(SUM(LENGTH(session_id) + LENGTH(kind) + LENGTH(data) + 50), 0)"
        " FROM events) WHERE name = 'event'"
    )
    op.create_table(
        "removed_events",
        sa.Column("session_id", sa.String(64), primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
    )
