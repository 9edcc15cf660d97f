"""Requests as the gatekeeper sees them."""

from __future__ import annotations

from dataclasses import dataclass, field

from agentproxy.web.asking import Kept


@dataclass(frozen=True)
class Asked:
    """A request with these headers; ``get`` as the real ones have it."""

    headers: tuple[tuple[bytes, bytes], ...] = ()
    method: bytes = b"GET"
    peer: str = "192.0.2.1"
    secure: bool = False
    fields: Kept = field(default_factory=Kept)

    def get(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.headers if key.lower() == name), None)


def asked(method: str = "GET", peer: str = "192.0.2.1", secure: bool = False, **headers: str) -> Asked:
    """Return a request; keyword arguments are headers, ``_`` for ``-``; ``Host`` is there unless given."""
    given = {"host": "proxy.example.org", **headers}
    pairs = tuple((name.replace("_", "-").encode(), value.encode()) for name, value in given.items())
    return Asked(pairs, method.encode(), peer, secure)
