"""What the parts of the gateway share: the relay's surroundings and the two sides of an exchange."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from typing import Protocol as Shape

from twisted.internet.interfaces import IReactorTime

from agentproxy.errors import Refusal
from agentproxy.gateway import rules
from agentproxy.gateway.head import AnswerHead
from agentproxy.gateway.options import GatewayCounts, GatewayOptions
from agentproxy.gateway.remembering import Memory
from agentproxy.gateway.routes import SessionDirectory
from agentproxy.gateway.upstream import AgentPool
from agentproxy.model.cors import CorsRules

if TYPE_CHECKING:
    from agentproxy.gateway.tunnel import Tunnel

SWEEP = 1.0
"""Seconds between two looks at the deadlines."""


@dataclass(slots=True)
class Relay:
    """What all exchanges share.

    :param moment: a time that is not before now and at most :data:`SWEEP` after it: what is stamped with it meets its
        deadline late by that, never early, and no request asks for the time.
    """

    reactor: IReactorTime
    directory: SessionDirectory
    options: GatewayOptions
    cors: CorsRules
    credentials: rules.CredentialRules
    counts: GatewayCounts
    pool: AgentPool
    moment: float = 0.0
    requests: Memory = field(default_factory=Memory)
    answers: Memory = field(default_factory=Memory)

    def __post_init__(self) -> None:
        """Set the moment."""
        self.tick()

    def tick(self) -> float:
        """Move the moment on and return the time."""
        now = self.reactor.seconds()
        self.moment = now + SWEEP
        return now


class ClientSide(Shape):
    """Who sent the request."""

    bare: bool
    """The client wants the payload of chunked answers without the chunks."""

    def begin(self, answer: AnswerHead, close: bool, body: bytes) -> None:
        """Send a head and what has come of its body; called for interim answers too."""

    def switch(self, answer: AnswerHead, data: bytes, tunnel: Tunnel) -> None:
        """Send the head of a switch of protocols and what came behind it; the tunnel has the connection from now on."""

    def write(self, data: bytes) -> None:
        """Send bytes of the body, or of the tunnel."""

    def finish(self, close: bool) -> None:
        """The answer is complete."""

    def refuse(self, refusal: Refusal, close: bool) -> None:
        """Answer with a refusal; nothing has been answered before."""

    def abort(self) -> None:
        """End the connection so that a truncated answer is seen as one."""

    def hold(self, held: bool) -> None:
        """Stop reading from the client, or go on."""

    def end_writing(self) -> None:
        """Half-close a tunnel."""

    def has_left(self) -> bool:
        """Return whether the client has gone while it was not read from."""
