"""Which agent server a request is for: the seam between the gateway and whoever knows the sessions."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred

from agentproxy.errors import AMBIGUOUS_REQUEST, Refusal
from agentproxy.gateway.head import Head
from agentproxy.model.backend import Backend

_SESSION = re.compile(rb"/([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})(?=[/?]|$)")
_SEPARATORS = re.compile(rb"/|\\|%2f|%5c", re.IGNORECASE)
_DOT = re.compile(rb"%2e", re.IGNORECASE)


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


def session_id_of(target: bytes) -> str | None:
    """Return the session whose path the request target (origin form) names, None when it is nobody's.

    An id is the first segment, a UUID in lower case, written plainly: an encoded one is no id.
    """
    match = _SESSION.match(target)
    return match[1].decode("ascii") if match else None


def agent_target(target: bytes) -> bytes:
    """Return the request target as the agent server sees it: without the session, else byte for byte.

    :raises Refusal: AMBIGUOUS_REQUEST when dot segments, plain or encoded, climb out of the session.
    """
    rest = target[37:]
    if b"." not in rest and b"%" not in rest and rest[:1] == b"/":
        return rest  # nothing in it can climb
    depth = 0
    for segment in _SEPARATORS.split(rest.partition(b"?")[0])[1:]:
        plain = _DOT.sub(b".", segment)
        depth += -1 if plain == b".." else 0 if plain in (b".", b"") else 1
        if depth < 0:
            raise Refusal(AMBIGUOUS_REQUEST, "the path leaves its session")
    return rest if rest.startswith(b"/") else b"/" + rest
