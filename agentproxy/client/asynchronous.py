"""The client for Twisted programs: the names of :class:`agentproxy.client.Client` as coroutines, on treq."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import aclosing
from typing import Any, Concatenate, ParamSpec, TypeVar

import treq as treq_module
from twisted.internet.defer import DeferredQueue
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.client import PartialDownloadError, ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss

from agentproxy.client import calls, people, results
from agentproxy.client.call import Call, as_method_of
from agentproxy.client.failures import ClientError, Unreachable, refusal
from agentproxy.client.progress import Progress, outcome
from agentproxy.client.resuming import Place, read_events
from agentproxy.client.retries import Retries
from agentproxy.model.sse import EventParser

P = ParamSpec("P")
T = TypeVar("T")
_BROKEN = (ConnectError, ConnectionClosed, ResponseFailed, PartialDownloadError, OSError)


def sends(make: Callable[P, Call[T]]) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]:
    """Return the method that sends what *make* makes and returns its result: same name, same arguments, same docstring."""

    async def method(client: AsyncClient, /, *args: P.args, **named: P.kwargs) -> T:
        return await client.do(make(*args, **named))

    return as_method_of(make, method)


class AsyncClient:
    """One server.

    :param url: such as ``http://127.0.0.1:8080``.
    :param key: an API key or token; sent as ``Authorization: Bearer``.
    :param retries: when calls that do no harm twice are sent again.
    :param treq: who sends; one with certificates of its own, or an in-memory one in tests.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8080",
        key: str | None = None,
        retries: Retries | None = None,
        treq: Any = treq_module,
        reactor: Any = None,
    ) -> None:
        if reactor is None:
            from twisted.internet import reactor
        self._url = url.rstrip("/")
        self._key = key
        self._retries = retries or Retries()
        self._treq = treq
        self._reactor = reactor

    # -- sessions

    async def start(self, on_progress: Progress | None = None, **wish: Any) -> results.Session:
        """Start a session; the wish is as in :func:`agentproxy.client.calls.start`.

        :param on_progress: told of each event of the start.
        :raises Refused: the start failed; ``step``, ``exit_status`` and ``output`` are among its facts.
        """
        if on_progress is None:
            return await self.do(calls.start(**wish))
        begun = await self.do(calls.start(**{**wish, "wait": "none"}))
        async with aclosing(self.events(begun.session_id)) as events:
            async for event in events:
                on_progress(event)
                if event.type in ("session.ready", "session.ended"):
                    break
        if wish.get("wait") == "stable":
            await self.wait(begun.session_id, "stable")
        return outcome(await self.get(begun.session_id))

    search = sends(calls.search)
    get = sends(calls.get)
    change = sends(calls.change)
    stop = sends(calls.stop)
    restart = sends(calls.restart)
    wait = sends(calls.wait)
    wait_message = sends(calls.wait_message)
    interrupt = sends(calls.interrupt)
    delete = sends(calls.delete)

    # -- talking

    send = sends(calls.send)

    async def ask(self, session_id: str, content: str, **how: Any) -> str:
        """Send a user message, wait for the agent's answer and return it."""
        delivery = await self.send(session_id, content, wait="answered", **how)
        return delivery.answer or ""

    deliveries = sends(calls.deliveries)
    delivery = sends(calls.delivery)
    edit = sends(calls.edit)
    withdraw = sends(calls.withdraw)
    settle = sends(calls.settle)

    # -- what agents ask leave for

    approvals = sends(people.approvals)
    approval = sends(people.approval)
    approval_history = sends(people.approval_history)
    approve = sends(people.approve)
    approval_rules = sends(people.approval_rules)
    add_approval_rule = sends(people.add_approval_rule)
    remove_approval_rule = sends(people.remove_approval_rule)

    # -- who else may see, talk and type

    share = sends(people.share)
    shared = sends(people.shared)
    unshare = sends(people.unshare)
    grant = sends(people.grant)
    ungrant = sends(people.ungrant)
    access = sends(people.access)
    keyboard = sends(people.keyboard)
    use_keyboard = sends(people.use_keyboard)

    # -- who somebody is, and what was done

    whoami = sends(calls.whoami)
    add_token = sends(people.add_token)
    tokens = sends(people.tokens)
    revoke_token = sends(people.revoke_token)
    accounts = sends(people.accounts)
    add_account = sends(people.add_account)
    change_account = sends(people.change_account)
    log_in_kinds = sends(people.log_in_kinds)
    log_ins = sends(people.log_ins)
    end_log_in = sends(people.end_log_in)
    audit = sends(people.audit)

    # -- browsers that are told

    push_key = sends(people.push_key)
    subscribe_push = sends(people.subscribe_push)
    push_subscriptions = sends(people.push_subscriptions)
    unsubscribe_push = sends(people.unsubscribe_push)
    notify = sends(people.notify)

    # -- what is spent, and whether the server can work

    budgets = sends(people.budgets)
    lift_budget = sends(people.lift_budget)
    health = sends(calls.health)

    # -- looking

    messages = sends(calls.messages)
    log = sends(calls.log)
    export = sends(calls.export)

    async def events(
        self, session_id: str | None = None, after: int = 0, types: Sequence[str] = ()
    ) -> AsyncGenerator[results.Event, None]:
        """Yield events of a session, or of all that the caller may see, as they come; a broken stream is resumed.

        It ends when the server ends it for good: the session is deleted, or may no longer be read.
        """
        place = Place(after, self._retries)
        while True:
            try:
                async with aclosing(self._stream(calls.event_stream(session_id, place.after, types))) as stream:
                    async for event in stream:
                        place.heard(event)
                        yield event
                failure: ClientError = Unreachable("the stream ended")
            except ClientError as error:
                failure = error
            wait = place.broke(failure, self._reactor.seconds())
            if wait is None:
                return
            await deferLater(self._reactor, wait)

    cursor = sends(calls.cursor)
    events_page = sends(calls.events_page)

    async def follow_log(self, session_id: str, size: int | None = None) -> AsyncGenerator[bytes, None]:
        """Yield what the agent server printed and prints, until the session ends."""
        async with aclosing(self.stream(calls.follow_log(session_id, size))) as chunks:
            async for chunk in chunks:
                yield chunk

    # -- sending

    async def do(self, call: Call[T]) -> T:
        """Send a call and return its result.

        :raises Refused, Unreachable: as the name says; after the attempts that are allowed.
        """
        tried = 0
        while True:
            tried += 1
            try:
                answer = await self._send(call)
                return call.result(await self._body(answer))
            except ClientError as failure:
                wait = self._retries.wait(call, failure, tried)
                if wait is None:
                    raise
            await deferLater(self._reactor, wait)

    async def stream(self, call: Call[Any]) -> AsyncGenerator[bytes, None]:
        """Send a call and yield its answer piece by piece, as it comes.

        :raises Refused, Unreachable: as the name says; it is not sent again.
        """
        body = _Body()
        answer = await self._send(call)
        answer.deliverBody(body)
        try:
            while isinstance(chunk := await body.chunks.get(), bytes):
                yield chunk
        finally:
            body.cut()
        if not chunk.check(ResponseDone, PotentialDataLoss):
            raise Unreachable(f"the stream broke off: {chunk.getErrorMessage()}")

    async def _send(self, call: Call[Any]) -> Any:
        """Return the answer to a call, its head read and found good."""
        headers = {"Accept": "application/json", "User-Agent": "agentproxy-client", **call.headers}
        if call.body is not None:
            headers["Content-Type"] = "application/json"
        headers |= self.credentials()
        try:
            answer = await self._treq.request(
                call.method, self._url + call.target, data=call.content, headers=headers, timeout=call.patience,
                unbuffered=True, persistent=False,
            )  # fmt: skip
        except _BROKEN as error:
            raise Unreachable(f"{self._url} does not answer: {error}") from error
        if answer.code >= 400:
            wait, name = (answer.headers.getRawHeaders(one, [None])[0] for one in ("retry-after", "x-request-id"))
            raise refusal(answer.code, await self._body(answer), wait, name)
        return answer

    def credentials(self) -> dict[str, str]:
        """Return the headers by which the server knows this client, for programs that ask it by other means."""
        return {"Authorization": f"Bearer {self._key}"} if self._key else {}

    async def _body(self, answer: Any) -> bytes:
        try:
            body: bytes = await self._treq.content(answer)
        except _BROKEN as error:
            raise Unreachable(f"the answer broke off: {error}") from error
        return body

    async def _stream(self, call: Call[None]) -> AsyncGenerator[results.Event, None]:
        parser = EventParser()
        async with aclosing(self.stream(call)) as chunks:
            async for chunk in chunks:
                for event in read_events(parser, chunk):
                    yield event


class _Body(Protocol):
    """The body of a stream, chunk by chunk, then the reason of its end; it can be cut."""

    def __init__(self) -> None:
        self.chunks: DeferredQueue[Any] = DeferredQueue()

    def dataReceived(self, data: bytes) -> None:
        self.chunks.put(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.chunks.put(reason)

    def cut(self) -> None:
        """Close the connection: nobody reads on."""
        if self.transport is not None:
            self.transport.loseConnection()
