"""The client library: one server behind typed calls, with retries that do no harm.

:class:`Client` blocks and needs no knowledge of Twisted; :class:`AsyncClient` has the same names as coroutines, for Twisted
programs. It is imported when it is asked for: Twisted takes a moment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agentproxy.client.blocking import Client
from agentproxy.client.failures import ClientError, Refused, Unreachable
from agentproxy.client.retries import Retries

if TYPE_CHECKING:
    from agentproxy.client.asynchronous import AsyncClient

__all__ = ["AsyncClient", "Client", "ClientError", "Refused", "Retries", "Unreachable"]


def __getattr__(name: str) -> Any:
    if name == "AsyncClient":
        from agentproxy.client.asynchronous import AsyncClient

        return AsyncClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
