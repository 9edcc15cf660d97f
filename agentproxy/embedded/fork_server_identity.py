"""What ``/proc`` shows of a forked process: its command line and its marker, written where the kernel reads them.

A fork keeps the memory in which its parent's arguments and environment came, and ``/proc/PID/cmdline`` and ``environ`` show that
memory. So the fork server is started with room in both (``runtime/fork_server_process.py``), and each fork writes its own title and
marker there. Where the kernel does not say where they are, nothing is written and nothing is lost but the look.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path

MARKER_VARIABLE = "AGENTPROXY_SESSION_MARKER"


@dataclass(frozen=True, slots=True)
class Identity:
    """Where the arguments and the marker of this process are.

    :param arguments: address and size of the arguments, size 0 when unknown.
    :param marker: address and size of the marker's value, size 0 when unknown.
    """

    arguments: tuple[int, int] = (0, 0)
    marker: tuple[int, int] = (0, 0)

    @classmethod
    def find(cls) -> Identity:
        """Return where they are in this process."""
        try:
            fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
            first, last, env_first, env_last = (int(fields[index]) for index in range(45, 49))
            shown = Path("/proc/self/environ").read_bytes()
        except (OSError, ValueError, IndexError):
            return cls()
        arguments = (first, last - first) if 0 < first < last else (0, 0)
        name = f"{MARKER_VARIABLE}=".encode()
        at = 0 if shown.startswith(name) else shown.find(b"\0" + name) + 1
        if not shown.startswith(name, at) or not 0 < env_first < env_last:
            return cls(arguments)
        begin = at + len(name)
        size = shown.index(b"\0", begin) - begin
        return cls(arguments, (env_first + begin, size))

    def show(self, title: str, marker: str) -> None:
        """Write a title and a marker over what this process came with; too long a title is cut, a marker left out."""
        _write(self.arguments, title.encode("utf-8", "replace")[: max(0, self.arguments[1] - 1)])
        value = marker.encode()
        if len(value) <= self.marker[1]:
            _write(self.marker, value)


def _write(place: tuple[int, int], text: bytes) -> None:
    address, size = place
    if size > 0:
        ctypes.memmove(address, text.ljust(size, b"\0"), size)
