"""The client library: one server behind typed calls, with retries that do no harm.

:class:`Client` blocks and needs no knowledge of Twisted; :class:`agentproxy.client.asynchronous.AsyncClient` has the same
names as coroutines for Twisted programs.
"""

from __future__ import annotations

from agentproxy.client.blocking import Client
from agentproxy.client.failures import ClientError, Refused, Unreachable
from agentproxy.client.retries import Retries

__all__ = ["Client", "ClientError", "Refused", "Retries", "Unreachable"]
