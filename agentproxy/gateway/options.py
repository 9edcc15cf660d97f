"""The numbers of the gateway, and what it counts."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    """Every limit; times in seconds, sizes in bytes.

    :param head_timeout: from the first byte of a request head to its end, then 408.
    :param body_timeout: without a byte of a request body that is wanted, then 408.
    :param keep_alive_timeout: a client connection without a request is closed.
    :param start_wait: a request waits this long for a session that starts, then 503.
    :param connect_timeout: to an agent server, then 502.
    :param first_byte_timeout: from the request to the first byte of its answer, then 504; agents can take long.
    :param idle_timeout: without a byte of an answer that has begun, or either way of an upgraded connection.
    :param keepalive: an event stream silent for so long gets a comment between two events.
    :param pool_idle: an unused connection to an agent server is closed.
    :param pool_size: unused connections kept for each agent server.
    :param max_head: longest head, then 431 (or 502 for an answer).
    :param max_headers: most header fields.
    :param max_ahead: bytes of pipelined requests read ahead of the current one.
    :param max_own_body: bytes of a request body for our own pages, then 413; what goes to agent servers has no limit here.
    :param trusted_proxies: networks whose ``X-Forwarded-*`` headers are believed.
    """

    head_timeout: float = 30.0
    body_timeout: float = 60.0
    keep_alive_timeout: float = 75.0
    start_wait: float = 30.0
    connect_timeout: float = 5.0
    first_byte_timeout: float = 600.0
    idle_timeout: float = 3600.0
    keepalive: float = 15.0
    pool_idle: float = 60.0
    pool_size: int = 32
    max_head: int = 32768
    max_headers: int = 100
    max_ahead: int = 65536
    max_own_body: int = 16 << 20
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()

    def trusts(self, peer: str) -> bool:
        """Return whether ``X-Forwarded-*`` headers of this peer address are believed."""
        if not self.trusted_proxies or not peer:
            return False
        try:
            address = ip_address(peer.partition("%")[0])
        except ValueError:
            return False
        return any(address in network for network in self.trusted_proxies)


@dataclass(slots=True)
class GatewayCounts:
    """Plain numbers for the metrics: totals, except ``connections`` and ``tunnels``, which are now."""

    connections: int = 0
    tunnels: int = 0
    requests: int = 0
    refused: int = 0
    connects: int = 0
    failed: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0
