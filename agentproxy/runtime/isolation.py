"""How a session's processes are fenced from other sessions and from the server's data: the one seam for it.

docs/security.md says what each fence stops and what not.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from agentproxy.errors import START_UNAVAILABLE, Refusal
from agentproxy.runtime.networks import SHARED_NETWORK, Network, trial
from agentproxy.runtime.unix_users import AsOwner, Users

OPEN = "Without isolation every agent can read what this server can read; set isolation: bwrap or user."
PRIVATE = (Path("/tmp"), Path("/var/tmp"), Path("/run"), Path("/home"), Path("/root"))  # noqa: S108
"""Directories of others that a fence with a mount namespace shows empty."""
KERNEL = ("/proc/sys", "/proc/sysrq-trigger", "/proc/fs", "/proc/irq", "/proc/bus")
"""What steers the kernel for everybody; user 0 may write there without any capability, to become root outside of the fence."""
NEEDED_OF_RUN = (Path("/run/systemd/resolve"), Path("/run/nscd"))
"""What name look-ups need of ``/run``."""


class Isolation(Protocol):
    """A fence around an argv."""

    async def claim(self, owner: str, own: tuple[Path, ...]) -> None:
        """Make what stands in *own* usable inside the fence; before :meth:`wrap`.

        :param owner: whose session it is.
        :raises StepFailed: ``home``, that is not possible.
        """

    def wrap(self, argv: tuple[str, ...], directory: Path, own: tuple[Path, ...], owner: str = "") -> tuple[str, ...]:
        """Return the argv that runs ``argv`` inside the fence.

        :param directory: working directory.
        :param own: directories and files of this session, which it may use.
        :param owner: whose session it is.
        """


@dataclass(frozen=True, slots=True)
class NoIsolation:
    """No fence (see :data:`OPEN`)."""

    async def claim(self, owner: str, own: tuple[Path, ...]) -> None:
        """Nothing is to be done."""

    def wrap(
        self,
        argv: tuple[str, ...],
        directory: Path,  # noqa: ARG002
        own: tuple[Path, ...],  # noqa: ARG002
        owner: str = "",  # noqa: ARG002
    ) -> tuple[str, ...]:
        """Return ``argv`` as it is."""
        return argv


@dataclass(frozen=True, slots=True)
class Bubblewrap:
    """Mount, process and IPC namespaces of its own, without capabilities.

    The file system is there for reading; ``hidden`` and :data:`PRIVATE` are empty but for the programs; the session's own
    directories are there for writing.

    :param hidden: directories of the server: its data, the homes of all users.
    :param secret: single files of the server: its configuration, its keys.
    :param programs: directories below hidden ones that are shown for reading.
    :param network: which network the session has.
    """

    program: str
    hidden: tuple[Path, ...]
    secret: tuple[Path, ...] = ()
    programs: tuple[Path, ...] = ()
    network: Network = SHARED_NETWORK

    async def claim(self, owner: str, own: tuple[Path, ...]) -> None:
        """Nothing is to be done."""

    def wrap(
        self,
        argv: tuple[str, ...],
        directory: Path,
        own: tuple[Path, ...],
        owner: str = "",  # noqa: ARG002
    ) -> tuple[str, ...]:
        """Return ``argv`` inside the namespaces."""
        private = [path for path in PRIVATE if os.path.isdir(path) and not path.is_symlink()]
        words = [*self.network.front(), self.program, "--unshare-pid", "--unshare-ipc", *self.network.words()]
        words += ["--cap-drop", "ALL", "--ro-bind", "/", "/"]
        words += ["--dev", "/dev", "--proc", "/proc"]
        words += [word for path in KERNEL for word in ("--ro-bind-try", path, path)]
        words += [word for path in private for word in ("--tmpfs", str(path))]
        words += [word for path in NEEDED_OF_RUN for word in ("--ro-bind-try", str(path), str(path))]
        words += [
            word
            for path in below(self.programs, private)
            if os.access(path, os.X_OK)
            for word in ("--ro-bind-try", str(path), str(path))
        ]
        words += [word for path in self.hidden if os.path.isdir(path) for word in ("--tmpfs", str(path))]
        words += [
            word for path in self.secret if os.path.exists(path) for word in ("--ro-bind-try", os.devnull, str(path))
        ]
        words += [word for path in own for word in ("--bind", str(path), str(path))]
        return (*words, "--chdir", str(directory), "--", *argv)

    def obstacle(self, network: Network | None = None) -> str | None:
        """Return why the fence cannot be put up here, with another network if one is given; None when it can. Blocking."""
        fence = self if network is None else replace(self, network=network)
        return trial(fence.wrap(("/bin/true",), Path("/"), ()))


def below(paths: Iterable[Path], places: Iterable[Path]) -> list[Path]:
    """Return the *paths* that lie below one of the *places*, each once, outer ones first."""
    roots = tuple(places)
    return sorted({path for path in paths if any(path != root and path.is_relative_to(root) for root in roots)})


def programs_of(search_path: str, homes: Iterable[Path] = ()) -> Iterator[Path]:
    """Yield the directories that programs on *search_path* and this very Python need, wherever they are installed.

    Of ``X/bin`` that is ``X`` (a version of node, a virtual environment); of a home's own ``bin`` only the ``bin`` and ``lib``.
    """
    roots = {Path("/"), Path("/usr"), *(home for one in homes for home in (one, one / ".local"))}
    yield from (Path(sys.prefix), Path(sys.base_prefix), Path(__file__).resolve().parent.parent.parent)
    for text in search_path.split(os.pathsep):
        place = Path(text)
        if not place.is_absolute():
            continue
        yield place
        if place.parent not in roots and place.name in ("bin", "sbin"):
            yield place.parent
        elif place.parent in roots:
            yield place.parent / "lib"


def resolve(
    choice: str,
    hidden: tuple[Path, ...] = (),
    users: Users | None = None,
    which: Callable[[str], str | None] = shutil.which,
    secret: tuple[Path, ...] = (),
) -> Isolation:
    """Return the fence of a configuration's choice.

    :param choice: ``none``, ``bwrap`` or ``user``.
    :param hidden: directories that ``bwrap`` hides: the homes of all sessions, the server's data.
    :param users: the UNIX users of owners, for ``user``.
    :param secret: files that ``bwrap`` hides: the configuration, the keys.
    :raises Refusal: START_UNAVAILABLE when the program that it needs is not installed.
    :raises ValueError: there is no such choice, or *users* is missing.
    """
    if choice == "none":
        return NoIsolation()
    if choice == "bwrap":
        program = _program("bwrap", "install bubblewrap", which)
        homes = (Path(os.path.expanduser("~")),)
        return Bubblewrap(program, hidden, secret, tuple(programs_of(os.environ.get("PATH", os.defpath), homes)))
    if choice == "user" and users is not None:
        return AsOwner(_program("setpriv", "install util-linux", which), users)
    raise ValueError(f"isolation {choice} is not none, bwrap, or user with UNIX users")


def _program(name: str, cure: str, which: Callable[[str], str | None]) -> str:
    program = which(name)
    if program is None:
        raise Refusal(START_UNAVAILABLE, f"isolation needs the program {name}; {cure}")
    return program
