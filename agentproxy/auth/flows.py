"""Log-ins under way: what was agreed before somebody was sent to a provider, kept until they come back.

A state is random, bound to its provider and return address, used once, and forgotten after 15 minutes. One that was begun in a
browser is bound to that browser by a cookie, so that nobody can be logged in as somebody else by a link.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

LASTS = 900.0
MOST = 10_000


@dataclass(frozen=True, slots=True)
class Flow:
    """One log-in under way.

    :param redirect_uri: where the provider sends the browser back to.
    :param verifier: PKCE's secret.
    :param nonce: what an id token must repeat.
    :param browser: digest of the cookie of the browser that began it, None for a program.
    :param next: local path where the browser goes afterwards.
    """

    provider: str
    redirect_uri: str
    verifier: str
    nonce: str
    browser: str | None = None
    next: str = "/"

    @property
    def challenge(self) -> str:
        """Return PKCE's challenge (S256)."""
        return base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).rstrip(b"=").decode()

    def is_of(self, cookie: str | None) -> bool:
        """Return whether this browser began it."""
        if self.browser is None:
            return True
        return hmac.compare_digest(self.browser, hashlib.sha256((cookie or "").encode()).hexdigest())


class Flows:
    """All log-ins under way.

    :param now: seconds of a clock.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._open: OrderedDict[str, tuple[float, Flow]] = OrderedDict()

    def begin(self, provider: str, redirect_uri: str, cookie: str | None = None, next: str = "/") -> tuple[str, Flow]:  # noqa: A002
        """Return the state of a new log-in, and what belongs to it."""
        browser = None if cookie is None else hashlib.sha256(cookie.encode()).hexdigest()
        flow = Flow(provider, redirect_uri, secrets.token_urlsafe(48), secrets.token_urlsafe(16), browser, next)
        state = secrets.token_urlsafe(32)
        self._open[state] = (self._now(), flow)
        while len(self._open) > MOST:
            self._open.popitem(last=False)
        return state, flow

    def take(self, state: str) -> Flow | None:
        """Return the log-in of a state, once; None when there is none or it is too old."""
        begun, flow = self._open.pop(state, (0.0, None))
        return flow if flow is not None and self._now() - begun < LASTS else None


def is_local_path(path: str) -> bool:
    """Return whether *path* leads to this server and nowhere else, whatever a browser makes of it."""
    plain = all(32 < ord(character) < 127 for character in path)
    return plain and path.startswith("/") and not path.startswith(("//", "/\\")) and "\\" not in path
