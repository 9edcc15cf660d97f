"""Removing what a crash has left of deleted sessions: their directories. In the background, one after the other.

A directory whose session the store does not know is left alone: it may belong to a newer copy of the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.python.failure import Failure

from agentproxy.runtime.directories import Directories
from agentproxy.runtime.steps import StepFailed
from agentproxy.store import Store

log = Logger()


class Clearing:
    """Looks once through the directories of all sessions."""

    def __init__(self, store: Store, directories: Directories) -> None:
        self._store = store
        self._directories = directories
        self._work: Deferred[None] | None = None

    def start(self) -> None:
        """Begin in the background."""
        self._work = Deferred.fromCoroutine(self.clear())
        self._work.addErrback(self._failed)

    async def stop(self) -> None:
        """Give up; twice without harm."""
        work, self._work = self._work, None
        if work is not None:
            work.cancel()
            await work

    async def clear(self) -> None:
        """Remove the directories of deleted sessions."""
        unknown = 0
        for name in await deferToThread(_names, self._directories.root):
            session = await self._store.session(name)
            if session is None:
                unknown += 1
            elif session.deleted_at is not None:
                await self._remove(name)
        if unknown:
            log.warn("{count} directories in {root} belong to no session that the store knows; they stay",
                     count=unknown, root=str(self._directories.root))  # fmt: skip

    async def _remove(self, session_id: str) -> None:
        try:
            await self._directories.remove(session_id)
        except StepFailed as failed:
            log.warn("Session {session}: {sentence}", session=session_id, sentence=failed.sentence)
        else:
            log.info("What was left of the deleted session {session} is removed", session=session_id)

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            log.failure("The directories of deleted sessions could not be looked through", failure)


def _names(root: Path) -> Sequence[str]:
    try:
        return sorted(entry.name for entry in root.iterdir())
    except OSError:
        return ()
