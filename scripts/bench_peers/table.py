#!/usr/bin/env python3
"""The gateway alone with a table of any size instead of sessions, for the cost of many routes: ``table.py PORT``."""

from __future__ import annotations

import json
import sys
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.web.resource import Resource
from twisted.web.server import Site

from agentproxy.errors import AGENT_UNREACHABLE, SESSION_NOT_FOUND, Refusal
from agentproxy.gateway.front import FrontFactory
from agentproxy.gateway.head import Head
from agentproxy.gateway.options import GatewayOptions
from agentproxy.model.backend import Backend
from agentproxy.model.cors import CorsRules

reactor: Any = _reactor


class Table:
    """Knows every session of the standard input."""

    def __init__(self, ports: dict[str, int]) -> None:
        self._backends = {name: Backend("127.0.0.1", port) for name, port in ports.items()}

    def find(self, session_id: str, head: Head) -> Backend | Refusal:  # noqa: ARG002
        """Return the agent server."""
        return self._backends.get(session_id) or Refusal(SESSION_NOT_FOUND, session_id=session_id)

    def explain(self, session_id: str, failure: str) -> Refusal:
        """Return why it does not answer."""
        return Refusal(AGENT_UNREACHABLE, failure, session_id)


if __name__ == "__main__":
    site: Any = Site(Resource())  # type: ignore[no-untyped-call]
    front = FrontFactory(site, Table(json.load(sys.stdin)), GatewayOptions(), CorsRules(), reactor)
    reactor.listenTCP(int(sys.argv[1]), front, backlog=4096, interface="127.0.0.1")
    reactor.run()
