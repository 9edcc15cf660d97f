"""The leaner round of the reactor: the same things happen, and the stock round comes back."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as _reactor
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from agentproxy.gateway import lean_poll
from tests.gateway.test_relay import ID, OK, Ear, World, get, saying
from tests.gateway.test_relay import world as world

reactor: Any = _reactor
needs_epoll = pytest.mark.skipif(not lean_poll.fits(reactor), reason="this reactor keeps its own round")


@needs_epoll
@pytest_twisted.ensureDeferred
async def test_it_is_in_use_while_a_front_listens(world: World) -> None:
    """A listening front takes the lean round and serves by it."""
    assert "doIteration" in vars(reactor)
    world.answer = saying(OK)
    client = await world.client(get(f"/{ID}/x", "Connection: close\r\n"))
    assert (await client.until(lambda ear: ear.closed)).endswith(b"ok")


@needs_epoll
def test_the_stock_round_comes_back_with_the_last_user() -> None:
    """Two users may overlap; giving back twice does no harm."""
    before = "doIteration" in vars(reactor)
    first, second = lean_poll.use(reactor), lean_poll.use(reactor)
    first()
    first()
    assert "doIteration" in vars(reactor)
    second()
    assert ("doIteration" in vars(reactor)) == before


def test_another_reactor_is_left_alone() -> None:
    """What is not the known class keeps its own round."""
    clock = Clock()
    lean_poll.use(clock)()
    assert not hasattr(clock, "doIteration")


@needs_epoll
@pytest.mark.parametrize("defect", [ZeroDivisionError, BlockingIOError])
@pytest_twisted.ensureDeferred
async def test_a_protocol_that_raises_loses_its_connection_only(world: World, defect: type[Exception]) -> None:
    """A defect in one connection is logged and ends that one; the others go on."""

    class Broken(Protocol):
        def dataReceived(self, data: bytes) -> None:
            raise defect("a defect")

    port = reactor.listenTCP(0, Factory.forProtocol(Broken), interface="127.0.0.1")
    seen: list[Any] = []
    globalLogPublisher.addObserver(seen.append)
    try:
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
        ear: Any = await endpoint.connect(Factory.forProtocol(Ear))
        ear.transport.write(b"x")
        await ear.until(lambda ear: ear.closed)
        world.answer = saying(OK)
        client = await world.client(get(f"/{ID}/x", "Connection: close\r\n"))
        assert (await client.until(lambda ear: ear.closed)).endswith(b"ok")
    finally:
        globalLogPublisher.removeObserver(seen.append)
        await port.stopListening()
    failures = [event["log_failure"] for event in seen if "log_failure" in event]
    assert [failure.type for failure in failures] == [defect]
