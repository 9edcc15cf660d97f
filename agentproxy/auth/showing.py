"""What a request shows of who sends it: read once out of its headers; no decision here.

| Where | Place |
|---|---|
| the configured key header (``X-API-Key``) | ``key`` |
| ``Authorization: Bearer X`` | ``bearer`` |
| ``Authorization: token X`` | ``token`` |
| ``Authorization: X`` | ``raw`` |
| another configured header (a GitHub token's) | ``other`` |
| ``X-Session-ID`` | ``session`` |
| our cookie | ``cookie`` |
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from agentproxy.model.credentials import digest

COOKIE = b"agentproxy_session"
SESSION_HEADER = b"x-session-id"
_LONGEST = 8192
_REMEMBERED = 2048


class Shown(Protocol):
    """Headers that are shared by the requests that repeat them.

    :ivar shown: the secrets that a :class:`Reader` has read of them, None before; for the one reader of a server.
    """

    shown: Any


class Asking(Protocol):
    """A request, as the gateway's head and the web's request show it."""

    @property
    def method(self) -> bytes:
        """Return the method."""

    @property
    def headers(self) -> Iterable[tuple[bytes, bytes]]:
        """Return names as sent and values, in order."""

    def get(self, name: bytes, /) -> bytes | None:
        """Return the first value of the header; ``name`` is in lower case."""

    @property
    def fields(self) -> Shown:
        """Return what keeps, with these very headers, what was read of them."""

    @property
    def peer(self) -> str:
        """Return the address of the other end of the connection."""

    @property
    def secure(self) -> bool:
        """Return whether it came over TLS."""


@dataclass(frozen=True, slots=True)
class Credential:
    """One secret of a request; its representation shows no secret.

    :param place: where it stood; see the module.
    :param header: the header's name in lower case.
    :param digest: its SHA-256.
    """

    place: str
    header: bytes
    value: str
    digest: str

    def __repr__(self) -> str:
        """Return the place only."""
        return f"Credential({self.place})"


def _credential(place: str, header: bytes, value: bytes) -> Credential | None:
    if not value or len(value) > _LONGEST:
        return None
    text = value.decode("utf-8", "surrogateescape")
    return Credential(place, header, text, digest(text))


def _authorization(value: bytes) -> Credential | None:
    scheme, _, rest = value.partition(b" ")
    place = {b"bearer": "bearer", b"token": "token", b"basic": "basic"}.get(scheme.lower())
    if place is None or not rest:
        return _credential("raw", b"authorization", value.strip())
    return _credential(place, b"authorization", rest.strip())


def _cookie(value: bytes) -> bytes:
    for part in value.split(b";"):
        name, _, content = part.strip().partition(b"=")
        if name == COOKIE:
            return content.strip(b'"')
    return b""


class Reader:
    """Reads the secrets of requests, and remembers what the latest ones were: the same client asks again and again.

    :param key_header: name of the key header, in lower case.
    :param others: names of further headers that carry a secret, in lower case.
    """

    def __init__(self, key_header: bytes, others: frozenset[bytes] = frozenset()) -> None:
        usual = (b"authorization", *sorted(others), SESSION_HEADER, b"cookie")
        self._names = usual if key_header in usual else (key_header, *usual)
        self._key_header = key_header
        self._read: dict[tuple[bytes | None, ...], tuple[Credential, ...]] = {}

    def credentials(self, asking: Asking) -> tuple[Credential, ...]:
        """Return the secrets of a request in the order in which they count."""
        fields = asking.fields
        known: tuple[Credential, ...] | None = fields.shown
        if known is None:
            known = fields.shown = self._read_again(asking)
        return known

    def _read_again(self, asking: Asking) -> tuple[Credential, ...]:
        values = tuple(map(asking.get, self._names))
        found = self._read.get(values)
        if found is None:
            read = (
                self._one(name, value) for name, value in zip(self._names, values, strict=True) if value is not None
            )
            found = tuple(one for one in read if one is not None)
            if len(self._read) >= _REMEMBERED:
                self._read.clear()
            if sum(len(value) for value in values if value is not None) < _LONGEST:
                self._read[values] = found
        return found

    def _one(self, name: bytes, value: bytes) -> Credential | None:
        if name == b"authorization":
            return _authorization(value)
        if name == b"cookie":
            return _credential("cookie", name, _cookie(value)) if COOKIE in value else None
        place = "key" if name == self._key_header else "session" if name == SESSION_HEADER else "other"
        return _credential(place, name, value.strip())


def forwarded(asking: Asking) -> list[str]:
    """Return the hops of ``X-Forwarded-For``, the client's first."""
    values = [value.decode("latin-1") for name, value in asking.headers if name.lower() == b"x-forwarded-for"]
    return [hop.strip() for value in values for hop in value.split(",")]
