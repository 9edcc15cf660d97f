"""Files at places where an agent can put something else: a link to what it may not read, or a pipe on which the server waits."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_plain(path: Path | str, flags: int = os.O_RDONLY, mode: int = 0o600, directory: int | None = None) -> int:
    """Return a descriptor of a plain file; links at its last name are not followed, and nothing is waited for.

    :param directory: descriptor of the directory that a relative *path* is in.
    :raises OSError: it cannot be opened, or is something else than a plain file.
    """
    found = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode, dir_fd=directory)
    if not stat.S_ISREG(os.fstat(found).st_mode):
        os.close(found)
        raise OSError(errno.EINVAL, "is no plain file", str(path))
    return found


def read_plain(path: Path | str, most: int, directory: int | None = None) -> bytes:
    """Return the first *most* bytes of a plain file.

    :raises OSError: as :func:`open_plain`.
    """
    with open(open_plain(path, directory=directory), "rb") as file:
        return file.read(most)


def enter(root: Path, names: Sequence[str], opened: ExitStack, make: bool = False) -> int:
    """Return the descriptor of a directory below another, without going through links; *opened* closes it.

    :param make: make what is missing, private.
    :raises OSError: ELOOP or ENOTDIR, one of them is a link or no directory; ENOENT.
    """
    place = os.open(root, _DIRECTORY)
    opened.callback(os.close, place)
    for name in names:
        if make:
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=place)
        place = os.open(name, _DIRECTORY, dir_fd=place)
        opened.callback(os.close, place)
    return place


def replace_plain(name: str, directory: int, data: bytes) -> None:
    """Put a private file into a directory, in place of whatever has its name, whole or not at all.

    :raises OSError: it cannot be written.
    """
    half_made = f".{name}-{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        with open(os.open(half_made, flags, 0o600, dir_fd=directory), "wb") as file:
            file.write(data)
        os.replace(half_made, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(half_made, dir_fd=directory)
        raise
