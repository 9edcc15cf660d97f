"""A leaner round of the epoll reactor: plain TCP sockets are read and written here, without a log context around each.

The stock round spends about a third of a forwarded request's time on that context, and makes room for as many results as there are
descriptors. What is lost is the prefix of legacy log lines; ours name their facts. The reactor stays what it is: only
its round is replaced while a gateway listens, only for exactly the known class, and :func:`use` gives the stock one back.
"""

from __future__ import annotations

import errno
import select
import sys
from collections.abc import Callable
from typing import Any

from twisted.internet import epollreactor, tcp
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.logger import Logger
from twisted.python import log as legacy

_EVENTS = 256
_USUAL, _MUCH = tcp.Connection.bufferSize, 1 << 17
"""Bytes that are read at once, from most connections and from one that filled the usual room with its last read."""
_PLAIN = frozenset({tcp.Server, tcp.Client})
_NEEDED = ("_poller", "_selectables", "_doReadOrWrite", "_disconnectSelectable", "doPoll")
_log = Logger()


def fits(reactor: Any) -> bool:
    """Return whether the reactor is the one that this round was written for."""
    return type(reactor) is epollreactor.EPollReactor and all(hasattr(reactor, name) for name in _NEEDED)


def use(reactor: Any) -> Callable[[], None]:
    """Let the reactor use the lean round where it fits; return what gives the stock one back, harmless to call twice.

    Uses may overlap: the last one to be given back ends the lean round.
    """
    if not fits(reactor):
        return lambda: None
    users: set[object] = reactor.__dict__.setdefault("_agentproxy_lean", set())
    mine = object()
    users.add(mine)
    reactor.doIteration = _round_of(reactor)

    def give_back() -> None:
        users.discard(mine)
        if not users:
            reactor.__dict__.pop("doIteration", None)

    return give_back


def _round_of(reactor: Any) -> Callable[[float | None], None]:
    poll, selectables, either = reactor._poller.poll, reactor._selectables, reactor._doReadOrWrite
    readable, writable = select.EPOLLIN, select.EPOLLOUT
    with_context: Callable[..., None] = legacy.callWithLogger
    nothing_yet = (errno.EWOULDBLOCK, errno.EAGAIN)

    def lean_round(timeout: float | None) -> None:
        try:
            ready = poll(-1 if timeout is None else timeout, _EVENTS)
        except OSError as error:
            if error.errno == errno.EINTR:
                return
            raise
        for descriptor, event in ready:
            selectable = selectables.get(descriptor)
            if selectable is None:
                continue
            if type(selectable) not in _PLAIN:
                with_context(selectable, either, selectable, descriptor, event)
            elif event == readable:
                size = selectable.bufferSize
                try:
                    data = selectable.socket.recv(size)
                except OSError as error:
                    if error.errno in nothing_yet:
                        continue
                    why: BaseException | None = CONNECTION_LOST
                else:
                    try:
                        if data:
                            if len(data) == size == _USUAL:
                                selectable.bufferSize = _MUCH
                            elif size == _MUCH and len(data) < _USUAL:
                                selectable.bufferSize = _USUAL
                            selectable.protocol.dataReceived(data)
                            continue
                        why = CONNECTION_DONE
                    except Exception:
                        _log.failure("A connection failed while it was read")
                        why = sys.exc_info()[1]
                reactor._disconnectSelectable(selectable, why, True)
            elif event == writable:
                try:
                    why = selectable.doWrite()
                except Exception:
                    _log.failure("A connection failed while it was written to")
                    why = sys.exc_info()[1]
                if why:
                    reactor._disconnectSelectable(selectable, why, False)
            else:
                with_context(selectable, either, selectable, descriptor, event)

    return lean_round
