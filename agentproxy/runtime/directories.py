"""The directory of a session: ``<sessions>/<id>/`` with ``work`` (where the agent starts), ``tmp`` (its TMPDIR) and ``log``.

Files are made and removed in threads. Removing never follows a symbolic link.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from twisted.internet.threads import deferToThread

from agentproxy.runtime.steps import StepFailed

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


@dataclass(frozen=True, slots=True)
class SessionDirectory:
    """The places of one session."""

    root: Path

    @property
    def work(self) -> Path:
        """Return the working directory of the agent, also the clone."""
        return self.root / "work"

    @property
    def tmp(self) -> Path:
        """Return the private TMPDIR."""
        return self.root / "tmp"

    @property
    def log(self) -> Path:
        """Return the directory of the agent server's output."""
        return self.root / "log"

    @property
    def home(self) -> Path:
        """Return the HOME of a session whose user has none of their own; :class:`~agentproxy.runtime.homes.Homes` makes it."""
        return self.root / "home"


class Directories:
    """All session directories, under one root."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def of(self, session_id: str) -> SessionDirectory:
        """Return the places of a session, made or not.

        :raises ValueError: this is no id of a session, so no path is made of it.
        """
        if not _ID.fullmatch(session_id):
            raise ValueError(f"not the id of a session: {session_id[:80]!r}")
        return SessionDirectory(self.root / session_id)

    async def make(self, session_id: str) -> SessionDirectory:
        """Make the directories, private to the server's user; those that are there stay as they are.

        :raises StepFailed: ``directory``, they cannot be made or written (full or read-only disk, permissions).
        """
        directory = self.of(session_id)
        await deferToThread(_make, directory)
        return directory

    async def remove(self, session_id: str) -> None:
        """Remove a session's directory with all that is in it; one that is not there is fine.

        :raises StepFailed: ``directory``, something in it cannot be removed.
        """
        await deferToThread(_remove, self.of(session_id).root)


def _make(directory: SessionDirectory) -> None:
    try:
        for place in (directory.root, directory.work, directory.tmp, directory.log):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            if place.is_symlink():
                raise NotADirectoryError(20, "is a symbolic link", str(place))
            _try_writing(place)
    except OSError as error:
        sentence = _sentence("the session's directory cannot be written", error)
        raise StepFailed("directory", sentence, unavailable=True) from error


def _try_writing(place: Path) -> None:
    probe = place / f".writable-{secrets.token_hex(8)}"
    descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        os.write(descriptor, bytes(4096))
    finally:
        os.close(descriptor)
        probe.unlink(missing_ok=True)


def _remove(root: Path) -> None:
    try:
        if root.is_symlink():
            root.unlink()
            return
        try:
            shutil.rmtree(root)
        except PermissionError:
            _open_all(root)
            shutil.rmtree(root)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StepFailed("directory", _sentence("the session's directory cannot be removed", error)) from error


def _open_all(root: Path) -> None:
    """Make every directory below writable for us: caches of some tools are read-only."""
    root.chmod(0o700)
    for _path, names, _files, descriptor in os.fwalk(root):
        for name in names:
            if stat.S_ISDIR(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode):
                os.chmod(name, 0o700, dir_fd=descriptor)


def _sentence(what: str, error: OSError) -> str:
    return f"{what}: {error.strerror or error} ({error.filename})" if error.filename else f"{what}: {error.strerror}"
