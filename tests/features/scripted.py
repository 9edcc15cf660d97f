"""A driver without an agent server: a test says what comes down its stream, what its screen shows and how it answers."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred

from agentproxy.agents.driver import AgentEvent, EventSink, Outcome, Sent, StatusEvent, Subscription
from agentproxy.model.message import Message
from agentproxy.model.session import AgentStatus


class ScriptedDriver:
    """Keeps what was asked of it: ``typed``, ``keys``, ``screens_read``, ``opened_streams``."""

    def __init__(self, screen: str = "") -> None:
        self.screen_text = screen
        self.outcomes: list[Outcome | Deferred[Outcome]] = []
        self.typed: list[str] = []
        self.keys: list[str] = []
        self.screens_read = 0
        self.opened_streams = 0
        self._sink: EventSink | None = None

    def open(self) -> None:
        """Let the stream be connected."""
        assert self._sink is not None
        self._sink.opened()

    def say(self, *events: AgentEvent) -> None:
        """Let events come."""
        for event in events:
            assert self._sink is not None
            self._sink.event(event)

    def turn(self, screen: str) -> None:
        """Let the agent draw *screen* and turn quiet."""
        self.say(StatusEvent(AgentStatus.RUNNING))
        self.screen_text = screen
        self.say(StatusEvent(AgentStatus.STABLE))

    def status_only_running(self) -> None:
        """Let the agent work again."""
        self.say(StatusEvent(AgentStatus.RUNNING))

    def break_stream(self) -> None:
        """Let the stream end."""
        assert self._sink is not None
        sink, self._sink = self._sink, None
        sink.closed("broken by the test")

    def events(self, sink: EventSink) -> Subscription:
        self._sink = sink
        self.opened_streams += 1
        return _Closing()

    async def status(self) -> AgentStatus:
        raise AssertionError("nobody polls an agent server")

    async def messages(self) -> tuple[Message, ...]:
        raise AssertionError("nobody polls an agent server")

    async def send_user(self, text: str, deadline: float) -> Outcome:
        self.typed.append(text)
        outcome = self.outcomes.pop(0) if self.outcomes else Sent()
        return await outcome if isinstance(outcome, Deferred) else outcome

    async def send_raw(self, keys: str, deadline: float = 5.0) -> Outcome:
        self.keys.append(keys)
        return self.outcomes.pop(0) if self.outcomes else Sent()  # type: ignore[return-value]

    async def screen(self) -> str:
        self.screens_read += 1
        return self.screen_text

    async def interrupt(self, keys: Sequence[str]) -> Outcome:
        self.keys += keys
        return self.outcomes.pop(0) if self.outcomes else Sent()  # type: ignore[return-value]

    async def permit(self, request: str, option: str) -> Outcome:
        self.keys.append(f"{request}: {option}")
        return self.outcomes.pop(0) if self.outcomes else Sent()  # type: ignore[return-value]

    async def answers(self) -> bool:
        return True

    async def close(self) -> None:
        self._sink = None


class _Closing:
    """A subscription whose end interests nobody."""

    def close(self) -> None: ...
