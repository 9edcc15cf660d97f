"""The client for Twisted programs: the names of :class:`agentproxy.client.Client` as coroutines, on treq."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

import treq as treq_module
from twisted.internet.defer import DeferredQueue
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.client import PartialDownloadError, ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss

from agentproxy.client import calls, people, results
from agentproxy.client.call import Call
from agentproxy.client.failures import ClientError, Unreachable, refusal
from agentproxy.client.progress import Progress, outcome
from agentproxy.client.resuming import Place, read_events
from agentproxy.client.retries import Retries
from agentproxy.model.sse import EventParser

T = TypeVar("T")
_BROKEN = (ConnectError, ConnectionClosed, ResponseFailed, PartialDownloadError, OSError)


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

    async def search(self, **wanted: Any) -> results.Page:
        """List sessions, newest first; filters as in :func:`agentproxy.client.calls.search`."""
        return await self.do(calls.search(**wanted))

    async def get(self, session_id: str) -> results.Session:
        """Show one session."""
        return await self.do(calls.get(session_id))

    async def change(self, session_id: str, **changes: Any) -> results.Session:
        """Change description, tags or annotations."""
        return await self.do(calls.change(session_id, **changes))

    async def stop(self, session_id: str) -> results.Session:
        """End a session's agent; its history stays."""
        return await self.do(calls.stop(session_id))

    async def restart(self, session_id: str) -> results.Session:
        """Begin the session's next incarnation."""
        return await self.do(calls.restart(session_id))

    async def wait(self, session_id: str, until: str = "stable", timeout: float = 300.0) -> results.Session:
        """Wait until the agent is ``stable``, says something (``message``), wants somebody, or the session has ``ended``."""
        return await self.do(calls.wait(session_id, until, timeout=timeout))

    async def interrupt(self, session_id: str) -> None:
        """Press the agent's own interrupt keys."""
        await self.do(calls.interrupt(session_id))

    async def delete(self, session_id: str) -> None:
        """End a session and take it from the lists."""
        await self.do(calls.delete(session_id))

    # -- talking

    async def send(self, session_id: str, content: str, **how: Any) -> results.Delivery:
        """Queue a user message and return its delivery."""
        return await self.do(calls.send(session_id, content, **how))

    async def ask(self, session_id: str, content: str, **how: Any) -> str:
        """Send a user message, wait for the agent's answer and return it."""
        delivery = await self.send(session_id, content, wait="answered", **how)
        return delivery.answer or ""

    async def deliveries(self, session_id: str, state: str | None = None) -> tuple[results.Delivery, ...]:
        """List a session's deliveries."""
        return await self.do(calls.deliveries(session_id, state=state))

    async def delivery(self, session_id: str, delivery_id: str) -> results.Delivery:
        """Show one delivery."""
        return await self.do(calls.delivery(session_id, delivery_id))

    async def edit(self, session_id: str, delivery_id: str, **changes: Any) -> results.Delivery:
        """Change a delivery that is not typed yet, or put it before another one."""
        return await self.do(calls.edit(session_id, delivery_id, **changes))

    async def withdraw(self, session_id: str, delivery_id: str) -> results.Delivery:
        """Take a delivery back that is not typed yet."""
        return await self.do(calls.withdraw(session_id, delivery_id))

    async def settle(self, session_id: str, delivery_id: str, how: str) -> results.Delivery:
        """Decide about a delivery that is uncertain: ``retry`` or ``discard``."""
        return await self.do(calls.settle(session_id, delivery_id, how))

    # -- approvals, sharing, tokens

    async def approvals(self, session_id: str | None = None) -> tuple[results.Approval, ...]:
        """List the approvals that wait."""
        return await self.do(people.approvals(session_id))

    async def approve(self, approval_id: str, answer: str) -> results.Approval:
        """Answer an approval: allow, deny, or the name of a choice."""
        return await self.do(people.approve(approval_id, answer))

    async def share(self, session_id: str, access: str = "read", expires_in: float | None = None) -> results.Share:
        """Make the link of a session, or return the one that it has."""
        return await self.do(people.share(session_id, access=access, expires_in=expires_in))

    async def unshare(self, session_id: str) -> None:
        """Take the link of a session back."""
        await self.do(people.unshare(session_id))

    async def grant(self, session_id: str, grantee: str, access: str = "read") -> None:
        """Share a session with ``user:NAME`` or ``team:ORG/SLUG``."""
        await self.do(people.grant(session_id, grantee, access))

    async def ungrant(self, session_id: str, grantee: str) -> None:
        """Take a grant back."""
        await self.do(people.ungrant(session_id, grantee))

    async def add_token(self, name: str, **how: Any) -> results.Token:
        """Make an API token; its secret is in the result and nowhere else."""
        return await self.do(people.add_token(name, **how))

    async def tokens(self, owner: str | None = None) -> tuple[results.Token, ...]:
        """List the caller's tokens, another owner's, or everybody's (``*``)."""
        return await self.do(people.tokens(owner))

    async def revoke_token(self, token_id: str) -> None:
        """Revoke a token; what it had opened is cut."""
        await self.do(people.revoke_token(token_id))

    async def audit(self, **wanted: Any) -> tuple[results.AuditEntry, ...]:
        """Return who did what."""
        return await self.do(people.audit(**wanted))

    async def approval_rules(self) -> tuple[results.Rule, ...]:
        """List the rules that answer approvals for the caller."""
        return await self.do(people.approval_rules())

    async def add_approval_rule(self, command: str, answer: str = "allow", **how: Any) -> results.Rule:
        """Let approvals of a command be answered by themselves: ``allow`` or ``deny``."""
        return await self.do(people.add_approval_rule(command, answer, **how))

    async def remove_approval_rule(self, rule_id: str) -> None:
        """Remove a rule."""
        await self.do(people.remove_approval_rule(rule_id))

    async def shared(self, session_id: str) -> results.Share:
        """Show the link of a session."""
        return await self.do(people.shared(session_id))

    async def access(self, session_id: str, user: str | None = None) -> results.Access:
        """Show with whom a session is shared, and what the caller, or *user*, could do to it."""
        return await self.do(people.access(session_id, user))

    async def keyboard(self, session_id: str) -> results.Keyboard:
        """Show who types into a session."""
        return await self.do(people.keyboard(session_id))

    async def use_keyboard(self, session_id: str, action: str, **how: Any) -> results.Keyboard:
        """``take`` the keyboard of a session, ``hand_over`` or ``release`` it."""
        return await self.do(people.use_keyboard(session_id, action, **how))

    async def accounts(self) -> tuple[results.Account, ...]:
        """List the accounts."""
        return await self.do(people.accounts())

    async def add_account(self, name: str, **how: Any) -> results.Account:
        """Make an account of a user or a service."""
        return await self.do(people.add_account(name, **how))

    async def change_account(self, name: str, **changes: Any) -> results.Account:
        """Change an account."""
        return await self.do(people.change_account(name, **changes))

    async def budgets(self, session_id: str | None = None) -> tuple[results.Budget, ...]:
        """Show what the caller, or a session, has spent of its budgets."""
        return await self.do(people.budgets(session_id))

    async def lift_budget(self, subject: str, measure: str, amount: int) -> results.Budget:
        """Give a subject so much more for now."""
        return await self.do(people.lift_budget(subject, measure, amount))

    async def subscribe_push(self, endpoint: str, p256dh: str, auth: str, session_ids: Sequence[str] = ()) -> str:
        """Keep a browser's subscription for the caller and return its id."""
        return await self.do(people.subscribe_push(endpoint, p256dh, auth, session_ids))

    async def push_subscriptions(self) -> tuple[results.PushSubscription, ...]:
        """List the caller's subscriptions."""
        return await self.do(people.push_subscriptions())

    async def unsubscribe_push(self, endpoint: str) -> None:
        """Remove the caller's subscription with an endpoint."""
        await self.do(people.unsubscribe_push(endpoint))

    async def notify(self, title: str, body: str, **how: Any) -> results.Notified:
        """Notify browsers; to whom and how is as in :func:`agentproxy.client.people.notify`."""
        return await self.do(people.notify(title, body, **how))

    async def log_in_kinds(self) -> tuple[results.LoginKind, ...]:
        """List the ways to log in that the server offers."""
        return await self.do(people.log_in_kinds())

    async def log_ins(self, owner: str | None = None) -> tuple[results.LogIn, ...]:
        """List the log-ins in browsers: the caller's, another owner's, or everybody's (``*``)."""
        return await self.do(people.log_ins(owner))

    async def end_log_in(self, login_id: str) -> None:
        """End a log-in; what it had opened is cut."""
        await self.do(people.end_log_in(login_id))

    async def approval(self, approval_id: str) -> results.Approval:
        """Show one approval."""
        return await self.do(people.approval(approval_id))

    async def approval_history(self, session_id: str, limit: int | None = None) -> tuple[results.Approval, ...]:
        """List the approvals of a session, settled ones too."""
        return await self.do(people.approval_history(session_id, limit=limit))

    # -- looking

    async def messages(self, session_id: str, **wanted: Any) -> tuple[results.Message, ...]:
        """Return what was said, oldest first."""
        return await self.do(calls.messages(session_id, **wanted))

    async def log(self, session_id: str, size: int | None = None) -> str:
        """Return the end of what the agent server printed."""
        return await self.do(calls.log(session_id, size=size))

    async def export(self, session_id: str, form: str = "json") -> bytes:
        """Return the session with its transcript."""
        return await self.do(calls.export(session_id, form))

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

    async def cursor(self, session_id: str | None = None) -> int:
        """Return the number of the last event that is there now, to follow what comes behind it."""
        return await self.do(calls.cursor(session_id))

    async def events_page(
        self, session_id: str | None = None, after: int = 0, limit: int | None = None, types: Sequence[str] = ()
    ) -> tuple[results.Event, ...]:
        """Return the events behind ``after`` that are there now, oldest first."""
        return await self.do(calls.events(session_id, after=after, limit=limit, types=types))

    async def follow_log(self, session_id: str, size: int | None = None) -> AsyncGenerator[bytes, None]:
        """Yield what the agent server printed and prints, until the session ends."""
        async with aclosing(self.stream(calls.follow_log(session_id, size))) as chunks:
            async for chunk in chunks:
                yield chunk

    async def whoami(self) -> str:
        """Return the name by which the server knows this client."""
        return await self.do(calls.whoami())

    async def health(self) -> dict[str, Any]:
        """Ask whether the server is ready, and what is not."""
        return await self.do(calls.health())

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
