"""Seeing what others change: the store's tables of identity, and the files with keys, looked at twice a second."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.python.failure import Failure

EVERY = 0.5  # seconds
T = TypeVar("T")
Stamp = tuple[tuple[int, int, int] | None, ...]


class Watch:
    """Reads again when a version has changed.

    :param version: what to compare; may fail while the store is in trouble.
    :param read: reads everything again.
    """

    log = Logger()

    def __init__(
        self,
        version: Callable[[], Awaitable[object]],
        read: Callable[[], Awaitable[None]],
        what: str,
        clock: IReactorTime,
    ) -> None:
        self._version = version
        self._read = read
        self._what = what
        self._seen: object = None
        self._trouble = False
        self._loop = LoopingCall(self._check)
        self._loop.clock = clock

    async def start(self) -> None:
        """Read for the first time, then watch.

        :raises Exception: what *version* or *read* raises, the first time.
        """
        self._seen = await self._version()
        await self._read()
        self._loop.start(EVERY, now=False).addErrback(self._ended)

    def _ended(self, failure: Failure) -> None:
        self.log.failure("Nobody watches {what} any more", failure, what=self._what)

    def _check(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.check())

    async def check(self) -> None:
        """Look now; a failure is logged once, and what was read before goes on counting."""
        try:
            version = await self._version()
            if version != self._seen:
                await self._read()
                self._seen = version
            self._trouble = False
        except Exception as error:
            if not self._trouble:
                self.log.warn("{what} cannot be read again: {error}", what=self._what, error=str(error))
            self._trouble = True

    def stop(self) -> None:
        """Watch no more; twice does no harm."""
        if self._loop.running:
            self._loop.stop()


def stamps(paths: Sequence[Path]) -> Stamp:
    """Return what changes when one of the files is written or replaced. Blocking."""
    found: list[tuple[int, int, int] | None] = []
    for path in paths:
        try:
            status = os.stat(path)
        except OSError:
            found.append(None)
        else:
            found.append((status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(found)


def watch_files(
    paths: Sequence[Path], read: Callable[[], T], use: Callable[[T], None], what: str, clock: IReactorTime
) -> Watch:
    """Return a watch of files.

    :param read: runs in a thread and may block.
    :param use: gets what it returned, on the reactor's thread.
    """

    async def version() -> Stamp:
        return await deferToThread(stamps, paths)

    async def again() -> None:
        use(await deferToThread(read))

    return Watch(version, again, what, clock)
