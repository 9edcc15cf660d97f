"""A sink for a driver's stream that can be waited for."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from agentproxy.agents.driver import AgentEvent, StatusEvent
from agentproxy.model.session import AgentStatus


class Heard:
    """Keeps what it hears; ``why`` fires when the stream ends."""

    def __init__(self) -> None:
        self.events: list[AgentEvent] = []
        self.why: Deferred[str] = Deferred()
        self._waits: list[tuple[Callable[[AgentEvent], bool], Deferred[None]]] = []

    def opened(self) -> None: ...

    def event(self, event: AgentEvent) -> None:
        self.events.append(event)
        for wait in [wait for wait in self._waits if wait[0](event)]:
            self._waits.remove(wait)
            wait[1].callback(None)

    def closed(self, why: str) -> None:
        self.why.callback(why)

    async def until(self, condition: Callable[[AgentEvent], bool]) -> None:
        """Wait until an event has come of which *condition* is true."""
        if not any(map(condition, self.events)):
            wait: Deferred[None] = Deferred()
            self._waits.append((condition, wait))
            await wait.addTimeout(30, reactor)

    async def stable(self) -> None:
        """Wait until the agent is quiet."""
        await self.until(lambda event: event == StatusEvent(AgentStatus.STABLE))
