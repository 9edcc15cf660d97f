"""What a talk tells of its agent, and to whom: status, errors, and every event by its name."""

from __future__ import annotations

from typing import Any

from agentproxy.embedded.conversation import now
from agentproxy.embedded.talk import ERROR, EVENTS, STATUS, Listener

ERRORS_KEPT = 100
TOLD_A_SECOND = 1_000_000
"""Characters of messages that a reader is told in a second: a long message that grows is told less often."""


class Teller:
    """One agent as its listeners know it: the part of a :class:`agentproxy.embedded.talk.Talk` that all talks share.

    ``own_events``: events beyond those of every talk that are told to listeners that name none.
    """

    own_events: tuple[str, ...] = ()

    def __init__(self, agent_type: str) -> None:
        self.agent_type = agent_type
        self.status = "running"
        self.exit: dict[str, Any] | None = None
        self.errors: list[dict[str, Any]] = []
        self.listeners: set[Listener] = set()

    @property
    def prompt(self) -> bool:
        """Whether the agent is known to be ready for a message."""
        raise NotImplementedError

    def wants(self, name: str) -> bool:
        """Say whether anybody listens to events of this name."""
        return any(name in getattr(listener, "names", EVENTS) for listener in self.listeners)

    def tell(self, name: str, data: dict[str, Any]) -> None:
        """Tell an event to who listens to it."""
        for listener in list(self.listeners):
            if name in getattr(listener, "names", (*EVENTS, *self.own_events)):
                listener(name, data)

    def status_event(self) -> dict[str, Any]:
        """Return the data of a ``status_change`` event."""
        return {"status": self.status, "agent_type": self.agent_type, "prompt": self.prompt}

    def warn(self, text: str) -> None:
        """Tell an ``agent_error`` of the level warning; the last ones are kept for later listeners."""
        error = {"message": text, "level": "warning", "time": now()}
        self.errors = [*self.errors, error][-ERRORS_KEPT:]
        self.tell(ERROR, error)

    def _set_status(self, status: str) -> None:
        if status != self.status:
            self.status = status
            self.tell(STATUS, self.status_event())
