"""One line for each request of ours in the log. What can open something is not in it: links, queries and referring pages."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from twisted.web.http import Request
from twisted.web.iweb import IAccessLogFormatter
from zope.interface import provider

_LINK = re.compile(rb"/+s/")


def shown_target(target: bytes) -> str:
    """Return a request target without its query and without the token of a share link."""
    path, mark, _query = target.partition(b"?")
    if _LINK.match(unquote_to_bytes(path)):
        path = b"/s/..."
    return path.decode("utf-8", "replace")[:500] + ("?..." if mark else "")


@provider(IAccessLogFormatter)
def access_line(timestamp: str, request: Request) -> str:
    """Return the line of a request."""
    address = getattr(request.getClientAddress(), "host", None) or "-"
    agent = (request.getHeader(b"user-agent") or b"-").decode("utf-8", "replace")[:200]
    method = request.method.decode("ascii", "replace")
    line = (
        f"{address} {timestamp} {method} {shown_target(request.uri)} {request.code} {request.sentLength or '-'} {agent}"
    )
    return "".join(character if character.isprintable() else "?" for character in line)
