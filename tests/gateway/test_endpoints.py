"""Every kind of listener that an endpoint string can name leads to the same relay."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as _reactor
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
    wrapClientTLS,
)
from twisted.internet.protocol import Factory
from twisted.internet.ssl import CertificateOptions

from agentproxy.gateway.listening import endpoint_of, shown
from tests.certificates import certificate
from tests.gateway.test_pressure import ASK, MIB, SWITCH, held, standstill
from tests.gateway.test_relay import ID, OK, Ear, World, get, saying
from tests.gateway.test_relay import world as world
from tests.wire import Client

reactor: Any = _reactor


async def listening(world: World, endpoint: str, connect: Callable[[Any], Any]) -> tuple[Any, Ear]:
    """Listen at the endpoint and return its port and a connected client."""
    port: Any = await endpoint_of(reactor, endpoint).listen(world.front)
    try:
        client: Any = await connect(port.getHost()).connect(Factory.forProtocol(Ear))
    except BaseException:
        await port.stopListening()
        raise
    return port, client


def tls_at(directory: Path) -> str:
    """Return the string of an endpoint with TLS."""
    key, cert = certificate(directory)
    return f"ssl:0:privateKey={key}:certKey={cert}:interface=127.0.0.1"


def offer() -> CertificateOptions:
    """Return a client's side of TLS: it offers what browsers and curl offer."""
    return CertificateOptions(acceptableProtocols=[b"h2", b"http/1.1"])


async def tls(world: World, directory: Path) -> tuple[Any, Ear]:
    """Listen with TLS, with a client."""

    def connect(host: Any) -> Any:
        return wrapClientTLS(offer(), TCP4ClientEndpoint(reactor, "127.0.0.1", host.port))

    return await listening(world, tls_at(directory), connect)


def noting(seen: list[bytes], answer: Callable[[Ear], None]) -> Callable[[Ear], None]:
    """Note what the agent heard, then answer."""

    def note(ear: Ear) -> None:
        seen.append(ear.heard)
        answer(ear)

    return note


@pytest_twisted.ensureDeferred
async def test_tls_tells_the_agent_and_carries_own_pages(world: World, tmp_path: Path) -> None:
    """Behind TLS the agent hears https, and requests for pages and sessions share the connection."""
    seen: list[bytes] = []
    world.answer = noting(seen, saying(OK))
    port, client = await tls(world, tmp_path)
    client.transport.write(get(f"/{ID}/x") + get("/own") + get(f"/{ID}/y", "Connection: close\r\n"))  # type: ignore[union-attr]
    try:
        heard = await client.until(lambda ear: ear.closed)
    finally:
        await port.stopListening()
    assert heard.count(b"HTTP/1.1 200 OK") == 3
    assert b"own /own" in heard
    assert b"X-Forwarded-Proto: https\r\n" in b"".join(seen)


@pytest_twisted.ensureDeferred
async def test_tls_behind_a_balancer_names_the_client(world: World, tmp_path: Path) -> None:
    """A balancer that passes TLS on says first who the client is; what the client offers in TLS is answered."""
    seen: list[bytes] = []
    world.answer = noting(seen, saying(OK))
    where = "haproxy:" + tls_at(tmp_path)
    port, client = await listening(world, where, lambda host: TCP4ClientEndpoint(reactor, "127.0.0.1", host.port))
    transport: Any = client.transport
    transport.write(b"PROXY TCP4 8.7.6.5 127.0.0.1 1000 443\r\n")
    transport.startTLS(offer())
    transport.write(get(f"/{ID}/x") + get("/own", "Connection: close\r\n"))
    try:
        await client.until(lambda ear: bool(ear.heard))
        assert transport.protocol.negotiatedProtocol == b"http/1.1"
        heard = await client.until(lambda ear: ear.closed)
    finally:
        await port.stopListening()
    assert heard.count(b"HTTP/1.1 200 OK") == 2
    assert b"X-Forwarded-For: 8.7.6.5\r\n" in b"".join(seen)
    assert b"X-Forwarded-Proto: https\r\n" in b"".join(seen)


@pytest_twisted.ensureDeferred
async def test_tls_stalls_and_truncates_like_plain(world: World, tmp_path: Path) -> None:
    """A stalled reader behind TLS stalls its agent and gets everything; a broken answer is no clean end."""
    size = 12 * MIB
    world.answer = saying(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (size + 1) + b"x" * size, close=True)
    port, client = await tls(world, tmp_path)
    client.transport.write(get(f"/{ID}/x"))  # type: ignore[union-attr]
    try:
        await client.until(lambda ear: bool(ear.heard))
        client.transport.pauseProducing()  # type: ignore[union-attr]
        await standstill(world, lambda: held(world.agents[0].transport) if not world.agents[0].closed else 0)
        assert held(world.agents[0].transport) > MIB, "the agent was not held"
        client.transport.resumeProducing()  # type: ignore[union-attr]
        heard = await client.until(lambda ear: ear.closed)
    finally:
        await port.stopListening()
    assert len(heard.partition(b"\r\n\r\n")[2]) <= size


@pytest_twisted.ensureDeferred
async def test_a_websocket_crosses_tls(world: World, tmp_path: Path) -> None:
    """A tunnel behind TLS carries big messages both ways."""
    world.answer = saying(SWITCH)
    port, client = await tls(world, tmp_path)
    try:
        client.transport.write(get(f"/{ID}/ws", ASK))  # type: ignore[union-attr]
        await client.until(lambda ear: ear.heard.endswith(b"\r\n\r\n"))
        world.answer = lambda ear: ear.transport.write(b"!")  # type: ignore[union-attr]
        client.transport.write(b"w" * MIB)  # type: ignore[union-attr]
        await world.agents[0].until(lambda ear: ear.heard.count(b"w") >= MIB)
        await client.until(lambda ear: ear.heard.endswith(b"!"))
        client.transport.loseConnection()  # type: ignore[union-attr]
        await world.agents[0].until(lambda ear: ear.closed)
    finally:
        await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_a_unix_socket_serves_and_names_no_address(world: World, tmp_path: Path) -> None:
    """Behind a UNIX socket there is no client address to tell, and an invented one is removed."""
    seen: list[bytes] = []
    world.answer = noting(seen, saying(OK))
    path = str(tmp_path / "front")
    port, client = await listening(world, f"unix:{path}", lambda _host: UNIXClientEndpoint(reactor, path))
    client.transport.write(get(f"/{ID}/x", "Connection: close\r\nX-Forwarded-For: 6.6.6.6\r\n"))  # type: ignore[union-attr]
    try:
        assert (await client.until(lambda ear: ear.closed)).endswith(b"ok")
    finally:
        await port.stopListening()
    assert b"X-Forwarded-For" not in b"".join(seen)


def has_ipv6() -> bool:
    """Return whether this machine has the IPv6 loopback address."""
    try:
        with socket.socket(socket.AF_INET6) as made:
            made.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
@pytest_twisted.ensureDeferred
async def test_ipv6_clients_are_named_by_their_address(world: World) -> None:
    """An IPv6 client is served, also with its literal in Host, and the agent hears its address."""
    seen: list[bytes] = []
    world.answer = noting(seen, saying(OK))
    where = "tcp6:0:interface=\\:\\:1"
    port, client = await listening(world, where, lambda host: TCP6ClientEndpoint(reactor, "::1", host.port))
    client.transport.write(  # type: ignore[union-attr]
        f"GET /{ID}/x HTTP/1.1\r\nHost: [::1]:80\r\nConnection: close\r\n\r\n".encode()
    )
    try:
        assert (await client.until(lambda ear: ear.closed)).endswith(b"ok")
    finally:
        await port.stopListening()
    assert b"X-Forwarded-For: ::1\r\n" in b"".join(seen)
    assert b"X-Forwarded-Host: [::1]:80\r\n" in b"".join(seen)


def test_a_socket_of_systemd_is_served(tmp_path: Path) -> None:
    """The daemon takes a listening socket that it was started with, as systemd hands it over."""
    (tmp_path / "conf").write_text(
        json.dumps(
            {
                "data_dir": str(tmp_path / "data"),
                "listeners": [{"endpoint": "systemd:domain=INET:index=0"}],
                "auth": {"allow_anonymous": True},
            }
        ),
        encoding="utf-8",
    )
    environment = {**os.environ, "LISTEN_FDS": "1", "LISTEN_FDNAMES": "agentproxy.socket"}
    with socket.socket() as listener, (tmp_path / "out").open("wb") as out:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        line = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ['LISTEN_PID'] = str(os.getpid()); "
        line += "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
        words = [sys.executable, "-c", line, str(listener.fileno()), "-m", "agentproxy", "-c", str(tmp_path / "conf")]
        process = subprocess.Popen(words, pass_fds=[listener.fileno()], stdout=out, stderr=out, env=environment)
        port = listener.getsockname()[1]
        listener.close()
        try:
            reply = Client("127.0.0.1", port).get("/health")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
    assert reply.json() == {"status": "ok"}, (tmp_path / "out").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("endpoint", "address", "expected"),
    [
        ("tcp:8080:interface=127.0.0.1", IPv4Address("TCP", "127.0.0.1", 8080), "http://127.0.0.1:8080"),
        ("tcp6:8080", IPv6Address("TCP", "::", 8080), "http://[::]:8080"),
        ("ssl:443:privateKey=key.pem", IPv4Address("TCP", "0.0.0.0", 443), "https://0.0.0.0:443"),
        ("haproxy:ssl:443", IPv4Address("TCP", "0.0.0.0", 443), "https://0.0.0.0:443"),
        ("unix:/run/a.sock", UNIXAddress("/run/a.sock"), "unix:/run/a.sock"),
        ("systemd:domain=INET:index=0", IPv4Address("TCP", "127.0.0.1", 80), "http://127.0.0.1:80"),
    ],
)
def test_where_it_listens_is_told_as_people_write_it(endpoint: str, address: object, expected: str) -> None:
    """What the log says can be given to a browser or to a command."""
    assert shown(endpoint, address) == expected
