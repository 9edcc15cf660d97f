"""What a connection does to the feed that it shows: a reader that is slow slows it down, one that goes away ends it."""

from __future__ import annotations

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from agentproxy.features.streaming import Feed


@implementer(IPushProducer)
class SlowedFeed:
    """The producer of a connection that shows a feed."""

    _feed: Feed | None = None

    def pauseProducing(self) -> None:
        """The client reads slowly."""
        if self._feed is not None:
            self._feed.pause()

    def resumeProducing(self) -> None:
        """The client has caught up."""
        if self._feed is not None:
            self._feed.resume()

    def stopProducing(self) -> None:
        """The client is gone."""
        if self._feed is not None:
            self._feed.close()
