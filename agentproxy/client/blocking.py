"""The client for scripts and notebooks: plain blocking calls on the standard library, usable in any thread and beside any
event loop."""

from __future__ import annotations

import contextlib
import http.client
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar
from urllib.parse import urlsplit

from agentproxy.client import calls, people, results
from agentproxy.client.call import Call, as_method_of
from agentproxy.client.failures import ClientError, Unreachable, refusal
from agentproxy.client.progress import Progress, outcome
from agentproxy.client.resuming import Place, read_events
from agentproxy.client.retries import Retries
from agentproxy.model.sse import EventParser

P = ParamSpec("P")
T = TypeVar("T")


def sends(make: Callable[P, Call[T]]) -> Callable[Concatenate[Client, P], T]:
    """Return the method that sends what *make* makes and returns its result: same name, same arguments, same docstring."""

    def method(client: Client, /, *args: P.args, **named: P.kwargs) -> T:
        return client.do(make(*args, **named))

    return as_method_of(make, method)


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

    def ask(self, session_id: str, content: str, **how: Any) -> str:
        """Send a user message, wait for the agent's answer and return it."""
        return self.send(session_id, content, wait="answered", **how).answer or ""

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

    cursor = sends(calls.cursor)
    events_page = sends(calls.events_page)

    def follow_log(self, session_id: str, size: int | None = None) -> Iterator[bytes]:
        """Yield what the agent server printed and prints, until the session ends."""
        return self.stream(calls.follow_log(session_id, size))

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
