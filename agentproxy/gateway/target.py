"""Which session a request target names, and what its agent server sees of it; pure."""

from __future__ import annotations

import re

from agentproxy.errors import AMBIGUOUS_REQUEST, Refusal

_SESSION = re.compile(rb"/([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})(?=[/?]|$)")
_SEPARATORS = re.compile(rb"/|\\|%2f|%5c", re.IGNORECASE)
_DOT = re.compile(rb"%2e", re.IGNORECASE)


def session_id_of(target: bytes) -> str | None:
    """Return the session whose path the request target (origin form) names, None when it is nobody's.

    An id is the first segment, a UUID in lower case, written plainly: an encoded one is no id.
    """
    match = _SESSION.match(target)
    return match[1].decode("ascii") if match else None


def agent_target(target: bytes) -> bytes:
    """Return the request target as the agent server sees it: without the session, else byte for byte.

    :raises Refusal: AMBIGUOUS_REQUEST when dot segments, plain or encoded, climb out of the session.
    """
    rest = target[37:]
    if b"." not in rest and b"%" not in rest and rest[:1] == b"/":
        return rest  # nothing in it can climb
    depth = 0
    for segment in _SEPARATORS.split(rest.partition(b"?")[0])[1:]:
        plain = _DOT.sub(b".", segment)
        depth += -1 if plain == b".." else 0 if plain in (b".", b"") else 1
        if depth < 0:
            raise Refusal(AMBIGUOUS_REQUEST, "the path leaves its session")
    return rest if rest.startswith(b"/") else b"/" + rest
