"""One request to an agent server and its answer: the relay.

The exchange finds the agent server, passes the request on, passes the answer back, and tells the client side how it
ended. Bodies are never held: whoever reads slowly stops the other side's socket.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol as Shape

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from agentproxy.errors import (
    AGENT_TIMEOUT,
    AMBIGUOUS_REQUEST,
    INTERNAL_ERROR,
    REQUEST_TIMEOUT,
    SESSION_STARTING,
    Refusal,
)
from agentproxy.gateway import rules
from agentproxy.gateway.framing import Body, body_of
from agentproxy.gateway.head import AnswerHead, Head, HeadError, head_end, parse_answer
from agentproxy.gateway.options import GatewayCounts, GatewayOptions
from agentproxy.gateway.routes import SessionDirectory, Waiting
from agentproxy.gateway.upstream import AgentConnection, AgentPool
from agentproxy.model.backend import Backend
from agentproxy.model.cors import CorsRules

IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"})
COMMENT = b": keep-alive\n\n"


@dataclass(frozen=True, slots=True)
class Relay:
    """What all exchanges share."""

    reactor: IReactorTime
    directory: SessionDirectory
    options: GatewayOptions
    cors: CorsRules
    credentials: rules.CredentialRules
    counts: GatewayCounts
    pool: AgentPool


class ClientSide(Shape):
    """Who sent the request."""

    bare: bool
    """The client wants the payload of chunked answers without the chunks."""

    def begin(self, answer: AnswerHead, close: bool) -> None:
        """Send a head; called for interim answers too."""

    def write(self, data: bytes) -> None:
        """Send bytes of the body, or of the tunnel."""

    def finish(self, close: bool) -> None:
        """The answer is complete."""

    def refuse(self, refusal: Refusal, close: bool) -> None:
        """Answer with a refusal; nothing has been answered before."""

    def abort(self) -> None:
        """End the connection so that a truncated answer is seen as one."""

    def hold(self, held: bool) -> None:
        """Stop reading from the client, or go on."""

    def end_writing(self) -> None:
        """Half-close a tunnel."""


class Exchange:
    """See the module; ``session_id`` is the one of ``head.target``."""

    log = Logger()

    def __init__(self, relay: Relay, client: ClientSide, head: Head, session_id: str) -> None:
        self.session_id = session_id
        self.tunnel = False
        self.over = False
        self.body: Body = body_of(head.length)
        self._relay = relay
        self._client = client
        self._head = head
        self._upgrade = rules.wants_websocket(head)
        self._backend: Backend | None = None
        self._agent: AgentConnection | None = None
        self._pending: Deferred[object] | None = None
        self._timer: IDelayedCall | None = None
        self._held = b""
        self._answer: AnswerHead | None = None
        self._answer_body: Body | None = None
        self._heard = False
        self._events = False
        self._agent_slow = False
        self._client_slow = False
        self._agent_ended = False
        self._client_ended = False
        self._touched = relay.reactor.seconds()

    # The way to the agent server.

    def start(self) -> None:
        """Find the agent server and send the request to it."""
        self._relay.counts.requests += 1
        try:
            if self._upgrade:
                rules.check_websocket(self._head, self._relay.cors)
            self._found(self._relay.directory.find(self.session_id, self._head))
        except Refusal as refusal:
            self._refuse(refusal)

    def _found(self, outcome: Backend | Waiting | Refusal) -> None:
        if isinstance(outcome, Refusal):
            self._refuse(outcome)
        elif isinstance(outcome, Waiting):
            self._wait(outcome)
        else:
            self._backend = outcome
            self._connect(False)

    def _wait(self, waiting: Waiting) -> None:
        deferred = waiting.decided()
        self._pending = deferred  # type: ignore[assignment]
        self._timer = self._relay.reactor.callLater(self._relay.options.start_wait, self._waited)
        deferred.addCallbacks(self._decided, self._undecided)
        deferred.addErrback(self._failed)

    def _waited(self) -> None:
        self._timer = None
        self._refuse(Refusal(SESSION_STARTING, session_id=self.session_id, retry_after=2.0))

    def _decided(self, outcome: Backend | Refusal) -> None:
        self._settle()
        if not self.over:
            self._touched = self._relay.reactor.seconds()
            self._found(outcome)

    def _undecided(self, failure: Failure) -> None:
        self._settle()
        if not self.over:
            if isinstance(failure.value, Refusal):
                self._refuse(failure.value)
            else:
                failure.raiseException()

    def _failed(self, failure: Failure) -> None:
        if not self.over:
            self.log.failure("Request for session {session} failed", failure, session=self.session_id)
            self._refuse(Refusal(INTERNAL_ERROR, session_id=self.session_id))

    def _settle(self) -> None:
        self._pending = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _connect(self, fresh: bool) -> None:
        backend = self._backend
        assert backend is not None
        trusted = self._relay.options.trusts(self._head.peer)
        try:
            head = rules.request_for_agent(self._head, self.session_id, backend, self._relay.credentials, trusted)
        except Refusal as refusal:
            self._refuse(refusal)
            return
        taken = self._relay.pool.take(backend, fresh)
        if isinstance(taken, AgentConnection):
            self._connected(taken, head)
            return
        self._pending = taken  # type: ignore[assignment]
        taken.addCallbacks(self._connected, self._unconnected, callbackArgs=(head,))
        taken.addErrback(self._failed)

    def _unconnected(self, failure: Failure) -> None:
        self._pending = None
        if not self.over:
            self._agent_failed(f"it cannot be reached: {failure.getErrorMessage()}")

    def _connected(self, agent: AgentConnection, head: bytes) -> None:
        self._pending = None
        if self.over:
            agent.abort()
            return
        self._agent = agent
        agent.user = self
        self._touched = self._relay.reactor.seconds()
        held, self._held = self._held, b""
        agent.write(head + held)
        if not self.body.done and not self._agent_slow:
            self._client.hold(False)

    # What the client does.

    def client_data(self, data: bytes) -> bytes:
        """Pass on bytes of the client; return those behind the request."""
        self._touched = self._relay.reactor.seconds()
        if self.tunnel:
            if self._agent is not None:
                self._agent.write(data)
            return b""
        if self.body.done:
            return data
        try:
            passed, rest = self.body.take(data)
        except HeadError as error:
            self._refuse(Refusal(AMBIGUOUS_REQUEST, str(error)))
            return b""
        if self._agent is not None:
            self._agent.write(passed)
        else:
            self._held += passed
            self._client.hold(True)
        return rest

    def client_ended(self) -> None:
        """The client sends no more: half of a tunnel is closed, any other request is cancelled."""
        self._client_ended = True
        if self.tunnel and self._agent is not None and not self._agent_ended:
            self._agent.end_writing()
            return
        self._end()
        if self.tunnel:
            self._client.finish(True)
        else:
            self._client.abort()

    def client_lost(self) -> None:
        """The client is gone: the agent server's connection ends too."""
        self._end()

    def client_full(self) -> None:
        """The client reads slowly: stop reading from its agent server."""
        self._client_slow = True
        if self._agent is not None:
            self._agent.hold(True)

    def client_drained(self) -> None:
        """The client has caught up."""
        self._client_slow = False
        self._touched = self._relay.reactor.seconds()
        if self._agent is not None:
            self._agent.hold(False)

    # What the agent server does.

    def agent_full(self) -> None:
        """See :class:`AgentUser`."""
        self._agent_slow = True
        self._client.hold(True)

    def agent_drained(self) -> None:
        """See :class:`AgentUser`."""
        self._agent_slow = False
        self._touched = self._relay.reactor.seconds()
        self._client.hold(False)

    def agent_data(self, data: bytes) -> None:
        """Pass the answer on."""
        self._heard = True
        self._touched = self._relay.reactor.seconds()
        if self.tunnel:
            self._client.write(data)
            return
        try:
            if self._answer_body is None:
                data = self._read_head(self._held_answer(data))
            if data and not self.over:
                self._pass_body(data)
        except (HeadError, Refusal) as error:
            self._agent_failed(f"its answer is malformed: {error}")

    _answer_bytes = b""

    def _held_answer(self, data: bytes) -> bytes:
        data, self._answer_bytes = self._answer_bytes + data, b""
        return data

    def _read_head(self, data: bytes) -> bytes:
        options = self._relay.options
        while data:
            end = head_end(data, options.max_head)
            if end < 0:
                self._answer_bytes = data
                return b""
            answer = parse_answer(data[:end], self._head.method, options.max_headers)
            data = data[end:]
            if answer.status == 101:
                self._switch(answer, data)
                return b""
            if answer.status >= 200:
                self._begin(answer)
                return data
            if self._head.minor == 1:
                self._client.begin(answer, False)
        return b""

    def _switch(self, answer: AnswerHead, data: bytes) -> None:
        if not self._upgrade:
            raise HeadError("it switched protocols unasked")
        self.tunnel = True
        self._relay.counts.tunnels += 1
        self._client.begin(answer, False)
        self._client.write(data)
        self._client.hold(False)

    def _begin(self, answer: AnswerHead) -> None:
        self._answer = answer
        self._answer_body = body_of(answer.length, self._client.bare)
        self._events = rules.is_event_stream(answer)
        self._client.begin(answer, self._must_close)
        if self._answer_body.done:
            self._complete()

    @property
    def _must_close(self) -> bool:
        assert self._answer is not None
        assert self._answer_body is not None
        endless = self._answer.length < 0 and not self._answer_body.chunked
        return endless or self._upgrade or not self._head.keep_alive or not self.body.done

    def _pass_body(self, data: bytes) -> None:
        body = self._answer_body
        assert body is not None
        passed, rest = body.take(data)
        if passed:
            self._client.write(passed)
        if body.done:
            self._complete(bool(rest))

    def _complete(self, poisoned: bool = False) -> None:
        answer, agent = self._answer, self._agent
        assert answer is not None
        close = self._must_close
        clean = answer.keep_alive and self.body.done and not poisoned and not self._agent_slow and not self._upgrade
        self.over = True
        self._agent = None
        if agent is not None:
            if clean:
                self._relay.pool.give(agent)
            else:
                agent.abort()
        self._client.finish(close)

    def agent_ended(self) -> None:
        """The agent server sends no more: half of a tunnel is closed, an answer ends."""
        self._agent_ended = True
        if self.tunnel and not self._client_ended:
            self._client.end_writing()
        else:
            agent, self._agent = self._agent, None
            if agent is not None:
                agent.abort()
            self.agent_lost(True)

    def agent_lost(self, clean: bool) -> None:
        """See :class:`AgentUser`."""
        reused = self._agent is not None and self._agent.reused
        self._agent = None
        if self.over:
            return
        if self._answer is not None and self._answer.length == -2 and clean:
            self._complete()
        elif reused and not self._heard and self._head.length == 0 and self._head.method in IDEMPOTENT:
            self._connect(True)
        elif self.tunnel and (clean or self._client_ended):
            self._end()
            self._client.finish(True)
        else:
            self._agent_failed("it closed the connection before its answer was complete")

    # Ends.

    def _agent_failed(self, failure: str) -> None:
        self._relay.counts.failed += 1
        if self._answer is None and not self.tunnel:
            self._refuse(self._relay.directory.explain(self.session_id, failure))
        else:
            self._end()
            self._client.abort()

    def _refuse(self, refusal: Refusal) -> None:
        begun = self._answer is not None or self.tunnel
        self._end()
        self._relay.counts.refused += 1
        if begun:
            self._client.abort()
        else:
            self._client.refuse(refusal, self._upgrade or not self._head.keep_alive or not self.body.done)

    def _end(self) -> None:
        if self.over:
            return
        self.over = True
        if self.tunnel:
            self._relay.counts.tunnels -= 1
        agent, self._agent = self._agent, None
        if agent is not None:
            agent.abort()
        pending = self._pending
        self._settle()
        if pending is not None:
            pending.cancel()

    def cut(self) -> None:
        """End it now: its session has ended, or the caller may no longer see it."""
        if not self.over:
            self._end()
            self._client.abort()

    def check(self, now: float) -> None:
        """Meet the deadlines, and keep a silent event stream alive; called every second or so."""
        options, quiet = self._relay.options, now - self._touched
        if self._pending is not None or self.over:
            return
        if self._answer is None and not self.tunnel:
            if not self.body.done and not self._agent_slow:
                if quiet > options.body_timeout:
                    self._refuse(Refusal(REQUEST_TIMEOUT, "the request body stopped"))
            elif quiet > options.first_byte_timeout:
                self._refuse(Refusal(AGENT_TIMEOUT, session_id=self.session_id))
        elif self._events and not self._client_slow:
            if quiet > options.keepalive:
                self._comment()
        elif quiet > options.idle_timeout:
            self.cut()

    def _comment(self) -> None:
        body = self._answer_body
        assert body is not None
        if not body.between or (body.tail and not body.tail.endswith((b"\n\n", b"\r\n\r\n", b"\r\r"))):
            return
        self._touched = self._relay.reactor.seconds()
        self._client.write(b"%x\r\n%s\r\n" % (len(COMMENT), COMMENT) if body.chunked else COMMENT)
