"""The daemon put together: the only part that knows everybody."""

from __future__ import annotations

from typing import Any

from twisted.application.service import IService

from agentproxy import logs
from agentproxy.service.daemon import Daemon


def makeService(options: Any) -> IService:
    """Return the service of the options' configuration; nothing is opened before it starts."""
    from twisted.internet import reactor

    wanted = options.loaded.config.log
    return Daemon(options.load, options.loaded, reactor, logs.observer(options, wanted.format, wanted.level))
