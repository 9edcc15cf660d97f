"""The client for scripts and notebooks: plain blocking calls on the standard library, usable in any thread and beside any
event loop."""

from __future__ import annotations

import contextlib
import http.client
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

from agentproxy.client import calls, people, results
from agentproxy.client.call import Call
from agentproxy.client.failures import ClientError, Unreachable, refusal
from agentproxy.client.progress import Progress, outcome
from agentproxy.client.resuming import Place, read_events
from agentproxy.client.retries import Retries
from agentproxy.model.sse import EventParser

T = TypeVar("T")


class Client:
    """One server.

    :param url: such as ``http://127.0.0.1:8080``.
    :param key: an API key or token; sent as ``Authorization: Bearer``.
    :param retries: when calls that do no harm twice are sent again.
    :param context: certificates to trust; the system's when missing.
    :ivar url: as given.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8080",
        key: str | None = None,
        retries: Retries | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self.url = url
        self._url = urlsplit(url)
        if self._url.scheme not in ("http", "https") or not self._url.hostname:
            raise ValueError(f"expected a URL such as http://127.0.0.1:8080, got {url!r}")
        self._key = key
        self._retries = retries or Retries()
        self._context = context

    # -- sessions

    def start(self, on_progress: Progress | None = None, **wish: Any) -> results.Session:
        """Start a session; the wish is as in :func:`agentproxy.client.calls.start`.

        :param on_progress: told of each event of the start.
        :raises Refused: the start failed; ``step``, ``exit_status`` and ``output`` are among its facts.
        """
        if on_progress is None:
            return self.do(calls.start(**wish))
        begun = self.do(calls.start(**{**wish, "wait": "none"}))
        for event in self.events(begun.session_id):
            on_progress(event)
            if event.type in ("session.ready", "session.ended"):
                break
        if wish.get("wait") == "stable":
            self.wait(begun.session_id, "stable")
        return outcome(self.get(begun.session_id))

    def search(self, **wanted: Any) -> results.Page:
        """List sessions, newest first; filters as in :func:`agentproxy.client.calls.search`."""
        return self.do(calls.search(**wanted))

    def get(self, session_id: str) -> results.Session:
        """Show one session."""
        return self.do(calls.get(session_id))

    def change(self, session_id: str, **changes: Any) -> results.Session:
        """Change description, tags or annotations."""
        return self.do(calls.change(session_id, **changes))

    def stop(self, session_id: str) -> results.Session:
        """End a session's agent; its history stays."""
        return self.do(calls.stop(session_id))

    def restart(self, session_id: str) -> results.Session:
        """Begin the session's next incarnation."""
        return self.do(calls.restart(session_id))

    def wait(self, session_id: str, until: str = "stable", timeout: float = 300.0) -> results.Session:
        """Wait until the agent is ``stable``, says something (``message``), wants somebody, or the session has ``ended``."""
        return self.do(calls.wait(session_id, until, timeout=timeout))

    def interrupt(self, session_id: str) -> None:
        """Press the agent's own interrupt keys."""
        self.do(calls.interrupt(session_id))

    def delete(self, session_id: str) -> None:
        """End a session and take it from the lists."""
        self.do(calls.delete(session_id))

    # -- talking

    def send(self, session_id: str, content: str, **how: Any) -> results.Delivery:
        """Queue a user message and return its delivery."""
        return self.do(calls.send(session_id, content, **how))

    def ask(self, session_id: str, content: str, **how: Any) -> str:
        """Send a user message, wait for the agent's answer and return it."""
        return self.send(session_id, content, wait="answered", **how).answer or ""

    def deliveries(self, session_id: str, state: str | None = None) -> tuple[results.Delivery, ...]:
        """List a session's deliveries."""
        return self.do(calls.deliveries(session_id, state=state))

    def delivery(self, session_id: str, delivery_id: str) -> results.Delivery:
        """Show one delivery."""
        return self.do(calls.delivery(session_id, delivery_id))

    def edit(self, session_id: str, delivery_id: str, **changes: Any) -> results.Delivery:
        """Change a delivery that is not typed yet, or put it before another one."""
        return self.do(calls.edit(session_id, delivery_id, **changes))

    def withdraw(self, session_id: str, delivery_id: str) -> results.Delivery:
        """Take a delivery back that is not typed yet."""
        return self.do(calls.withdraw(session_id, delivery_id))

    def settle(self, session_id: str, delivery_id: str, how: str) -> results.Delivery:
        """Decide about a delivery that is uncertain: ``retry`` or ``discard``."""
        return self.do(calls.settle(session_id, delivery_id, how))

    # -- approvals, sharing, tokens

    def approvals(self, session_id: str | None = None) -> tuple[results.Approval, ...]:
        """List the approvals that wait."""
        return self.do(people.approvals(session_id))

    def approve(self, approval_id: str, answer: str) -> results.Approval:
        """Answer an approval: allow, deny, or the name of a choice."""
        return self.do(people.approve(approval_id, answer))

    def share(self, session_id: str, access: str = "read", expires_in: float | None = None) -> results.Share:
        """Make the link of a session, or return the one that it has."""
        return self.do(people.share(session_id, access=access, expires_in=expires_in))

    def unshare(self, session_id: str) -> None:
        """Take the link of a session back."""
        self.do(people.unshare(session_id))

    def grant(self, session_id: str, grantee: str, access: str = "read") -> None:
        """Share a session with ``user:NAME`` or ``team:ORG/SLUG``."""
        self.do(people.grant(session_id, grantee, access))

    def ungrant(self, session_id: str, grantee: str) -> None:
        """Take a grant back."""
        self.do(people.ungrant(session_id, grantee))

    def add_token(self, name: str, **how: Any) -> results.Token:
        """Make an API token; its secret is in the result and nowhere else."""
        return self.do(people.add_token(name, **how))

    def tokens(self, owner: str | None = None) -> tuple[results.Token, ...]:
        """List the caller's tokens, another owner's, or everybody's (``*``)."""
        return self.do(people.tokens(owner))

    def revoke_token(self, token_id: str) -> None:
        """Revoke a token; what it had opened is cut."""
        self.do(people.revoke_token(token_id))

    def audit(self, **wanted: Any) -> tuple[results.AuditEntry, ...]:
        """Return who did what."""
        return self.do(people.audit(**wanted))

    def approval_rules(self) -> tuple[results.Rule, ...]:
        """List the rules that answer approvals for the caller."""
        return self.do(people.approval_rules())

    def add_approval_rule(self, command: str, answer: str = "allow", **how: Any) -> results.Rule:
        """Let approvals of a command be answered by themselves: ``allow`` or ``deny``."""
        return self.do(people.add_approval_rule(command, answer, **how))

    def remove_approval_rule(self, rule_id: str) -> None:
        """Remove a rule."""
        self.do(people.remove_approval_rule(rule_id))

    def shared(self, session_id: str) -> results.Share:
        """Show the link of a session."""
        return self.do(people.shared(session_id))

    def access(self, session_id: str, user: str | None = None) -> results.Access:
        """Show with whom a session is shared, and what the caller, or *user*, could do to it."""
        return self.do(people.access(session_id, user))

    def keyboard(self, session_id: str) -> results.Keyboard:
        """Show who types into a session."""
        return self.do(people.keyboard(session_id))

    def use_keyboard(self, session_id: str, action: str, **how: Any) -> results.Keyboard:
        """``take`` the keyboard of a session, ``hand_over`` or ``release`` it."""
        return self.do(people.use_keyboard(session_id, action, **how))

    def accounts(self) -> tuple[results.Account, ...]:
        """List the accounts."""
        return self.do(people.accounts())

    def add_account(self, name: str, **how: Any) -> results.Account:
        """Make an account of a user or a service."""
        return self.do(people.add_account(name, **how))

    def change_account(self, name: str, **changes: Any) -> results.Account:
        """Change an account."""
        return self.do(people.change_account(name, **changes))

    def budgets(self, session_id: str | None = None) -> tuple[results.Budget, ...]:
        """Show what the caller, or a session, has spent of its budgets."""
        return self.do(people.budgets(session_id))

    def lift_budget(self, subject: str, measure: str, amount: int) -> results.Budget:
        """Give a subject so much more for now."""
        return self.do(people.lift_budget(subject, measure, amount))

    def subscribe_push(self, endpoint: str, p256dh: str, auth: str, session_ids: Sequence[str] = ()) -> str:
        """Keep a browser's subscription for the caller and return its id."""
        return self.do(people.subscribe_push(endpoint, p256dh, auth, session_ids))

    def push_subscriptions(self) -> tuple[results.PushSubscription, ...]:
        """List the caller's subscriptions."""
        return self.do(people.push_subscriptions())

    def unsubscribe_push(self, endpoint: str) -> None:
        """Remove the caller's subscription with an endpoint."""
        self.do(people.unsubscribe_push(endpoint))

    def notify(self, title: str, body: str, **how: Any) -> results.Notified:
        """Notify browsers; to whom and how is as in :func:`agentproxy.client.people.notify`."""
        return self.do(people.notify(title, body, **how))

    def log_in_kinds(self) -> tuple[results.LoginKind, ...]:
        """List the ways to log in that the server offers."""
        return self.do(people.log_in_kinds())

    def log_ins(self, owner: str | None = None) -> tuple[results.LogIn, ...]:
        """List the log-ins in browsers: the caller's, another owner's, or everybody's (``*``)."""
        return self.do(people.log_ins(owner))

    def end_log_in(self, login_id: str) -> None:
        """End a log-in; what it had opened is cut."""
        self.do(people.end_log_in(login_id))

    def approval(self, approval_id: str) -> results.Approval:
        """Show one approval."""
        return self.do(people.approval(approval_id))

    def approval_history(self, session_id: str, limit: int | None = None) -> tuple[results.Approval, ...]:
        """List the approvals of a session, settled ones too."""
        return self.do(people.approval_history(session_id, limit=limit))

    # -- looking

    def messages(self, session_id: str, **wanted: Any) -> tuple[results.Message, ...]:
        """Return what was said, oldest first."""
        return self.do(calls.messages(session_id, **wanted))

    def log(self, session_id: str, size: int | None = None) -> str:
        """Return the end of what the agent server printed."""
        return self.do(calls.log(session_id, size=size))

    def export(self, session_id: str, form: str = "json") -> bytes:
        """Return the session with its transcript."""
        return self.do(calls.export(session_id, form))

    def events(
        self, session_id: str | None = None, after: int = 0, types: Sequence[str] = ()
    ) -> Iterator[results.Event]:
        """Yield events of a session, or of all that the caller may see, as they come; a broken stream is resumed.

        It ends when the server ends it for good: the session is deleted, or may no longer be read.
        """
        place = Place(after, self._retries)
        while True:
            try:
                for event in self._events(calls.event_stream(session_id, place.after, types)):
                    place.heard(event)
                    yield event
                failure: ClientError = Unreachable("the stream ended")
            except ClientError as error:
                failure = error
            wait = place.broke(failure, time.monotonic())
            if wait is None:
                return
            time.sleep(wait)

    def cursor(self, session_id: str | None = None) -> int:
        """Return the number of the last event that is there now, to follow what comes behind it."""
        return self.do(calls.cursor(session_id))

    def events_page(
        self, session_id: str | None = None, after: int = 0, limit: int | None = None, types: Sequence[str] = ()
    ) -> tuple[results.Event, ...]:
        """Return the events behind ``after`` that are there now, oldest first."""
        return self.do(calls.events(session_id, after=after, limit=limit, types=types))

    def follow_log(self, session_id: str, size: int | None = None) -> Iterator[bytes]:
        """Yield what the agent server printed and prints, until the session ends."""
        return self.stream(calls.follow_log(session_id, size))

    def whoami(self) -> str:
        """Return the name by which the server knows this client."""
        return self.do(calls.whoami())

    def health(self) -> dict[str, Any]:
        """Ask whether the server is ready, and what is not."""
        return self.do(calls.health())

    # -- sending

    def do(self, call: Call[T]) -> T:
        """Send a call and return its result.

        :raises Refused, Unreachable: as the name says; after the attempts that are allowed.
        """
        tried = 0
        while True:
            tried += 1
            try:
                with self._open(call) as answer:
                    return call.result(_body(answer))
            except ClientError as failure:
                wait = self._retries.wait(call, failure, tried)
                if wait is None:
                    raise
            time.sleep(wait)

    def stream(self, call: Call[Any]) -> Iterator[bytes]:
        """Send a call and yield its answer piece by piece, as it comes.

        :raises Refused, Unreachable: as the name says; it is not sent again.
        """
        with self._open(call) as answer:
            while chunk := _chunk(answer):
                yield chunk

    @contextlib.contextmanager
    def _open(self, call: Call[Any]) -> Iterator[http.client.HTTPResponse]:
        """Send a call and yield the answer, its head read and found good."""
        connection = self._connection(call.patience)
        with contextlib.closing(connection):
            try:
                connection.request(
                    call.method, self._url.path.rstrip("/") + call.target, call.content, self._headers(call)
                )
                answer = connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                raise Unreachable(f"{self._url.netloc} does not answer: {error}") from error
            if answer.status >= 400:
                told = answer.headers
                raise refusal(answer.status, _body(answer), told.get("Retry-After"), told.get("X-Request-ID"))
            yield answer

    def _connection(self, patience: float) -> http.client.HTTPConnection:
        host = self._url.hostname or ""
        if self._url.scheme == "https":
            return http.client.HTTPSConnection(host, self._url.port, timeout=patience, context=self._context)
        return http.client.HTTPConnection(host, self._url.port, timeout=patience)

    def _headers(self, call: Call[Any]) -> Mapping[str, str]:
        headers = {"Accept": "application/json", "User-Agent": "agentproxy-client", **call.headers}
        if call.body is not None:
            headers["Content-Type"] = "application/json"
        return {**headers, **self.credentials()}

    def credentials(self) -> dict[str, str]:
        """Return the headers by which the server knows this client, for programs that ask it by other means."""
        return {"Authorization": f"Bearer {self._key}"} if self._key else {}

    def _events(self, call: Call[None]) -> Iterator[results.Event]:
        parser = EventParser()
        for chunk in self.stream(call):
            yield from read_events(parser, chunk)


def _body(answer: http.client.HTTPResponse) -> bytes:
    try:
        return answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(f"the answer broke off: {error}") from error


def _chunk(answer: http.client.HTTPResponse) -> bytes:
    try:
        return answer.read1(65536)
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(f"the stream broke off: {error}") from error
