"""The tables of identity, sharing and audit; see ``schema.py``. Tokens stand there as SHA-256 of what was shown once."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, String, Table, Text

from agentproxy.store.schema import metadata

accounts = Table(
    "accounts",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("disabled_at", BigInteger),
    Column("record", Text, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("owner", Text, nullable=False),
    Column("hash", String(64), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    Column("record", Text, nullable=False),
)
Index("tokens_by_hash", tokens.c.hash, unique=True)
Index("tokens_of_owner", tokens.c.owner, tokens.c.created_at)

logins = Table(
    "logins",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("owner", Text, nullable=False),
    Column("hash", String(64), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
    Column("sealed", Text),
    Column("record", Text, nullable=False),
)
Index("logins_by_hash", logins.c.hash, unique=True)
Index("logins_by_expiry", logins.c.expires_at)

grants = Table(
    "grants",
    metadata,
    Column("session_id", String(64), primary_key=True),
    Column("grantee", String(255), primary_key=True),
    Column("access", String(16), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False),
)
Index("grants_by_grantee", grants.c.grantee, grants.c.session_id)

shares = Table(
    "shares",
    metadata,
    Column("session_id", String(64), primary_key=True),
    Column("hash", String(64), nullable=False),
    Column("sealed", Text, nullable=False),
    Column("access", String(16), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("expires_at", BigInteger),
)
Index("shares_by_hash", shares.c.hash, unique=True)

audit = Table(
    "audit",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("time", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("verb", String(64), nullable=False),
    Column("session_id", String(64)),
    Column("allowed", Boolean, nullable=False),
    Column("record", Text, nullable=False),
    Column("hash", String(64), nullable=False),
)
Index("audit_of_session", audit.c.session_id, audit.c.number)
Index("audit_of_actor", audit.c.actor, audit.c.number)

IDENTITY_COUNTER = "identity"
"""The counter that grows with every change of who may what, so that other processes see that there was one."""
