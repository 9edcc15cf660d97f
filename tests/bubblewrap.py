"""Whether bubblewrap can be used on this machine: it has to be installed, and the kernel has to let it make namespaces."""

from __future__ import annotations

import shutil
import subprocess

import pytest


def bubblewrap_runs(*more: str) -> bool:
    """Return whether bubblewrap is installed and may make namespaces here."""
    if shutil.which("bwrap") is None:
        return False
    words = ["--unshare-pid", "--unshare-ipc", *more, "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "true"]
    return subprocess.run(["bwrap", *words], capture_output=True, timeout=30).returncode == 0


needs_bubblewrap = pytest.mark.skipif(not bubblewrap_runs(), reason="bubblewrap is missing or may not make namespaces")
