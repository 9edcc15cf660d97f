"""A request of twisted.web as the gatekeeper sees it, and the answer as this face gives it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from twisted.web.http import Request

from agentproxy.auth.authenticator import Later
from agentproxy.auth.gatekeeper import Gatekeeper
from agentproxy.errors import UNAUTHENTICATED, Refusal
from agentproxy.model.principal import Principal


@dataclass(slots=True)
class Kept:
    """See :class:`agentproxy.auth.showing.Shown`."""

    shown: Any = None


@dataclass(frozen=True, slots=True)
class AskingRequest:
    """See :class:`agentproxy.auth.showing.Asking`."""

    method: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    peer: str
    secure: bool
    fields: Kept = field(default_factory=Kept, compare=False)

    def get(self, name: bytes) -> bytes | None:
        """Return the first value of the header; ``name`` is in lower case."""
        return next((value for key, value in self.headers if key.lower() == name), None)

    @classmethod
    def of(cls, request: Request) -> AskingRequest:
        """Return what *request* shows."""
        headers = tuple((name, value) for name, values in request.requestHeaders.getAllRawHeaders() for value in values)
        peer = str(getattr(request.getClientAddress(), "host", "") or "")
        return cls(request.method, headers, peer, bool(request.isSecure()))


async def identify(gatekeeper: Gatekeeper, request: Request) -> Principal:
    """Return who asks, with the address.

    :raises Refusal: UNAUTHENTICATED and what else :class:`Gatekeeper` says.
    """
    asking = AskingRequest.of(request)
    answer = gatekeeper.identify(asking)
    if isinstance(answer, Later):
        decided = await answer.decided()
        answer = Refusal(UNAUTHENTICATED) if decided is None else decided
    if isinstance(answer, Refusal):
        raise answer
    return gatekeeper.from_address(answer, asking)
