"""Port leases."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentproxy.errors import START_UNAVAILABLE, Refusal
from agentproxy.runtime.ports import Ports, is_free


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_port_where_somebody_listens_is_not_free(host: str) -> None:
    """A stranger who listens on any interface keeps the port."""
    with socket.create_server((host, 0)) as stranger:
        port = stranger.getsockname()[1]
        assert not is_free(port)
    assert is_free(port)


@given(st.lists(st.booleans(), max_size=60), st.sets(st.integers(5000, 5009)))
def test_no_port_is_leased_twice(wishes: list[bool], strangers: set[int]) -> None:
    """Whatever is leased and released: leases differ, strangers' ports are left alone, a full range refuses."""
    ports = Ports(5000, 5009, free=lambda port: port not in strangers, claim=lambda _port: lambda: None)
    held = []
    for wish in wishes:
        if not wish:
            if held:
                lease = held.pop(0)
                lease.release()
                lease.release()
        elif len(held) + len(strangers) == 10:
            with pytest.raises(Refusal) as refused:
                ports.lease()
            assert refused.value.kind is START_UNAVAILABLE
        else:
            held.append(ports.lease())
        assert ports.leased == {lease.port for lease in held}
        assert len(ports.leased) == len(held)
        assert not ports.leased & strangers


def test_a_released_port_rests() -> None:
    """The port released last is not the next one leased."""
    ports = Ports(5000, 5002, free=lambda _port: True, claim=lambda _port: lambda: None)
    with ports.lease() as first:
        pass
    assert ports.lease().port != first.port


def test_two_servers_on_one_machine_never_lease_the_same_port() -> None:
    """A port is another server's from the lease on, before anybody listens there, until the lease is given back."""
    with socket.create_server(("127.0.0.1", 0)) as somewhere:
        first = somewhere.getsockname()[1]
    one, other = Ports(first, first, free=lambda _port: True), Ports(first, first, free=lambda _port: True)
    lease = one.lease()
    with pytest.raises(Refusal):
        other.lease()
    lease.release()
    lease.release()
    with other.lease() as again:
        assert again.port == first
