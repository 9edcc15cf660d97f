"""Where agent servers listen that listen on UNIX sockets: a private folder for each session, so that a fence can show it alone.

The paths are short, because the kernel takes about 100 characters.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path


def socket_path(folder: Path, session_id: str, number: int) -> Path:
    """Return the socket of one incarnation.

    :param folder: the configuration's ``runtime_dir``.
    """
    return folder / session_id.replace("-", "") / str(number)


def make_room(socket: Path) -> None:
    """Make the folder of a socket, private, and remove what a crash has left at its place.

    :raises OSError: the folder cannot be made, or others could put their own sockets into it.
    """
    socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for folder in (socket.parent.parent, socket.parent):
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise PermissionError(errno.EPERM, "is not a directory that only this server may write to", str(folder))
    socket.unlink(missing_ok=True)


def remove(socket: Path) -> None:
    """Remove a socket and its folder, when that is empty; twice without harm."""
    with contextlib.suppress(OSError):
        socket.unlink(missing_ok=True)
        socket.parent.rmdir()
