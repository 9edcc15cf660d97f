"""Room for many connections: every forwarded stream needs two descriptors, and the usual soft limit is 1024."""

from __future__ import annotations

import resource

MOST = 1 << 17
"""Enough for any gateway of one process; some programs walk through all that they might have open."""


def make_room() -> int:
    """Raise the soft limit of open descriptors as far as the hard one lets us, and return it; it is never lowered.

    Programs that are started later inherit it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted
