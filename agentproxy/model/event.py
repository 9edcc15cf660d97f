"""What an event is: one numbered row of a session's journal, never changed; and the table of all kinds.

``python -m agentproxy.model.event`` prints the table as ``docs/events.md`` shows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    :param number: the cursor: grows over the whole server, unique.
    :param session_id: whose journal it is in; empty for what concerns the whole server.
    :param kind: its type, one of :data:`KINDS`.
    :param data: the fields of that type, JSON values only.
    """

    number: int
    session_id: str
    kind: str
    time: datetime
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NewEvent:
    """One thing that happened, before the journal has numbered it. The fields are those of :class:`Event`."""

    session_id: str
    kind: str
    time: datetime
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EventKind:
    """One row of the table of kinds.

    :param meaning: when it is written, one sentence.
    :param fields: name of each field of ``data`` to its meaning; one whose meaning ends with ``?`` may be missing.
    """

    name: str
    meaning: str
    fields: Mapping[str, str]


KINDS: dict[str, EventKind] = {}


def _kind(name: str, meaning: str, **fields: str) -> str:
    if name in KINDS:
        raise ValueError(f"two kinds of events are called {name}")
    KINDS[name] = EventKind(name, meaning, fields)
    return name


# The life of a session.
_kind(
    "session.queued",
    "The start was accepted.",
    agent="name of the agent",
    continued_from="id of the session whose transcript it goes on with?",
)
_kind("session.starting", "Its turn to start has come.", incarnation="number of the life")
_kind(
    "session.step",
    "One step of the start is done.",
    step="`port`, `directory`, `clone`, `home`, `exec`, `listen`, `answer`",
    **{"...": "facts of the step?"},
)
_kind("session.ready", "The agent server answers.", port="its TCP port, or null")
_kind("session.stopping", "The agent server is being ended.", incarnation="number of the life")
SESSION_ENDED = _kind(
    "session.ended",
    "The agent server is gone.",
    reason="`stopped`, `exited`, `failed`, `expired`, `lost`",
    sentence="why, for people",
    step="the step of the start that failed, or null?",
    **{"...": "further facts of the end?"},
)
_kind(
    "session.restarted",
    "The next life begins.",
    incarnation="number of the life",
    resume="whether the agent continues its conversation?",
    reason="why, when nobody asked for it?",
)
_kind(
    "session.adopted",
    "A server that started found its agent server running and took it over.",
    incarnation="number of the life",
    pid="process id of the agent server",
)
_kind("session.changed", "Somebody changed what is said about it.", fields="names of the changed fields")
SESSION_DELETED = _kind("session.deleted", "It left the lists; the last event of a session.", by="who did it")

# The agent.
AGENT_STATUS = _kind("agent.status", "The agent server says something new of its agent.", status="`running`, `stable`")
_kind("agent.error", "The agent server reports an error.", message="its text", level="`error`, `warning`")
_kind("agent.interrupted", "Somebody pressed the agent's interrupt keys.", by="who did it")

# What is said.
MESSAGE_STARTED = _kind(
    "message.started",
    "The agent has begun a message; its text still changes.",
    id="its number in the transcript",
    role="`agent`",
)
MESSAGE = _kind(
    "message",
    "A message stands: the user's when it shows, the agent's whenever the agent turns quiet and its text is new.",
    id="its number in the transcript",
    role="`user`, `agent`",
    content="the text, at most 16 384 characters; GET /sessions/ID/messages has all of it",
    truncated="true when the text is longer?",
)
_kind("first_message", "What became of the message of the start.", outcome="its fate", reason="why, or empty")

# Messages on their way, what the agent waits for, and what ends or holds a session.
_kind(
    "delivery",
    "A message on its way has entered a state.",
    id="of the delivery",
    state="`accepted`, `typing`, `delivered`, `answered`, `uncertain`, `refused`, `expired`, `withdrawn`",
    sender="who sent it",
    reason="why, or empty",
)
_kind("delivery.edited", "Somebody changed a delivery that was not typed yet.", id="of the delivery", by="who did it")
_kind("queue", "The queue of messages is held, or goes on.", held="why it is held; empty when it goes on")
_kind("keyboard", "The keyboard has another holder.", holder="who types; empty when nobody", by="who did it")
_kind(
    "attention",
    "What the agent does or waits for has changed.",
    kind="`idle`, `approval`, `question`, `setup`, `login`, `rate_limited`, `model_unreachable`, `stuck`, `shell`, `gone`, "
    "`unknown`",
    wanted="whether a person is wanted",
    line="the row of the screen that shows it",
    action="what a person can do",
    until="when a rate limit ends, or null",
)
_kind(
    "approval",
    "An approval has entered a state.",
    id="of the approval",
    state="`waiting`, `answering`, `allowed`, `denied`, `chosen`, `expired`, `gone`, `uncertain`",
    subject="what is to be approved, where it can be told",
    by="who answered, or empty",
)
_kind(
    "session.expiring", "The session will be ended soon.", reason="`idle` or `max_age`", at="when", seconds="until then"
)
_kind(
    "budget",
    "A budget is nearly spent, spent, or lifted.",
    subject="`session`, `user NAME` or `team NAME`",
    measure="`turns`, `minutes`, `starts`",
    used="how much",
    limit="of how much",
    state="`near`, `spent`, `lifted`",
)

# The log.
_kind(
    "log.mark",
    "Where the log of the agent server's output stood at this moment.",
    offset="bytes",
    incarnation="number of the life",
    at="`exec`, `ready`, `ended`",
)

RESYNC = _kind(
    "resync",
    "Only in streams, never kept: the cursor is not in the journal any more. Take the snapshot and read on from its `id`.",
    reason="`retention`: events behind the cursor were removed; `unknown`: the journal never had that number",
    cursor="the cursor that was asked for",
    snapshot="the session as GET /sessions/ID shows it, or the list of sessions",
)


def table() -> str:
    """Return the table of all kinds in Markdown."""
    rows = [f"| `{kind.name}` | {kind.meaning} | {_fields(kind)} |" for kind in KINDS.values()]
    return "\n".join(["| `type` | When | Fields of `data` |", "|---|---|---|", *rows])


def _fields(kind: EventKind) -> str:
    return "; ".join(f"{_name(name)}: {meaning}" for name, meaning in kind.fields.items()) or "none"


def _name(name: str) -> str:
    return name if name == "..." else f"`{name}`"


def fault(kind: str, data: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the data of an event against its row of the table, or None."""
    row = KINDS.get(kind)
    if row is None:
        return f"there is no kind {kind!r}"
    unknown = set() if "..." in row.fields else data.keys() - row.fields.keys()
    missing = {name for name, meaning in row.fields.items() if not meaning.endswith("?")} - data.keys()
    if unknown or missing:
        return f"{kind}: unknown fields {sorted(unknown)}, missing fields {sorted(missing)}"
    return None


if __name__ == "__main__":
    print(table())  # noqa: T201 - this is the command that fills docs/events.md
