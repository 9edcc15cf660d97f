"""The seam for every way to recognise somebody: a credential in, a principal out, from memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred

from agentproxy.auth.showing import Credential
from agentproxy.errors import Refusal
from agentproxy.model.principal import Principal


@dataclass(frozen=True, slots=True)
class Later:
    """Not known in memory: somebody has to be asked.

    :param decided: asked once; the Deferred may be cancelled and gives a principal, a refusal, or None for "not mine".
    """

    decided: Callable[[], Deferred[Principal | Refusal | None]]


Answer = Principal | Refusal | Later | None
"""Who it is; why it is nobody although the credential is this authenticator's; ask later; or "not mine"."""


class Authenticator(Protocol):
    """One way to recognise somebody."""

    def look(self, credential: Credential) -> Answer:
        """Return who shows this credential; never waits, never raises."""

    def types(self) -> Sequence[tuple[str, str]]:
        """Return what ``GET /auth/types`` says of it: pairs of a type and a name for people."""
