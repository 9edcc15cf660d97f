"""The leaner round of the reactor: the same things happen, and the stock round comes back."""

from __future__ import annotations

import select
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as _reactor
from twisted.internet import tcp
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


async def _lose_one(world: World, broken: type[Protocol], defect: type[Exception]) -> bytes:
    """Return what a client of a broken protocol read to its end; others are served, and the defect is in the log."""
    port = reactor.listenTCP(0, Factory.forProtocol(broken), interface="127.0.0.1")
    seen: list[Any] = []
    globalLogPublisher.addObserver(seen.append)
    try:
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
        ear: Any = await endpoint.connect(Factory.forProtocol(Ear))
        ear.transport.write(b"x")
        said: bytes = await ear.until(lambda ear: ear.closed)
        world.answer = saying(OK)
        client = await world.client(get(f"/{ID}/x", "Connection: close\r\n"))
        assert (await client.until(lambda ear: ear.closed)).endswith(b"ok")
    finally:
        globalLogPublisher.removeObserver(seen.append)
        await port.stopListening()
    failures = [event["log_failure"] for event in seen if "log_failure" in event]
    assert [failure.type for failure in failures] == [defect]
    return said


@needs_epoll
@pytest.mark.parametrize("defect", [ZeroDivisionError, BlockingIOError])
@pytest_twisted.ensureDeferred
async def test_a_protocol_that_raises_loses_its_connection_only(world: World, defect: type[Exception]) -> None:
    """A defect in one connection is logged and ends that one; the others go on."""

    class Broken(Protocol):
        def dataReceived(self, data: bytes) -> None:
            raise defect("a defect")

    assert await _lose_one(world, Broken, defect) == b""


@needs_epoll
@pytest_twisted.ensureDeferred
async def test_a_producer_that_raises_loses_its_connection_only(world: World) -> None:
    """What fails when a buffer has been sent is logged and ends that connection; the others go on."""

    class Producer:
        asked = 0

        def resumeProducing(self) -> None:
            self.asked += 1
            if self.asked > 1:  # the first time is when it is registered
                raise ZeroDivisionError("a defect")

        def stopProducing(self) -> None:
            pass

    class Broken(Protocol):
        def dataReceived(self, data: bytes) -> None:
            transport: Any = self.transport
            transport.registerProducer(Producer(), False)
            transport.write(b"all of it")

    assert await _lose_one(world, Broken, ZeroDivisionError) == b"all of it"


def test_who_fills_a_read_gets_a_larger_one_until_a_read_is_small() -> None:
    """Long bodies are read in larger pieces; an event stream never makes room for one."""
    asked, heard, given = list[int](), list[int](), iter([100, 65536, 131072, 70000, 65535, 65535, 65536])

    def recv(size: int) -> bytes:
        asked.append(size)
        return b"x" * next(given)

    connection: Any = tcp.Server.__new__(tcp.Server)
    connection.socket = SimpleNamespace(recv=recv)
    connection.protocol = SimpleNamespace(dataReceived=lambda data: heard.append(len(data)))
    poller = SimpleNamespace(poll=lambda _timeout, _most: [(7, select.EPOLLIN)])
    shaped: Any = SimpleNamespace(_poller=poller, _selectables={7: connection}, _doReadOrWrite=None)
    turn = lean_poll._round_of(shaped)
    for _ in range(7):
        turn(0)
    assert asked == [65536, 65536, 131072, 131072, 131072, 65536, 65536]
    assert heard == [100, 65536, 131072, 70000, 65535, 65535, 65536]
