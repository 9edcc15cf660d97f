"""What the face shows of the past and of what happens: the parts of journal, transcripts, waits and logs, and their streams."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.interfaces import IReactorTime

from agentproxy.features.following import Logs
from agentproxy.features.looking import VisibleSessions
from agentproxy.features.streaming import Streams
from agentproxy.features.transcripts import Transcripts
from agentproxy.features.waiting import Waits
from agentproxy.model.cors import CorsRules
from agentproxy.store import Store
from agentproxy.web.journal import Journal, Sources
from agentproxy.web.logs import SessionLog
from agentproxy.web.transcripts import Said
from agentproxy.web.waits import Waiting

HEARTBEAT = 30.0
"""Seconds between two heartbeats of the peers' stream of statuses."""


class History:
    """See the module.

    :param keep_alive: seconds of silence after which a stream gets a comment.
    :param clock: the reactor, or a Clock.
    """

    def __init__(
        self, store: Store, sessions: VisibleSessions, cors: CorsRules, clock: IReactorTime, keep_alive: float = 15.0
    ) -> None:
        self._streams = Streams(store, sessions, clock, keep_alive)
        self._statuses = Streams(store, sessions, clock, HEARTBEAT)
        sources = Sources(store, sessions, self._streams, self._statuses)
        self.parts: Sequence[object] = (
            Journal(sources, cors, clock),
            Said(Transcripts(store, sessions)),
            Waiting(Waits(store, sessions, self._streams, clock)),
            SessionLog(Logs(sessions, self._streams, clock)),
        )

    def start(self) -> None:
        """Begin to stream."""
        self._streams.start()
        self._statuses.start()

    def close(self) -> bool:
        """End every stream and return whether there was one, whose last bytes are on their way; twice does no harm."""
        had_readers = self.readers() > 0
        self._streams.close()
        self._statuses.close()
        return had_readers

    def readers(self) -> int:
        """Return how many streams are open."""
        return len(self._streams) + len(self._statuses)

    def recheck(self) -> None:
        """End the streams of those who may not read any more. To be called when access was taken back."""
        self._streams.recheck()
        self._statuses.recheck()

    def cut(self, user_id: str) -> None:
        """End the streams of one user, whose credential does not count any more."""
        for streams in (self._streams, self._statuses):
            streams.cut("the credential does not count any more", user_id)
