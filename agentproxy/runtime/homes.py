"""The HOME of each user's agents, and the files in it that answer first-run questions.

A user's name becomes a directory name that no other user has and that leads nowhere else. The agent owns what is in HOME: a
file or directory of it that is a symbolic link is left alone, and so is a file that we cannot read as what it should be.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from twisted.internet.defer import DeferredLock
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from agentproxy.runtime.catalogue import HomeFile
from agentproxy.runtime.plain_files import enter, read_plain, replace_plain
from agentproxy.runtime.steps import StepFailed

LOCK_WAIT = 10.0
"""Seconds to wait for another process that prepares the same HOME."""
_PLACEHOLDER = re.compile(r"@([A-Za-z_][A-Za-z0-9_]*)(?::([0-9]+)|\|([^@]*))?@")
MOST_OF_FILE = 16 << 20
"""Bytes of a file in HOME that are read; a longer one is left alone."""
_ABSENT = object()


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

        What stands in a file stays, except that a ``true`` of ours replaces a ``false``.

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
            except (ValueError, RecursionError):
                self._log.warn("{file} in a HOME is not {form} and is left as it is", file=path, form=form)
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


def fill(value: Any, facts: Mapping[str, str]) -> Any:
    """Return catalogue data with its placeholders filled; keys and entries whose fact is missing are left out."""
    if isinstance(value, str):
        return _filled(value, facts)
    if isinstance(value, list):
        return [item for item in (fill(each, facts) for each in value) if item is not _ABSENT]
    if isinstance(value, Mapping):
        pairs = ((_filled(str(key), facts), fill(item, facts)) for key, item in value.items())
        return {key: item for key, item in pairs if key is not _ABSENT and item is not _ABSENT}
    return value


def _filled(text: str, facts: Mapping[str, str]) -> Any:
    absent = [m for m in _PLACEHOLDER.finditer(text) if m[3] is None and not facts.get(m[1])]
    if absent:
        return _ABSENT

    def fact(match: re.Match[str]) -> str:
        value = facts.get(match[1]) or match[3] or ""
        return value[-int(match[2]) :] if match[2] else value

    return _PLACEHOLDER.sub(fact, text)


def merged(form: str, before: str, wanted: Mapping[str, Any]) -> str:
    """Return the text of a file with what is wanted in it.

    :param form: ``json`` or ``toml``.
    :raises ValueError: the text before is not of this form.
    """
    if form == "toml":
        return _merged_toml(before, wanted)
    found = json.loads(before) if before.strip() else {}
    if not isinstance(found, dict):
        raise ValueError("not an object")
    together = _together(found, wanted)
    return before if together == found and before else json.dumps(together, indent=2, ensure_ascii=False) + "\n"


def _together(found: Any, wanted: Any) -> Any:
    if isinstance(found, Mapping) and isinstance(wanted, Mapping):
        added = {key: _together(found[key], item) if key in found else item for key, item in wanted.items()}
        return {**found, **added}
    if isinstance(found, list) and isinstance(wanted, list):
        return [*found, *(item for item in wanted if item not in found)]
    return True if wanted is True and found in (False, None) else found


def _merged_toml(before: str, wanted: Mapping[str, Any]) -> str:
    """Add what is missing: single values at the head, whole tables at the end; comments and order stay."""
    found = tomllib.loads(before)
    head = [f"{key} = {json.dumps(item)}\n" for key, item in _values(wanted) if key not in found]
    tail = [_table(path, table) for path, table in _tables((), wanted) if not _has(found, path)]
    text = "".join([*head, before, *(["\n"] if before and not before.endswith("\n") else []), *tail])
    tomllib.loads(text)
    return text


def _values(table: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(key, item) for key, item in table.items() if not isinstance(item, Mapping)]


def _tables(path: tuple[str, ...], table: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    for key, item in table.items():
        if isinstance(item, Mapping):
            if _values(item):
                yield (*path, key), item
            yield from _tables((*path, key), item)


def _has(found: Any, path: tuple[str, ...]) -> bool:
    for key in path:
        if not isinstance(found, Mapping) or key not in found:
            return False
        found = found[key]
    return True


def _table(path: tuple[str, ...], table: Mapping[str, Any]) -> str:
    lines = [f"{json.dumps(key)} = {json.dumps(item)}\n" for key, item in _values(table)]
    return "".join([f"\n[{'.'.join(json.dumps(key) for key in path)}]\n", *lines])
