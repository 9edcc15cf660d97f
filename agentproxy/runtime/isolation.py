"""How a session's processes are fenced from other sessions' homes and from the server's data: the one seam for it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agentproxy.errors import START_UNAVAILABLE, Refusal

OPEN = "Without isolation every agent can read what this server can read; set isolation: bwrap or user."


class Isolation(Protocol):
    """A fence around an argv."""

    def wrap(self, argv: tuple[str, ...], directory: Path, own: tuple[Path, ...]) -> tuple[str, ...]:
        """Return the argv that runs ``argv`` inside the fence.

        :param directory: working directory.
        :param own: directories and files of this session, which it may use.
        """


@dataclass(frozen=True, slots=True)
class NoIsolation:
    """No fence (see :data:`OPEN`)."""

    def wrap(self, argv: tuple[str, ...], directory: Path, own: tuple[Path, ...]) -> tuple[str, ...]:  # noqa: ARG002
        """Return ``argv`` as it is."""
        return argv


@dataclass(frozen=True, slots=True)
class Bubblewrap:
    """A mount namespace with a private ``/tmp`` in which ``hidden`` is empty but for the session's own directories."""

    program: str
    hidden: tuple[Path, ...]

    def wrap(self, argv: tuple[str, ...], directory: Path, own: tuple[Path, ...]) -> tuple[str, ...]:
        """Return ``argv`` inside the namespace."""
        empty = tuple(word for path in (Path("/tmp"), *self.hidden) for word in ("--tmpfs", str(path)))  # noqa: S108
        bound = tuple(word for path in own for word in ("--bind", str(path), str(path)))
        return (self.program, "--dev-bind", "/", "/", *empty, *bound, "--chdir", str(directory), "--", *argv)


@dataclass(frozen=True, slots=True)
class AsUser:
    """Another user without privileges. Its directories must belong to it."""

    program: str
    uid: int
    gid: int

    def wrap(self, argv: tuple[str, ...], directory: Path, own: tuple[Path, ...]) -> tuple[str, ...]:  # noqa: ARG002
        """Return ``argv`` as that user."""
        return (
            self.program,
            f"--reuid={self.uid}",
            f"--regid={self.gid}",
            "--clear-groups",
            "--no-new-privs",
            "--",
            *argv,
        )


def resolve(
    choice: str,
    hidden: tuple[Path, ...] = (),
    user: tuple[int, int] | None = None,
    which: Callable[[str], str | None] = shutil.which,
) -> Isolation:
    """Return the fence of a configuration's choice.

    :param choice: ``none``, ``bwrap`` or ``user``.
    :param hidden: directories that ``bwrap`` hides: the homes of all sessions, the server's data.
    :param user: user and group id for ``user``.
    :raises Refusal: START_UNAVAILABLE when the program that it needs is not installed.
    :raises ValueError: there is no such choice, or ``user`` is missing.
    """
    if choice == "none":
        return NoIsolation()
    if choice == "bwrap":
        return Bubblewrap(_program("bwrap", "install bubblewrap", which), hidden)
    if choice == "user" and user is not None:
        return AsUser(_program("setpriv", "install util-linux", which), *user)
    raise ValueError(f"isolation {choice} is not none, bwrap, or user with a user id")


def _program(name: str, cure: str, which: Callable[[str], str | None]) -> str:
    program = which(name)
    if program is None:
        raise Refusal(START_UNAVAILABLE, f"isolation needs the program {name}; {cure}")
    return program
