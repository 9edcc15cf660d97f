"""Observing one ready session: one stream of events from its agent server, and what is known from it.

The stream replays everything on each connect; who listens here hears each change once. While an agent draws, its last
message comes in full many times a second: it is told at most once per ``coalesce`` seconds and at the latest with the
next status. The agent server is never polled.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from agentproxy.agents.driver import (
    AgentEvent,
    AgentServerDriver,
    AskedEvent,
    ErrorEvent,
    ExitEvent,
    KeysEvent,
    MessageEvent,
    PermittedEvent,
    StatusEvent,
    Subscription,
)
from agentproxy.errors import SESSION_ENDED, Refusal
from agentproxy.model.approval import AcpRequest
from agentproxy.model.message import Message
from agentproxy.model.session import AgentStatus

log = Logger()

ERRORS_KEPT = 100
"""How many errors a new stream replays at most (agentapi), and so how many are remembered to tell each once."""


class ObservationSink(Protocol):
    """Who is told what an observer sees."""

    def status_changed(self, status: AgentStatus) -> None:
        """The agent server says something new of its agent."""

    def message_changed(self, message: Message) -> None:
        """A message is new or has a new revision."""

    def agent_error(self, text: str, level: str) -> None:
        """The agent server reports an error, told once."""

    def requests_changed(self) -> None:
        """What the agent asks over its protocol is another thing now (:attr:`Observer.requests`)."""

    def keys_typed(self) -> None:
        """Somebody types at the agent's terminal."""

    def connection_changed(self, connected: bool, why: str) -> None:
        """The stream is open, or has broken for the reason *why* and will be opened again."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How patient an observer is, in seconds.

    :param coalesce: the shortest time between two revisions of an agent's message.
    :param first: the wait before the first new attempt; doubled each time.
    :param longest: the longest such wait.
    """

    coalesce: float = 0.25
    first: float = 0.1
    longest: float = 10.0


@dataclass(slots=True)
class Known:
    """What has been told of an agent server before, by an observer of an earlier server: it is not told again.

    :param messages: the latest revision of each message, by id.
    :param errors: how often each pair of text and level was told.
    """

    messages: dict[int, Message] = field(default_factory=dict)
    errors: Counter[tuple[str, str]] = field(default_factory=Counter)


@dataclass(eq=False, slots=True)
class _Wait:
    condition: Callable[[], bool]
    fired: Deferred[None]


class Observer:
    """Keeps one stream of a driver open and knows status, messages and the time of the last change.

    The stream is opened by the constructor and by nobody else; :meth:`close` ends it.

    :param clock: the reactor, or a Clock.
    :ivar requests: what an agent on the Agent Client Protocol asks now, by id, oldest first.
    """

    def __init__(
        self,
        driver: AgentServerDriver,
        sink: ObservationSink,
        clock: IReactorTime,
        pace: Pace | None = None,
        known: Known | None = None,
    ) -> None:
        self._known = known or Known()
        self.status: AgentStatus | None = None
        self.connected = False
        self.quiet_turns = 0
        self.last_change = clock.seconds()
        self._driver, self._sink, self._clock, self._pace = driver, sink, clock, pace or Pace()
        self.requests: dict[str, AcpRequest] = {}
        self._messages: dict[int, Message] = {}
        self._untold: dict[int, Message] = {}
        self._errors: deque[tuple[str, str, datetime]] = deque(maxlen=ERRORS_KEPT)
        self._waits: list[_Wait] = []
        self._telling: IDelayedCall | None = None
        self._retrying: IDelayedCall | None = None
        self._failures = 0
        self._closed = False
        self._subscription: Subscription | None = None
        self._connect()

    @property
    def messages(self) -> Mapping[int, Message]:
        """Return the latest revision of each message, by id."""
        return self._messages

    def when(self, condition: Callable[[], bool]) -> Deferred[None]:
        """Return a Deferred that fires when *condition* is true, looked at after each event; cancel to forget it.

        It fails with the refusal ``SESSION_ENDED`` when the observer is closed first.
        """
        wait = _Wait(condition, Deferred(lambda _: self._waits.remove(wait) if wait in self._waits else None))
        if self._closed:
            wait.fired.errback(Refusal(SESSION_ENDED, "it is no longer observed"))
        elif condition():
            wait.fired.callback(None)
        else:
            self._waits.append(wait)
        return wait.fired

    def close(self) -> None:
        """Tell what is still untold, end the stream and fail the waits; a second call does nothing."""
        if self._closed:
            return
        self._tell_messages()
        self._closed = True
        self.connected = False
        if self._subscription is not None:
            self._subscription.close()
        if self._retrying is not None:
            self._retrying.cancel()
            self._retrying = None
        waits, self._waits = self._waits, []
        for wait in waits:
            wait.fired.errback(Refusal(SESSION_ENDED, "it is no longer observed"))

    # -- the sink of the driver's stream

    def opened(self) -> None:
        """Take note of the new stream."""
        self.connected = True
        self._sink.connection_changed(True, "")

    def event(self, event: AgentEvent) -> None:
        """Take one event and tell what is new in it."""
        if self._closed:
            return
        self._failures = 0
        if isinstance(event, StatusEvent):
            self._take_status(event.status)
        elif isinstance(event, MessageEvent):
            self._take_message(event.message)
        elif isinstance(event, ErrorEvent):
            self._take_error(event)
        elif isinstance(event, ExitEvent):
            self._sink.agent_error(event.why, "error")
        elif isinstance(event, KeysEvent):
            self._sink.keys_typed()
        elif isinstance(event, AskedEvent):
            self._take_requests({**self.requests, event.request.id: event.request})
        elif isinstance(event, PermittedEvent):
            self._take_requests({key: one for key, one in self.requests.items() if key != event.request})
        for wait in [wait for wait in self._waits if wait.condition()]:
            if wait in self._waits:
                self._waits.remove(wait)
                wait.fired.callback(None)

    def closed(self, why: str) -> None:
        """Open the stream again after a while."""
        self._subscription = None
        if self._closed:
            return
        self._take_requests({})
        self.status = None  # what happens meanwhile is not heard, so the next status is news whatever it is
        if self.connected:
            self.connected = False
            self._sink.connection_changed(False, why)
        delay = min(self._pace.first * 2 ** min(self._failures, 20), self._pace.longest)
        self._failures += 1
        self._retrying = self._clock.callLater(delay, self._connect)

    # -- steps

    def _connect(self) -> None:
        self._retrying = None
        if not self._closed:
            self._subscription = self._driver.events(self)

    def _take_status(self, status: AgentStatus) -> None:
        if status is AgentStatus.STABLE:
            self._take_requests({})  # they end with their turn
        if status is not self.status:
            self.status = status
            self.quiet_turns += status is AgentStatus.STABLE
            self._tell_messages()
            self._changed()
            self._sink.status_changed(status)

    def _take_requests(self, requests: dict[str, AcpRequest]) -> None:
        if requests != self.requests:
            self.requests = requests
            self._changed()
            self._sink.requests_changed()

    def _take_message(self, message: Message) -> None:
        if self._messages.get(message.id) == message:
            return
        self._messages[message.id] = message
        if self._known.messages.pop(message.id, None) == message:
            return
        self._untold[message.id] = message
        self._changed()
        if message.role == "user":
            self._tell_messages()
        elif self._telling is None:
            self._telling = self._clock.callLater(self._pace.coalesce, self._tell_messages)

    def _take_error(self, event: ErrorEvent) -> None:
        known = (event.text, event.level, event.time)
        if known not in self._errors:
            self._errors.append(known)
            if self._known.errors[known[:2]] > 0:
                self._known.errors[known[:2]] -= 1
                return
            self._sink.agent_error(event.text, event.level)

    def _changed(self) -> None:
        self.last_change = self._clock.seconds()

    def _tell_messages(self) -> None:
        if self._telling is not None and self._telling.active():
            self._telling.cancel()
        self._telling = None
        untold, self._untold = self._untold, {}
        for _id, message in sorted(untold.items()):
            self._sink.message_changed(message)
