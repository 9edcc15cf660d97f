"""Keys in memory, by the SHA-256 of the secret: a look-up takes the same time whether or not, and how nearly, it matches."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from agentproxy.auth.authenticator import Answer
from agentproxy.auth.showing import Credential
from agentproxy.errors import UNAUTHENTICATED, Refusal
from agentproxy.model.principal import Principal

ANYWHERE = frozenset({"key", "bearer", "raw", "token"})


@dataclass(frozen=True, slots=True)
class Key:
    """Whom a key stands for, and until when (seconds since 1970); None is for ever."""

    principal: Principal
    until: float | None = None


class Ring:
    """A set of keys (an :class:`Authenticator`).

    :param shown_types: what ``GET /auth/types`` says.
    :param places: where in a request its keys may stand.
    :param now: seconds since 1970.
    """

    def __init__(
        self,
        shown_types: Sequence[tuple[str, str]] = (),
        places: frozenset[str] = ANYWHERE,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._types = tuple(shown_types)
        self._places = places
        self._now = now
        self._keys: dict[str, Key] = {}

    def replace(self, keys: Mapping[str, Key]) -> bool:
        """Know these keys, by digest, and no others; return whether that changed anything."""
        changed = keys != self._keys
        self._keys = dict(keys)
        return changed

    def add(self, digest: str, key: Key) -> None:
        """Know one more."""
        self._keys[digest] = key

    def remove(self, digest: str) -> None:
        """Forget one; twice does no harm."""
        self._keys.pop(digest, None)

    def __len__(self) -> int:
        """Return how many keys are known."""
        return len(self._keys)

    def principals(self) -> Sequence[Principal]:
        """Return whom the keys stand for that have not expired, one for each key."""
        now = self._now()
        return [key.principal for key in self._keys.values() if key.until is None or key.until > now]

    def look(self, credential: Credential) -> Answer:
        """See :class:`Authenticator`."""
        if credential.place not in self._places:
            return None
        key = self._keys.get(credential.digest)
        if key is None:
            return None
        if key.until is not None and key.until <= self._now():
            return Refusal(UNAUTHENTICATED)
        return key.principal

    def types(self) -> Sequence[tuple[str, str]]:
        """See :class:`Authenticator`."""
        return self._types
