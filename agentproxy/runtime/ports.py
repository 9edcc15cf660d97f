"""Port leases: the right to a port of the configured range, proven free by binding, until it is released.

agentapi binds all interfaces, so a port counts as free only when nobody listens on any of them, IPv4 and IPv6. Between a
lease and the moment in which the agent server listens nobody can see that the port is taken, so servers on one machine tell each
other: a lease holds a name in the network namespace that the ports are in, and the kernel gives it back with the process.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from types import TracebackType

from agentproxy.errors import START_UNAVAILABLE, Refusal


def is_free(port: int) -> bool:
    """Return whether a server could listen on ``port`` of all interfaces at this moment."""
    return _can_bind(socket.AF_INET, "0.0.0.0", port) and _can_bind(socket.AF_INET6, "::", port)


def _can_bind(family: socket.AddressFamily, host: str, port: int) -> bool:
    try:
        probe = socket.socket(family, socket.SOCK_STREAM)
    except OSError:
        return True  # a machine without IPv6
    with probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno == errno.EADDRNOTAVAIL
    return True


def claim(port: int) -> Callable[[], None] | None:
    """Claim a port among the servers of this machine; return what gives it back, None when another server has it."""
    name = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        name.bind(f"\0agentproxy-port-{port}")
    except OSError:
        name.close()
        return None
    return name.close


class PortLease:
    """The right to :attr:`port`; :meth:`release` gives it back, twice without harm."""

    def __init__(self, port: int, give_back: Callable[[int], None]) -> None:
        self.port = port
        self._give_back: Callable[[int], None] | None = give_back

    def release(self) -> None:
        """Give the port back; call it only when the process that listened there is gone."""
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back(self.port)

    def __enter__(self) -> PortLease:
        """Return the lease itself."""
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        """Release it."""
        self.release()


class Ports:
    """All leases of this server.

    The search goes on behind the port leased last, so that a port that was just released rests as long as possible.

    :param first: lowest port, inclusive.
    :param last: highest port, inclusive.
    :param free: tells whether a port is free of strangers.
    :param claim: claims a port among the servers of this machine.
    """

    def __init__(
        self,
        first: int,
        last: int,
        free: Callable[[int], bool] = is_free,
        claim: Callable[[int], Callable[[], None] | None] = claim,
    ) -> None:
        if not 0 < first <= last < 65536:
            raise ValueError(f"ports {first} to {last} are no range")
        self._first = first
        self._size = last - first + 1
        self._free = free
        self._claim = claim
        self._next = 0
        self._leased: dict[int, Callable[[], None] | None] = {}

    @property
    def leased(self) -> frozenset[int]:
        """Return the ports that are leased now."""
        return frozenset(self._leased)

    def lease(self) -> PortLease:
        """Lease the next free port.

        :raises Refusal: START_UNAVAILABLE when every port is leased or used by a stranger.
        """
        for step in range(self._size):
            index = (self._next + step) % self._size
            port = self._first + index
            if port in self._leased:
                continue
            claimed = self._claim(port)
            if claimed is None:
                continue
            if self._free(port):
                self._next = (index + 1) % self._size
                return self._hold(port, claimed)
            claimed()
        last = self._first + self._size - 1
        details = f"no free port between {self._first} and {last}: {len(self._leased)} are leased, others use the rest"
        raise Refusal(START_UNAVAILABLE, details, facts={"step": "port"})

    def take(self, port: int) -> PortLease:
        """Lease exactly ``port`` without looking whether somebody listens: for an agent server that is adopted.

        :raises ValueError: it is leased already.
        """
        if port in self._leased:
            raise ValueError(f"port {port} is leased already")
        return self._hold(port, self._claim(port))

    def _hold(self, port: int, claimed: Callable[[], None] | None) -> PortLease:
        self._leased[port] = claimed
        return PortLease(port, self._give_back)

    def _give_back(self, port: int) -> None:
        claimed = self._leased.pop(port, None)
        if claimed is not None:
            claimed()
