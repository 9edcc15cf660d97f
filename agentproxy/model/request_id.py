"""The id of a request: the client's ``X-Request-ID`` where it sends a good one, else one of ours.

It stands in the answer, in what is sent on to the agent server, and in the log. A good one has 1 to 128 letters, digits and
``-._~:/+=@``: nothing that could end a line of a log or of a head.
"""

from __future__ import annotations

import re
import secrets
from itertools import count

HEADER = b"X-Request-ID"
_GOOD = re.compile(rb"[A-Za-z0-9._~:/+=@-]{1,128}")
_FIRST = secrets.token_hex(5).encode("ascii")
_numbers = count(1)


def request_id(given: bytes | None) -> bytes:
    """Return what the client calls its request, or a new name when it gives none or a bad one."""
    if given is not None and _GOOD.fullmatch(given):
        return given
    return b"%s-%x" % (_FIRST, next(_numbers))
