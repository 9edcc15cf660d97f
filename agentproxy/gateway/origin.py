"""What an agent server may not do to our web origin: its answers come under it, and whoever controls the agent may control them.

A page of an agent would be a page of ours: it could use the cookie of whoever opens it, an administrator's too. So what a browser
could show as a page is sandboxed: its scripts run, but as those of a stranger. Headers that change something for the whole origin,
and our own cookies, are removed.
"""

from __future__ import annotations

import re

from agentproxy.gateway.head import Fields

WHOLE_ORIGIN = frozenset(
    {
        b"clear-site-data",
        b"service-worker-allowed",
        b"alt-svc",
        b"strict-transport-security",
        b"nel",
        b"report-to",
        b"reporting-endpoints",
    }
)
"""Headers of answers that speak for every page of an origin."""
OUR_COOKIES = b"agentproxy_"
"""How the cookies begin by which an agent server would log somebody in as somebody else."""
SANDBOX = (
    b"X-Content-Type-Options: nosniff\r\n"
    b"Content-Security-Policy: sandbox allow-downloads allow-forms allow-modals allow-popups allow-scripts\r\n"
)
_DATA = re.compile(
    rb"(?:application/(?:[\w.-]+\+)?json|application/octet-stream|text/(?:event-stream|plain|css|csv)"
    rb"|image/(?!svg)[\w.+-]+|(?:audio|video|font)/[\w.+-]+)[ \t]*(?:;.*)?",
    re.IGNORECASE | re.DOTALL,
)


def is_page(fields: Fields) -> bool:
    """Return whether a browser could show an answer as a page; in doubt it could."""
    kinds = fields.values(b"content-type")
    return len(kinds) != 1 or _DATA.fullmatch(kinds[0].strip()) is None
