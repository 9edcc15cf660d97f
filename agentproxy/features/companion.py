"""What goes with one living session and is told of its agent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from agentproxy.model.message import Message
from agentproxy.model.session import AgentStatus


class Companion:
    """Who goes with a session: this one attends to nothing, the one of ``features/attending.py`` to everything."""

    def attached(self) -> None:
        """The agent server's stream is being opened."""

    def status_changed(self, status: AgentStatus) -> None:
        """The agent server says something new of its agent."""

    def message_changed(self, message: Message) -> None:
        """A message is new or has changed."""

    def requests_changed(self) -> None:
        """What the agent asks over its protocol has changed."""

    def keys_typed(self) -> None:
        """Somebody types at the agent's terminal."""

    async def interrupting(self) -> Callable[[], Awaitable[None]]:
        """The agent is to be interrupted when this returns; what is returned is to be done when it was."""
        return nothing

    def gone(self) -> None:
        """The agent server has ended."""

    def left(self) -> None:
        """The agent server runs on, and nobody watches it any more."""


async def nothing() -> None:
    """Do nothing."""
