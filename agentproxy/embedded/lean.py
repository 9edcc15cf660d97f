"""Leaves out what an agent server never uses: it speaks no TLS, whose libraries cost most of a start."""

from __future__ import annotations

import sys


def leave_out_tls() -> None:
    """Let Twisted find no OpenSSL in this process, as on a machine without it; too late once Twisted's TCP is imported."""
    if "twisted.internet.tcp" not in sys.modules and "OpenSSL" not in sys.modules:
        sys.modules["OpenSSL"] = None  # type: ignore[assignment]
