"""Names that lead into our own network are not followed; those that lead out of it are."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as _reactor
from twisted.internet.endpoints import HostnameEndpoint, serverFromString
from twisted.internet.error import DNSLookupError
from twisted.internet.protocol import Factory, Protocol

from agentproxy.features.push_services import Outside, is_public

reactor: Any = _reactor


@pytest_twisted.ensureDeferred
async def test_a_name_of_a_private_address_is_no_name() -> None:
    """`localhost` has no address there, although something listens at it."""
    port: Any = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(Factory.forProtocol(Protocol))
    try:
        for inner in (Outside(reactor), reactor):
            endpoint = HostnameEndpoint(inner, "localhost", port.getHost().port)
            if inner is reactor:
                connected: Any = await endpoint.connect(Factory.forProtocol(Protocol))
                connected.transport.abortConnection()
            else:
                with pytest.raises(DNSLookupError):
                    await endpoint.connect(Factory.forProtocol(Protocol))
    finally:
        await port.stopListening()


@pytest.mark.parametrize("address", [
    "127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1", "::1", "fe80::1%eth0",
    "fd00::1", "::ffff:127.0.0.1", "no address",
])  # fmt: skip
def test_what_is_not_the_internet(address: str) -> None:
    """Loopback, private, link-local, shared and multicast addresses are none of a push service."""
    assert not is_public(address)


def test_what_is_the_internet() -> None:
    """Addresses of the internet at large are."""
    assert is_public("8.8.8.8")
    assert is_public("2607:f8b0:4004:800::200e")
