"""Requests to push services: over TLS, within a deadline, to no redirect, and to no address inside our own network.

A host that the configuration names itself is believed; one that fits a pattern may only lead to public addresses, however
its name is answered at that moment.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

import treq
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import (
    IHostnameResolver,
    IReactorPluggableNameResolver,
    IReactorTCP,
    IReactorTime,
    IResolutionReceiver,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Protocol
from twisted.internet.ssl import optionsForClientTLS
from twisted.web.client import URI, Agent
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from agentproxy.model.push import is_named

TIMEOUT = 10.0
"""Seconds."""


class PushServices:
    """Posts to push services.

    :param names: hosts that the configuration allows.
    """

    def __init__(self, reactor: Any, names: Sequence[str]) -> None:
        agent = Agent.usingEndpointFactory(reactor, _Endpoints(reactor, names))
        self._client = treq.client.HTTPClient(agent)

    async def post(self, endpoint: str, body: bytes, headers: Mapping[str, str]) -> int:
        """Post and return the status; what the service says beside it is not read."""
        fields: dict[bytes | str, bytes | str] = dict(headers.items())
        answer = await self._client.post(
            endpoint, data=body, headers=fields, timeout=TIMEOUT, allow_redirects=False, unbuffered=True
        )
        answer.deliverBody(_Enough())
        return int(answer.code)


class _Enough(Protocol):
    """Ends the connection before a body is read."""

    def connectionMade(self) -> None:
        """Hang up."""
        if self.transport is not None:
            self.transport.loseConnection()


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """Where a URI leads."""

    def __init__(self, reactor: Any, names: Sequence[str]) -> None:
        self._reactor, self._names = reactor, names

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """Return the endpoint: TLS, with the certificate checked for the name."""
        host = uri.host.decode("ascii")
        reactor = self._reactor if is_named(host, uri.port, self._names) else Outside(self._reactor)
        endpoint: IStreamClientEndpoint = wrapClientTLS(
            optionsForClientTLS(host), HostnameEndpoint(reactor, host, uri.port)
        )
        return endpoint


@implementer(IReactorPluggableNameResolver, IReactorTCP, IReactorTime, IHostnameResolver)
class Outside:
    """The reactor, with names that lead to public addresses only."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    @property
    def nameResolver(self) -> Any:
        """Return what answers names."""
        return self

    def resolveHostName(self, resolutionReceiver: Any, hostName: str, *arguments: Any, **named: Any) -> Any:
        """Resolve a name and leave out what is not public."""
        return self._reactor.nameResolver.resolveHostName(_Public(resolutionReceiver), hostName, *arguments, **named)


@implementer(IResolutionReceiver)
class _Public:
    """Passes on public addresses."""

    def __init__(self, receiver: Any) -> None:
        self._receiver = receiver

    def resolutionBegan(self, resolution: Any) -> None:
        """Pass on."""
        self._receiver.resolutionBegan(resolution)

    def addressResolved(self, address: Any) -> None:
        """Pass on an address that is not of this machine or its network."""
        if is_public(address.host):
            self._receiver.addressResolved(address)

    def resolutionComplete(self) -> None:
        """Pass on."""
        self._receiver.resolutionComplete()


def is_public(host: str) -> bool:
    """Return whether an address is one of the internet at large."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_global and not address.is_multicast
