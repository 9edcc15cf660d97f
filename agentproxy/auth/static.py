"""Keys that are written down: the ``auth.static`` block and its ``keys_file``.

A file that cannot be read, or has a wrong entry, changes nothing: the keys from before go on, and the log says why. A key whose
time cannot be read is refused.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from agentproxy.auth.authenticator import Answer, Later
from agentproxy.auth.hashes import WEAK, Scrypt, scrypt_of, sha256_of
from agentproxy.auth.ring import ANYWHERE, Key, Ring
from agentproxy.auth.showing import Credential
from agentproxy.errors import TOO_MANY_REQUESTS, Refusal
from agentproxy.model.permission import ROLES, effective, problem
from agentproxy.model.principal import Principal

log = Logger()
_WAITING = 50


@dataclass(frozen=True, slots=True)
class StaticKey:
    """One entry, as the configuration or the file has it."""

    key: str
    user_id: str
    role: str = "user"
    permissions: tuple[str, ...] = ()
    expires_at: str | None = None
    teams: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one reading: those known by SHA-256, and the slow ones."""

    quick: Mapping[str, Key]
    slow: tuple[tuple[Scrypt, Key], ...]


def keys_of_file(path: Path) -> list[StaticKey]:
    """Return the entries of a ``keys_file``. Blocking.

    :raises ValueError, OSError: it cannot be read; no secret is in the sentence.
    """
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["api_keys"]
    except (KeyError, TypeError, ValueError):
        raise ValueError(f'{path}: expected {{"api_keys": [...]}} in JSON') from None
    if not isinstance(rows, list):
        raise ValueError(f"{path}: api_keys: expected a list")
    return [_entry(row, f"{path}: api_keys[{number}]") for number, row in enumerate(rows)]


def _entry(row: Any, place: str) -> StaticKey:
    if not isinstance(row, dict) or not all(isinstance(row.get(n), str) and row[n] for n in ("key", "user_id")):
        raise ValueError(f"{place}: expected an object with key and user_id")
    permissions, role, expires = row.get("permissions") or [], row.get("role") or "user", row.get("expires_at")
    teams = row.get("teams") or []
    for name, value in (("permissions", permissions), ("teams", teams)):
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise ValueError(f"{place}.{name}: expected a list of texts")
    if not isinstance(role, str) or not (expires is None or isinstance(expires, str)):
        raise ValueError(f"{place}: role and expires_at must be texts")
    return StaticKey(row["key"], row["user_id"], role, tuple(permissions), expires or None, tuple(teams))


def read_keys(entries: Iterable[StaticKey], roles: Mapping[str, frozenset[str]] = ROLES) -> Keys:
    """Return the keys of entries.

    :raises ValueError: an entry is wrong, or a key stands twice; the sentence names its place and user.
    """
    quick: dict[str, Key] = {}
    slow: list[tuple[Scrypt, Key]] = []
    for number, one in enumerate(entries):
        place = f"api_keys[{number}] of {one.user_id}"
        for permission in one.permissions:
            if (sentence := problem(permission)) is not None:
                raise ValueError(f"{place}: {sentence}")
        permissions = effective(one.role, one.permissions, roles)
        principal = Principal(
            one.user_id, one.role, permissions, frozenset(one.teams), source="static", credential=f"static:{number}"
        )
        key = Key(principal, _until(one.expires_at, place))
        try:
            digest = sha256_of(one.key)
            if digest is None:
                slow.append((scrypt_of(one.key), key))
                continue
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from None
        if len(one.key) < WEAK:
            log.warn("The key {place} is short and can be guessed; use a random one of 32 characters", place=place)
        if digest in quick:
            raise ValueError(f"{place}: the same key stands there twice")
        quick[digest] = key
    return Keys(quick, tuple(slow))


def _until(text: str | None, place: str) -> float | None:
    if not text:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        log.warn("The key {place} is refused: its expires_at is no time", place=place)
        return 0.0
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


class StaticKeys:
    """The authenticator of static keys.

    :param source: reads the entries again; blocks.
    :param changed: told when a key was added, changed or removed.
    """

    def __init__(
        self,
        source: Callable[[], Iterable[StaticKey]],
        roles: Mapping[str, frozenset[str]] = ROLES,
        changed: Callable[[], None] = lambda: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._source = source
        self._roles = roles
        self._changed = changed
        self._now = now
        self._ring = Ring((("api_key", "API Key"),), now=now)
        self._slow: tuple[tuple[Scrypt, Key], ...] = ()
        self._one_at_a_time = DeferredSemaphore(1)
        self._waiting = 0

    def read(self) -> Keys:
        """Return the keys as they are written now. Blocking.

        :raises ValueError, OSError: something is wrong with them.
        """
        return read_keys(self._source(), self._roles)

    def use(self, keys: Keys) -> None:
        """Know these keys and no others."""
        slow_changed, self._slow = keys.slow != self._slow, keys.slow
        if self._ring.replace(keys.quick) or slow_changed:
            self._changed()

    def __len__(self) -> int:
        """Return how many keys are known."""
        return len(self._ring) + len(self._slow)

    def principals(self) -> Sequence[Principal]:
        """Return whom the keys stand for, one for each key."""
        slow = [key.principal for _hash, key in self._slow if key.until is None or key.until > self._now()]
        return list(dict.fromkeys([*self._ring.principals(), *slow]))

    def types(self) -> Sequence[tuple[str, str]]:
        """See :class:`Authenticator`."""
        return self._ring.types()

    def look(self, credential: Credential) -> Answer:
        """See :class:`Authenticator`."""
        found = self._ring.look(credential)
        if found is not None or not self._slow or credential.place not in ANYWHERE:
            return found
        if self._waiting >= _WAITING:
            return Refusal(TOO_MANY_REQUESTS, "too many keys are being checked", retry_after=2.0)
        return Later(lambda: Deferred.fromCoroutine(self._check(credential)))

    async def _check(self, credential: Credential) -> Principal | Refusal | None:
        self._waiting += 1
        try:
            return await self._one_at_a_time.run(lambda: Deferred.fromCoroutine(self._match(credential)))
        finally:
            self._waiting -= 1

    async def _match(self, credential: Credential) -> Principal | Refusal | None:
        found = self._ring.look(credential)  # somebody else may have shown it meanwhile
        if found is not None and not isinstance(found, Later):
            return found
        slow = self._slow
        index = await deferToThread(_first_match, slow, credential.value)
        if index is None or slow != self._slow:
            return None
        self._ring.add(credential.digest, slow[index][1])
        answer = self._ring.look(credential)
        return None if isinstance(answer, Later) else answer


def _first_match(slow: Sequence[tuple[Scrypt, Key]], key: str) -> int | None:
    return next((number for number, (one, _key) in enumerate(slow) if one.matches(key)), None)
