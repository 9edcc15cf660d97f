"""The network of a fenced session, with programs in the place of bubblewrap and slirp4netns; tests/journeys has the real ones."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agentproxy.runtime import private_network

NEW_USER_AND_NETWORK = 0x50000000


def can_unshare() -> bool:
    """Return whether a process may have a network of its own here."""
    pid = os.fork()
    if pid == 0:
        os._exit(ctypes.CDLL(None).unshare(NEW_USER_AND_NETWORK) != 0)
    return os.waitpid(pid, 0)[1] == 0


BUBBLEWRAP = """#!{python}
import ctypes, fcntl, json, os, pathlib, socket, struct, sys, time
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
ctypes.CDLL(None).unshare({namespaces})
pathlib.Path("{directory}/pid").write_text(str(os.getpid()))
os.write(int(given["--info-fd"]), json.dumps({{"child-pid": os.getpid()}}).encode())
time.sleep(0.3)
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
os.read(int(given["--block-fd"]), 1)
"""
SLIRP = """#!{python}
import os, pathlib, sys
addresses = pathlib.Path("/proc", pathlib.Path("{directory}/pid").read_text(), "net/fib_trie").read_text()
pathlib.Path("{directory}/seen").write_text(addresses)
ready = next(word for word in sys.argv if word.startswith("--ready-fd=")).split("=")[1]
os.write(int(ready), b"1")
"""


def program(directory: Path, name: str, text: str) -> str:
    """Write a program and return its path."""
    path = directory / name
    path.write_text(text.format(python=sys.executable, directory=directory, namespaces=NEW_USER_AND_NETWORK))
    path.chmod(0o755)
    return str(path)


@pytest.mark.skipif(not can_unshare(), reason="namespaces cannot be made here")
def test_the_way_out_waits_for_the_loopback(tmp_path: Path) -> None:
    """bubblewrap tells of the sandbox before it sets up the loopback, and fails when somebody else has done it meanwhile."""
    programs = [program(tmp_path, "slirp", SLIRP), program(tmp_path, "bubblewrap", BUBBLEWRAP)]
    done = subprocess.run(
        [sys.executable, "-I", "-S", private_network.__file__, *programs, "--"], capture_output=True, timeout=30
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert "127.0.0.1" in (tmp_path / "seen").read_text()
