"""What an agent leaves behind stays findable: its orphans, in whatever session, become children of the agent server."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

from twisted.internet import process

PR_SET_CHILD_SUBREAPER = 36
MOST = 1000


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends; where the kernel refuses, init stays that."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap_orphans() -> None:
    """Take the end of adopted processes; those that Twisted started are left to it."""
    known: set[int] = set(process.reapProcessHandlers)
    for _count in range(MOST):
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None or ended.si_pid in known:
            return
        with suppress(ChildProcessError):
            os.waitpid(ended.si_pid, os.WNOHANG)
