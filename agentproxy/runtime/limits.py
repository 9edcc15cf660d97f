"""Resource limits of a session's processes, set by ``prlimit`` (util-linux) in front of the agent server."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass

from agentproxy.errors import START_UNAVAILABLE, Refusal


@dataclass(frozen=True, slots=True)
class Limits:
    """What one process of a session may use; None means no limit of ours.

    :param memory: bytes of address space.
    :param processes: processes of the user that it runs as; does not bite for root.
    :param files: open descriptors.
    :param cpu: seconds of processor time.
    :param file_size: bytes of one written file.
    """

    memory: int | None = None
    processes: int | None = None
    files: int | None = None
    cpu: int | None = None
    file_size: int | None = None

    def named(self) -> dict[str, int]:
        """Return the limits that there are, by their ``RLIMIT_`` names in lower case."""
        values = (self.memory, self.processes, self.files, self.cpu, self.file_size)
        names = ("as", "nproc", "nofile", "cpu", "fsize")
        return {name: value for name, value in zip(names, values, strict=True) if value is not None}

    def wrap(self, argv: tuple[str, ...], which: Callable[[str], str | None] = shutil.which) -> tuple[str, ...]:
        """Return ``argv`` under these limits, as it is when there are none.

        :raises Refusal: START_UNAVAILABLE when there are limits and no ``prlimit``.
        """
        flags = tuple(f"--{name}={value}:{value}" for name, value in self.named().items())
        if not flags:
            return argv
        program = which("prlimit")
        if program is None:
            raise Refusal(START_UNAVAILABLE, "limits need the program prlimit; install util-linux")
        return (program, *flags, "--", *argv)
