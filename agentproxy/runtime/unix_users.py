"""A UNIX user for each owner: the fence ``user``. Only root can put it up.

An owner gets the next free user id from a first one on, for ever; which one stands in ``unix-users.json`` of the data directory.
The ids have no entry in ``/etc/passwd`` and need none.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from twisted.internet.threads import deferToThread

from agentproxy.runtime.networks import trial
from agentproxy.runtime.steps import StepFailed

FILE = "unix-users.json"


class Users:
    """The user ids of owners.

    :param directory: the server's data; the file is there.
    :param roots: directories below which an owner's places are, and which users must be able to pass through.
    :param first: the first id.
    """

    def __init__(self, directory: Path, roots: Sequence[Path], first: int) -> None:
        self._path = directory / FILE
        self.roots = tuple(roots)
        self.first = first
        self._lock = threading.Lock()
        self._ids: dict[str, int] | None = None

    def of(self, owner: str) -> int:
        """Return the user id of an owner, a new one when there is none yet. Blocking the first time.

        :raises ValueError, OSError: the file cannot be read or written.
        """
        with self._lock:
            if self._ids is None:
                self._ids = json.loads(self._path.read_text(encoding="utf-8")) if self._path.exists() else {}
            if owner not in self._ids:
                self._ids[owner] = max(self._ids.values(), default=self.first - 1) + 1
                self._write(self._ids)
            return self._ids[owner]

    def _write(self, ids: dict[str, int]) -> None:
        half_made = self._path.with_name(f".{FILE}.half")
        with open(os.open(half_made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump(ids, file)
            file.flush()
            os.fsync(file.fileno())
        half_made.replace(self._path)


@dataclass(frozen=True, slots=True)
class AsOwner:
    """Runs a session as the UNIX user of its owner, without privileges and without groups."""

    program: str
    users: Users

    async def claim(self, owner: str, own: tuple[Path, ...]) -> None:
        """Give the session's places to the owner's user; in a thread.

        :raises StepFailed: ``home``, that is not possible.
        """
        try:
            await deferToThread(self._claim, owner, own)
        except (OSError, ValueError) as error:
            raise StepFailed(
                "home", f"the session's files cannot be given to its UNIX user: {error}", unavailable=True
            ) from None

    def _claim(self, owner: str, own: tuple[Path, ...]) -> None:
        uid = self.users.of(owner)
        for path in own:
            for root in self.users.roots:
                if path.is_relative_to(root):
                    open_the_way(path, root)
                    give(path, uid)

    def wrap(
        self,
        argv: tuple[str, ...],
        directory: Path,  # noqa: ARG002
        own: tuple[Path, ...],  # noqa: ARG002
        owner: str = "",
    ) -> tuple[str, ...]:
        """Return ``argv`` as the owner's user."""
        return self._as(self.users.of(owner), argv)

    def _as(self, uid: int, argv: tuple[str, ...]) -> tuple[str, ...]:
        words = (f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--no-new-privs", "--bounding-set=-all")
        return (self.program, *words, "--inh-caps=-all", "--", *argv)

    def obstacle(self) -> str | None:
        """Return why an owner's user could not run our own agent server, None when it can. Blocking."""
        # Isolated from the server's environment, which sessions do not have.
        return trial(self._as(self.users.first, (sys.executable, "-I", "-m", "agentproxy.embedded", "--help")))


def open_the_way(path: Path, root: Path) -> None:
    """Let everybody pass, but not look, through the directories from *root* to the one that *path* is in."""
    for place in (root, *(one for one in path.parents if one.is_relative_to(root) and one != root)):
        mode = stat.S_IMODE(place.stat().st_mode)
        if not mode & 0o001:
            place.chmod(mode | 0o001)


def give(path: Path, uid: int) -> None:
    """Give a directory with all that is in it to a user. Links are never followed, and a file with several names is left alone."""
    with contextlib.suppress(FileNotFoundError):
        _give(path.name, uid, os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY))
    for _place, directories, files, descriptor in os.fwalk(path, follow_symlinks=False):
        for name in (*directories, *files):
            with contextlib.suppress(FileNotFoundError):
                _give(name, uid, descriptor, close=False)


def _give(name: str, uid: int, descriptor: int, close: bool = True) -> None:
    try:
        found = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        several = not stat.S_ISDIR(found.st_mode) and found.st_nlink > 1
        if found.st_uid != uid and not several:
            os.chown(name, uid, uid, dir_fd=descriptor, follow_symlinks=False)
    finally:
        if close:
            os.close(descriptor)
