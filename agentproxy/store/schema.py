"""The tables. What is searched has a column, the rest is JSON; times are microseconds of UTC since 1970.

A change here needs a new migration in ``migrations/versions``; a test compares the two.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, MetaData, String, Table, Text, text, true

metadata = MetaData()

sessions = Table(
    "sessions",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("owner", Text, nullable=False),
    Column("agent", Text, nullable=False),
    Column("phase", String(16), nullable=False),
    Column("scope", String(16), nullable=False),
    Column("team_id", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("deleted_at", BigInteger),
    Column("environment", Text),  # sealed
    Column("record", Text, nullable=False),
)
_LISTED = text("deleted_at IS NULL")
_LIVING = text("phase <> 'ended'")
Index(
    "sessions_listed",
    sessions.c.created_at,
    sessions.c.id,
    sqlite_where=_LISTED,
    postgresql_where=_LISTED,
)
Index("sessions_of_owner", sessions.c.owner, sessions.c.created_at, sessions.c.id)
Index("sessions_of_agent", sessions.c.agent, sessions.c.created_at, sessions.c.id)
Index("sessions_of_team", sessions.c.team_id, sessions.c.created_at, sessions.c.id)
Index("sessions_living", sessions.c.created_at, sessions.c.id, sqlite_where=_LIVING, postgresql_where=_LIVING)

tags = Table(
    "session_tags",
    metadata,
    Column("session_id", String(64), primary_key=True),
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
Index("session_tags_by_value", tags.c.name, tags.c.value, tags.c.session_id)

incarnations = Table(
    "incarnations",
    metadata,
    Column("session_id", String(64), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("created_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("door", Text),  # sealed
    Column("record", Text, nullable=False),
)
_OPEN = text("ended_at IS NULL")
Index(
    "incarnations_open",
    incarnations.c.created_at,
    sqlite_where=_OPEN,
    postgresql_where=_OPEN,
)

events = Table(
    "events",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("session_id", String(64), nullable=False),
    Column("kind", String(64), nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("data", Text, nullable=False),
)
Index("events_of_session", events.c.session_id, events.c.number)

messages = Table(
    "messages",
    metadata,
    Column("session_id", String(64), primary_key=True),
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("role", String(16), nullable=False),
    Column("content", Text, nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("final", Boolean),
    Column("incarnation", Integer, nullable=False, server_default="1"),
    Column("place", BigInteger, nullable=False, server_default="0"),  # its id for the agent server of that incarnation
    Column("told", Boolean, nullable=False, server_default=true()),  # whether the journal has this text of it
    Column("changed_at", BigInteger, nullable=False, server_default="0"),
)
Index("messages_by_place", messages.c.session_id, messages.c.incarnation, messages.c.place, unique=True)

counters = Table(
    "counters",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False, server_default="0"),
)
EVENT_COUNTER = "event"

removed_events = Table(
    "removed_events",
    metadata,
    Column("session_id", String(64), primary_key=True),  # empty: of the whole journal
    Column("number", BigInteger, nullable=False),  # the highest that retention removed
)
