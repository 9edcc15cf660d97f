"""One line for each request of ours in the log. What can open something is not in it: links, queries and referring pages."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from twisted.logger import Logger
from twisted.web.http import Request
from twisted.web.server import Site

from agentproxy.web.routing import id_of
from agentproxy.web.site import JsonRequest

log = Logger()
_LINK = re.compile(rb"/s/", re.IGNORECASE)
_SESSION = re.compile(r"/sessions/([0-9a-f-]{36})(?:/|$)")


def shown_target(target: bytes) -> str:
    """Return a request target without its query and without the token of a share link, also one behind a wrong prefix."""
    path, mark, _query = target.partition(b"?")
    if _LINK.search(unquote_to_bytes(path)):
        path = b"/s/..."
    return path.decode("utf-8", "replace")[:500] + ("?..." if mark else "")


class LoggingSite(Site):
    """A site whose requests are told to the log, with their ids."""

    noisy = False
    requestFactory = JsonRequest  # noqa: N815 - the name that twisted.web reads

    def log(self, request: Request) -> None:
        """Write the line of a request that has been answered."""
        target = _printable(shown_target(request.uri))
        session = _SESSION.match(target)
        log.info(
            "{address} {method} {target} {status} {size} {agent}",
            address=getattr(request.getClientAddress(), "host", None) or "-",
            method=_printable(request.method.decode("ascii", "replace")),
            target=target,
            status=request.code,
            size=request.sentLength or "-",
            agent=_printable((request.getHeader(b"user-agent") or b"-").decode("utf-8", "replace")[:200]),
            request=id_of(request),
            session=session[1] if session else None,
        )


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
