"""The listeners that endpoint strings name: Twisted's own, and TLS behind the PROXY protocol.

A balancer that passes TLS on says who the client is before the handshake (haproxy's ``send-proxy``, nginx's
``proxy_protocol``, network load balancers). Twisted looks for that header inside TLS, where nobody puts it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IProtocolFactory, IStreamServerEndpoint
from twisted.internet.protocol import Factory
from twisted.protocols.haproxy import proxyEndpoint
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

_PROXIED_TLS = "haproxy:ssl:"


def endpoint_of(reactor: Any, description: str) -> IStreamServerEndpoint:
    """Return the endpoint of a string such as ``tcp:8080``; ``haproxy:ssl:`` expects the header before the handshake.

    :raises ValueError: it names no endpoint.
    """
    if description.startswith(_PROXIED_TLS):
        reactor, description = _Proxied(reactor), description.removeprefix("haproxy:")
    endpoint: IStreamServerEndpoint = serverFromString(reactor, description)
    return endpoint


def shown(description: str, address: Any) -> str:
    """Return where an endpoint listens as people write it: a URL, or ``unix:PATH``.

    :param description: the endpoint's string.
    :param address: what its port says.
    """
    if not isinstance(address, (IPv4Address, IPv6Address)):
        return f"unix:{os.fsdecode(address.name or b'')}" if isinstance(address, UNIXAddress) else str(address)
    scheme = "https" if "ssl:" in description else "http"
    host = f"[{address.host}]" if isinstance(address, IPv6Address) else address.host
    return f"{scheme}://{host}:{address.port}"


@implementer(IStreamServerEndpoint)
class _Place:
    """Where a wrapped factory shall listen."""

    def __init__(self, take: Callable[[IProtocolFactory], Any]) -> None:
        self._take = take

    def listen(self, protocolFactory: IProtocolFactory) -> Any:
        """Listen with the wrapped factory."""
        return self._take(protocolFactory)


class _Proxied:
    """The reactor, except that a listener with TLS reads the PROXY header first."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenSSL(self, port: int, factory: Factory, contextFactory: Any, backlog: int, interface: str) -> Any:
        """Return the port: the header outside, TLS inside it, the factory innermost."""
        inside = TLSMemoryBIOFactory(contextFactory, False, factory)
        place = _Place(lambda outside: self._reactor.listenTCP(port, outside, backlog, interface))
        return proxyEndpoint(place).listen(inside)
