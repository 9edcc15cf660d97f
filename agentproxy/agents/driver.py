"""What every driver of an agent server can do, and what its answers allow the caller to do next.

The outcomes of :meth:`AgentServerDriver.send_user` are made for the one rule that matters: a message is never typed twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from agentproxy.model.approval import AcpRequest
from agentproxy.model.message import Message
from agentproxy.model.session import AgentStatus


@dataclass(frozen=True, slots=True)
class Sent:
    """The agent server took it."""


@dataclass(frozen=True, slots=True)
class Busy:
    """The agent does not wait for input. Nothing was typed: sending again later is safe."""


@dataclass(frozen=True, slots=True)
class TypedNotEntered:
    """The text stands in the agent's input line, Enter was not pressed. Sending again would type it behind the first."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """It may or may not have been typed or entered: never send again, look at the stream. *why* is a sentence."""

    why: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The agent server does not take this text; nothing was typed and sending the same again is of no use."""

    why: str


@dataclass(frozen=True, slots=True)
class Unreachable:
    """No connection to the agent server: nothing was sent."""

    why: str


Outcome = Sent | Busy | TypedNotEntered | Unknown | Refused | Unreachable


@dataclass(frozen=True, slots=True)
class StatusEvent:
    """The agent server says that its agent is running or stable; also once after the replay of a new stream."""

    status: AgentStatus


@dataclass(frozen=True, slots=True)
class MessageEvent:
    """A message is new or has changed; its rows carry no trailing spaces."""

    message: Message


@dataclass(frozen=True, slots=True)
class ErrorEvent:
    """The agent server reports an error of level ``warning`` or ``error``; replayed on each new stream."""

    text: str
    level: str
    time: datetime


@dataclass(frozen=True, slots=True)
class ExitEvent:
    """The agent program has ended (the embedded agent server alone says so). *why* is a sentence."""

    why: str


@dataclass(frozen=True, slots=True)
class AskedEvent:
    """An agent on the Agent Client Protocol asks leave for something; replayed on each new stream while it stands."""

    request: AcpRequest


@dataclass(frozen=True, slots=True)
class PermittedEvent:
    """What was asked with the id *request* is answered."""

    request: str


@dataclass(frozen=True, slots=True)
class KeysEvent:
    """Somebody has typed keys at the agent's terminal, past the server (the embedded agent server alone says so)."""


AgentEvent = StatusEvent | MessageEvent | ErrorEvent | ExitEvent | AskedEvent | PermittedEvent | KeysEvent


class EventSink(Protocol):
    """Who listens to a stream of events."""

    def opened(self) -> None:
        """The stream is connected; the replay follows."""

    def event(self, event: AgentEvent) -> None:
        """One event has come."""

    def closed(self, why: str) -> None:
        """The stream has ended or could not be opened; called once, and not after the subscription was closed."""


class Subscription(Protocol):
    """An open stream."""

    def close(self) -> None:
        """End it; the sink hears nothing more. A second call does nothing."""


class AgentServerDriver(Protocol):
    """Speaks to one running agent server. Every request has a deadline in seconds.

    What asks for an answer raises the refusals ``AGENT_UNREACHABLE`` and ``AGENT_TIMEOUT``. ``status`` and ``messages``
    block in the real agentapi while a message is typed: a path that a user waits for uses the stream instead.
    """

    async def status(self) -> AgentStatus:
        """Return what the agent server says of its agent."""

    async def messages(self) -> tuple[Message, ...]:
        """Return the whole transcript."""

    async def send_user(self, text: str, deadline: float) -> Outcome:
        """Type *text* as the user's message and enter it."""

    async def send_raw(self, keys: str, deadline: float = 5.0) -> Outcome:
        """Write *keys* to the agent's terminal as they are."""

    async def screen(self) -> str:
        """Return the text of the agent's screen, rows joined by LF."""

    def events(self, sink: EventSink) -> Subscription:
        """Open the stream of events."""

    async def interrupt(self, keys: Sequence[str]) -> Outcome:
        """Interrupt the agent's turn; *keys* are its interrupt keys from the catalogue."""

    async def permit(self, request: str, option: str) -> Outcome:
        """Answer what the agent asks over its protocol with an offered option; ``Refused`` when it does not ask it now."""

    async def answers(self) -> bool:
        """Return whether the agent server answers as ours: a probe with a short deadline, no refusals."""

    async def close(self) -> None:
        """End every connection and stream; a second call does nothing."""
