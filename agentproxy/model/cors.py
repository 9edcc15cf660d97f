"""Which web origins may read our answers, and the headers that say so.

One rule for the faces and the gateway. Without a list, pages of this very machine are allowed: ``http`` or ``https``, host
``localhost``, ``127.0.0.1`` or ``[::1]``, any port. Origins are compared whole or parsed, never by prefix.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

METHODS = b"GET, HEAD, PUT, PATCH, POST, DELETE, OPTIONS"
REQUEST_HEADERS = (
    b"Origin, Content-Type, Accept, Authorization, X-Requested-With, X-Forwarded-For, X-Forwarded-Proto, "
    b"X-Forwarded-Host, X-API-Key, X-Session-ID, Idempotency-Key, Last-Event-ID, X-Request-ID"
)
EXPOSED_HEADERS = b"Retry-After, X-Request-ID"
MAX_AGE = b"86400"

_LOCAL = re.compile(r"https?://(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class CorsRules:
    """The origins that may use us from a page.

    :param origins: exact origins such as ``https://ui.example.org``; None means pages of this machine.
    :param trust_agents: pages that agent servers answer with are pages of ours.
    """

    origins: frozenset[str] | None = None
    trust_agents: bool = False

    def allows(self, origin: str) -> bool:
        """Return whether a page of ``origin`` may read our answers."""
        if self.origins is None:
            return _LOCAL.fullmatch(origin) is not None
        return origin in self.origins

    def headers(self, origin: bytes | None) -> list[tuple[bytes, bytes]]:
        """Return the CORS headers of an answer to a request with this ``Origin``; ``Vary`` always."""
        headers = [(b"Vary", b"Origin")]
        if origin is not None and self.allows(origin.decode("latin-1")):
            headers += [
                (b"Access-Control-Allow-Origin", origin),
                (b"Access-Control-Allow-Credentials", b"true"),
                (b"Access-Control-Expose-Headers", EXPOSED_HEADERS),
            ]
        return headers

    def preflight(self, origin: bytes | None) -> list[tuple[bytes, bytes]]:
        """Return the headers of the 204 that answers a preflight; an origin not allowed gets ``Vary`` alone."""
        headers = self.headers(origin)
        if len(headers) > 1:
            headers += [
                (b"Access-Control-Allow-Methods", METHODS),
                (b"Access-Control-Allow-Headers", REQUEST_HEADERS),
                (b"Access-Control-Max-Age", MAX_AGE),
            ]
        return headers
