"""The journal over WebSocket: each message is one event as JSON, as in the stream. What the client sends is ignored.

autobahn is imported at the first connection, because that takes a tenth of a second.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.web.http import Request

from agentproxy.errors import FORBIDDEN, INVALID_REQUEST, Refusal
from agentproxy.features.streaming import Feed
from agentproxy.model.cors import CorsRules
from agentproxy.model.event import Event
from agentproxy.web import wire


def is_wanted(request: Request) -> bool:
    """Return whether a request asks for a WebSocket."""
    return (wire.header(request, "upgrade") or "").strip().lower() == "websocket"


def check(request: Request, cors: CorsRules) -> None:
    """Refuse a page of another origin: browsers send cookies along and ask nobody.

    :raises Refusal: FORBIDDEN; INVALID_REQUEST for a handshake of another version.
    """
    origin, host = wire.header(request, "origin"), wire.header(request, "host")
    own = {f"http://{host}".lower(), f"https://{host}".lower()}
    if origin is not None and origin.lower() not in own and not cors.allows(origin):
        raise Refusal(FORBIDDEN, "the page's origin may not open WebSockets here")
    if wire.header(request, "sec-websocket-version") != "13" or not wire.header(request, "sec-websocket-key"):
        raise Refusal(INVALID_REQUEST, "Sec-WebSocket-Version: expected a handshake of version 13")


def take_over(request: Request, encode: Callable[[Event], bytes], open_feed: Callable[[Any], Feed]) -> None:
    """Turn the connection of *request* into a WebSocket; when it is open, *open_feed* gets the sink to write to."""
    from agentproxy.web import socket_reader

    socket_reader.take_over(request, encode, open_feed)
