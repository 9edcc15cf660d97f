"""Requests and streams to one agent server: addresses, the door, deadlines, connections that are all closed at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.defer import TimeoutError as DeadlineError
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, UNIXClientEndpoint
from twisted.internet.error import ConnectError, ConnectionDone
from twisted.internet.interfaces import IConsumer, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, HTTPConnectionPool, ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IBodyProducer, IResponse
from zope.interface import implementer

from agentproxy.model.backend import DOOR_HEADER, Backend

log = Logger()

CONNECT_TIMEOUT = 5.0
ANSWER_LIMIT = 64 * 1024 * 1024


class NotConnected(Exception):  # noqa: N818 - says what is known: nothing was sent
    """No connection could be made, so nothing was sent."""


class NotAnswered(Exception):  # noqa: N818 - says what is known: it may have been read
    """The request may have been read, but no whole answer came.

    :param late: whether the deadline passed, as opposed to a connection that broke.
    """

    def __init__(self, why: str, late: bool = False) -> None:
        super().__init__(why)
        self.late = late


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole answer."""

    status: int
    body: bytes


@implementer(IAgentEndpointFactory)
class _OneEndpoint:
    """Connects to the one backend, whatever the URI says."""

    def __init__(self, reactor: Any, backend: Backend) -> None:
        self._reactor, self._backend = reactor, backend

    def endpointForURI(self, _uri: URI) -> IStreamClientEndpoint:
        backend = self._backend
        if backend.unix_path is not None:
            return UNIXClientEndpoint(self._reactor, backend.unix_path, timeout=CONNECT_TIMEOUT)
        assert backend.port is not None
        if backend.host.replace(".", "").isdigit():
            return TCP4ClientEndpoint(self._reactor, backend.host, backend.port, timeout=CONNECT_TIMEOUT)
        return HostnameEndpoint(self._reactor, backend.host, backend.port, timeout=CONNECT_TIMEOUT)


class _Body(Protocol):
    """Hands the pieces of a body on and says once how it ended; deaf after :meth:`stop`."""

    def __init__(self, feed: Callable[[bytes], None], ended: Callable[[Failure], None]) -> None:
        self._feed, self._ended = feed, ended
        self._stopped = False

    def dataReceived(self, data: bytes) -> None:
        if not self._stopped:
            self._feed(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self._stopped:
            self._stopped = True
            self._ended(reason)

    def stop(self) -> None:
        self._stopped = True
        if self.transport is not None:
            self.transport.loseConnection()


class Stream:
    """One answer that has no end. Made by :meth:`Connection.stream`."""

    def __init__(self, request: Deferred[IResponse], forget: Callable[[Stream], None]) -> None:
        self._request = request
        self._forget = forget
        self._body: _Body | None = None
        self._closed = False

    def _begin(self, body: _Body, response: IResponse) -> None:
        self._body = body
        cast(Any, response).deliverBody(body)

    def close(self) -> None:
        """End the connection of the stream; nobody is told. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        self._forget(self)
        if self._body is not None:
            self._body.stop()
        else:
            self._request.cancel()

    @property
    def is_closed(self) -> bool:
        """Return whether it was closed from our side."""
        return self._closed


class _QuietFactory(HTTPConnectionPool._factory):  # type: ignore[misc, valid-type]
    """Logs no line for each connection."""

    noisy = False


class _QuietPool(HTTPConnectionPool):
    _factory = _QuietFactory


class Connection:
    """Requests to one agent server.

    Reads share kept-alive connections. What types into the agent goes over a fresh connection each: a kept one that the
    server has just closed would leave it unknown whether the request was read.

    :param reactor: connects TCP and UNIX sockets and keeps the deadlines.
    """

    def __init__(self, reactor: Any, backend: Backend) -> None:
        self._reactor = reactor
        self._root = f"http://{backend.authority}".encode("ascii")
        self._door = {DOOR_HEADER: backend.door} if backend.door is not None else {}
        factory = _OneEndpoint(reactor, backend)
        pool: Any = _QuietPool
        agent: Any = Agent
        self._pool = pool(reactor, persistent=True)
        self._pool.maxPersistentPerHost = 2
        self._kept = agent.usingEndpointFactory(reactor, factory, self._pool)
        self._fresh = agent.usingEndpointFactory(reactor, factory, pool(reactor, persistent=False))
        self._streams: set[Stream] = set()

    async def get(self, path: str, deadline: float) -> Answer:
        """GET *path* within *deadline* seconds.

        :raises NotConnected: nothing was sent.
        :raises NotAnswered: no whole answer came.
        """
        return await self._within(deadline, self._kept.request(b"GET", self._root + path.encode(), self._headers()))

    async def post(self, path: str, body: bytes, deadline: float) -> Answer:
        """POST a JSON *body* once, never again by itself; raises as :meth:`get`."""
        headers = self._headers({"Content-Type": "application/json"})
        producer = _Bytes(body)
        return await self._within(deadline, self._fresh.request(b"POST", self._root + path.encode(), headers, producer))

    def stream(
        self, path: str, opened: Callable[[], None], feed: Callable[[bytes], None], ended: Callable[[str], None]
    ) -> Stream:
        """GET *path* and hand its body on piece by piece; *ended* is called once with the reason, unless closed by us."""
        request = self._fresh.request(
            b"GET", self._root + path.encode(), self._headers({"Accept": "text/event-stream"})
        )
        stream = Stream(request, self._streams.discard)
        self._streams.add(stream)

        def lost(reason: Failure) -> None:
            self._streams.discard(stream)
            if not stream.is_closed:
                ended(_why(reason.value))

        def begin(response: IResponse) -> None:
            if response.code != 200:
                stream._begin(_Body(lambda _data: None, lambda _reason: None), response)
                stream.close()
                ended(f"GET {path} was answered with {response.code}")
                return
            opened()
            if not stream.is_closed:
                stream._begin(_Body(feed, lost), response)

        request.addCallbacks(begin, lost)
        request.addErrback(lambda failure: log.failure("A reader of {path} failed", failure, path=path))
        return stream

    async def close(self) -> None:
        """End all streams and kept connections; a second call does nothing."""
        for stream in list(self._streams):
            stream.close()
        await self._pool.closeCachedConnections()

    def _headers(self, more: Mapping[str, str] | None = None) -> Headers:
        return Headers({name: [value] for name, value in {**self._door, **(more or {})}.items()})

    async def _within(self, deadline: float, request: Deferred[IResponse]) -> Answer:
        whole: Deferred[Answer] = request.addCallback(_whole)
        try:
            return await whole.addTimeout(deadline, self._reactor, _past_deadline)
        except ConnectError as error:
            raise NotConnected(str(error)) from error
        except DeadlineError as error:
            raise NotAnswered(f"no answer within {deadline:g} s", late=True) from error
        except CancelledError:
            raise
        except Exception as error:
            raise NotAnswered(_why(error)) from error


@implementer(IBodyProducer)
class _Bytes:
    """A small body, written at once."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self.length = len(body)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """Nothing is left to pause."""

    def resumeProducing(self) -> None:
        """Nothing is left to resume."""

    def stopProducing(self) -> None:
        """Nothing is left to stop."""


def _whole(response: IResponse) -> Deferred[Answer]:
    """Return a Deferred of the whole answer; cancelling it aborts the connection."""
    pieces: list[bytes] = []
    size = 0

    def feed(data: bytes) -> None:
        nonlocal size
        size += len(data)
        pieces.append(data)
        if size > ANSWER_LIMIT:
            body.stop()
            done.errback(NotAnswered(f"an answer of more than {ANSWER_LIMIT} bytes"))

    def ended(reason: Failure) -> None:
        if done.called:
            return
        if isinstance(reason.value, ResponseDone):
            done.callback(Answer(response.code, b"".join(pieces)))
        else:
            done.errback(reason)

    body = _Body(feed, ended)
    done: Deferred[Answer] = Deferred(lambda _: body.stop())
    cast(Any, response).deliverBody(body)
    return done


def _past_deadline(_result: object, _seconds: float) -> Any:
    """Say that the deadline passed, in whatever way the cancelled request failed."""
    raise DeadlineError


def _why(error: BaseException | None) -> str:
    """Return one sentence for a failure of a connection."""
    if isinstance(error, ConnectionDone | ResponseDone):
        return "the agent server closed the connection"
    inner = getattr(error, "reasons", None)
    if inner:
        return _why(inner[0].value)
    return str(error) or type(error).__name__
