"""Which agent server a request is for: the seam between the gateway and whoever knows the sessions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred

from agentproxy.errors import Refusal
from agentproxy.gateway.head import Head
from agentproxy.model.backend import Backend


@dataclass(frozen=True, slots=True)
class Waiting:
    """Not decided yet: the session starts, or the caller's key is being looked up.

    :param decided: asked once; the gateway applies its own deadline and cancels the Deferred.
    """

    decided: Callable[[], Deferred[Backend | Guarded | Refusal]]


@dataclass(frozen=True, slots=True)
class Guarded:
    """The body of the request decides, read ahead as far as other bodies are.

    :param decide: asked once with the whole body, or with None for one that is longer, or in chunks, or not sent yet; the
        gateway applies no deadline of its own and cancels the Deferred when the client goes.
    """

    decide: Callable[[bytes | None], Deferred[Backend | Refusal]]


class SessionDirectory(Protocol):
    """What the gateway asks about sessions; answers come out of memory."""

    def find(self, session_id: str, head: Head) -> Backend | Waiting | Guarded | Refusal:
        """Return the agent server of the session, the permission decision for this request included."""

    def explain(self, session_id: str, failure: str) -> Refusal:
        """Return why the agent server that was found does not answer; ``failure`` is what the gateway saw."""
