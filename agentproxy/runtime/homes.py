"""The HOME of each user's agents, and the files in it that answer first-run questions.

A user's name becomes a directory name that no other user has and that leads nowhere else. The agent owns what is in HOME: a
file or directory of it that is a symbolic link is left alone, and so is a file that we cannot read as what it should be.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from twisted.internet.defer import DeferredLock
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from agentproxy.runtime.catalogue import HomeFile
from agentproxy.runtime.home_content import fill, merged
from agentproxy.runtime.plain_files import enter, read_plain, replace_plain
from agentproxy.runtime.steps import StepFailed

LOCK_WAIT = 10.0
"""Seconds to wait for another process that prepares the same HOME."""
MOST_OF_FILE = 16 << 20
"""Bytes of a file in HOME that are read; a longer one is left alone."""


def safe_name(user_id: str) -> str:
    """Return the directory name of a user: different for different users, also where case does not count."""
    encoded = "".join(
        chr(byte) if re.fullmatch(rb"[a-z0-9_-]", bytes([byte])) else f"={byte:02x}"
        for byte in user_id.encode("utf-8", "surrogatepass")
    )
    if encoded and len(encoded) <= 100:
        return encoded
    return "==" + hashlib.sha256(user_id.encode("utf-8", "surrogatepass")).hexdigest()


class Homes:
    """All HOMEs, under one root; never the operator's own.

    :param root: where those of users are.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._locks: WeakValueDictionary[Path, DeferredLock] = WeakValueDictionary()
        self._log = Logger()

    def of(self, user_id: str) -> Path:
        """Return the HOME of a user, made or not."""
        return self.root / safe_name(user_id)

    async def prepare(self, home: Path, files: Sequence[HomeFile], facts: Mapping[str, str]) -> None:
        """Make a HOME and put the files of an agent into it; one start at a time for each HOME.

        What stands in a file stays, except that a ``true`` of ours replaces a ``false`` and that what comes from the environment
        is what it is in this one.

        :param home: what :meth:`of` returned, or the ``home`` of a session's directory.
        :param facts: the session's environment, and ``WORK``, its working directory.
        :raises StepFailed: ``home``, it cannot be made or written.
        """
        lock = self._locks.setdefault(home, DeferredLock())
        await lock.acquire()
        try:
            await deferToThread(self._prepare, home, files, facts)
        finally:
            lock.release()

    def _prepare(self, home: Path, files: Sequence[HomeFile], facts: Mapping[str, str]) -> None:
        try:
            home.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _locked(home.with_name(home.name + ".lock")):
                home.mkdir(mode=0o700, exist_ok=True)
                if home.is_symlink():
                    raise NotADirectoryError(20, "HOME is a symbolic link", str(home))
                for file in files:
                    if file.when is None or facts.get(file.when):
                        self.put(home, file.path, file.format, fill(file.content, facts))
        except OSError as error:
            sentence = f"HOME cannot be prepared: {error.strerror or error} ({error.filename or home})"
            raise StepFailed("home", sentence, unavailable=True) from error

    def put(self, home: Path, path: str, form: str, content: Mapping[str, Any]) -> bool:
        """Merge content into a file of a HOME; blocks. Return whether it could be: a link and a file of another form stay.

        Directories are gone through by descriptor, for an agent of the same user may change them meanwhile.

        :param path: relative to HOME.
        :param form: ``json`` or ``toml``.
        :raises OSError: it cannot be read or written.
        """
        *outer, name = Path(path).parts
        with ExitStack() as opened:
            try:
                place = enter(home, outer, opened, make=True)
                before = _text(name, place)
            except OSError as error:
                if error.errno not in (errno.ELOOP, errno.ENOTDIR, errno.EINVAL, errno.EISDIR, errno.ENXIO):
                    raise
                self._log.warn("{file} in a HOME is a link or no file and is left as it is", file=path)
                return False
            try:
                after = merged(form, before, content)
            except (ValueError, RecursionError) as error:
                self._log.warn("{file} in a HOME is left as it is, it cannot be read or changed as {form}: {why}",
                               file=path, form=form, why=str(error))  # fmt: skip
                return False
            if after != before:
                replace_plain(name, place, after.encode("utf-8", "surrogateescape"))
            return True


def _text(name: str, place: int) -> str:
    try:
        data = read_plain(name, MOST_OF_FILE + 1, place)
    except FileNotFoundError:
        return ""
    if len(data) > MOST_OF_FILE:
        raise OSError(errno.EINVAL, "is too long", name)
    return data.decode("utf-8", "surrogateescape")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    deadline = time.monotonic() + LOCK_WAIT
    with open(path, "w", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o600)) as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise StepFailed("home", "another process is preparing the same HOME", unavailable=True) from None
                time.sleep(0.02)
        yield
