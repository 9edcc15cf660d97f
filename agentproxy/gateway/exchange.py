"""One request to an agent server and its answer: the relay.

The exchange finds the agent server, passes the request on, passes the answer back, and tells the client side how it
ended. Bodies are never held: whoever reads slowly stops the other side's socket.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from agentproxy.errors import (
    AGENT_TIMEOUT,
    AMBIGUOUS_REQUEST,
    INTERNAL_ERROR,
    REQUEST_TIMEOUT,
    Refusal,
)
from agentproxy.gateway import rules
from agentproxy.gateway.answering import Answering
from agentproxy.gateway.finding import Finding
from agentproxy.gateway.framing import Body, body_of
from agentproxy.gateway.head import AnswerHead, Head, HeadError
from agentproxy.gateway.relay import ClientSide, Relay
from agentproxy.gateway.tunnel import Tunnel
from agentproxy.gateway.upstream import AgentConnection
from agentproxy.model.backend import Backend

IDEMPOTENT = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"})


class Exchange:
    """See the module.

    What is there says how far it is: ``_finding`` while the agent server is looked for, ``_pending`` while it is connected to,
    ``_agent`` from then on, ``_body`` once the answer's head has passed, ``over`` at the end. After a switch of protocols a
    :class:`Tunnel` goes on in its place. (Four steps of an Automat machine cost some 8 us, a
    quarter of what a forwarded request costs in all.)

    :param session_id: the one of ``head.target``.
    :ivar over: nothing more happens.
    :ivar body: where the request's body ends.
    """

    log = Logger()
    tunnel = False
    over = False
    _backend: Backend | None = None
    _agent: AgentConnection | None = None
    _pending: Deferred[object] | None = None
    _held = b""
    _finding: Finding | None = None
    _body: Body | None = None
    _close = False
    _heard = False
    _agent_slow = False
    _client_slow = False

    def __init__(self, relay: Relay, client: ClientSide, head: Head, session_id: str) -> None:
        self.session_id = session_id
        self.body: Body = body_of(head.length)
        self._relay = relay
        self._client = client
        self._head = head
        self._upgrade = rules.wants_websocket(head)
        self._answer = Answering(relay.options, relay.answers, head.method, client.bare)
        self._touched = relay.moment

    # The way to the agent server.

    def start(self) -> None:
        """Find the agent server and send the request to it."""
        self._relay.counts.requests += 1
        try:
            if self._upgrade:
                rules.check_websocket(self._head, self._relay.cors)
            outcome = self._relay.directory.find(self.session_id, self._head)
        except Refusal as refusal:
            self._refuse(refusal)
            return
        if isinstance(outcome, Backend):
            self._found(outcome)
        else:
            self._finding = Finding(self._relay, self.session_id, self._found, self._refuse, self._whole_body)
            self._finding.take(outcome)

    def _found(self, backend: Backend) -> None:
        self._finding = None
        self._touched = self._relay.moment
        self._backend = backend
        self._connect(False)

    def _whole_body(self) -> tuple[bool, bytes | None]:
        """Return whether the body can be judged, and the whole of it, or None when it is not read ahead."""
        if self.body.chunked or len(self._held) > self._relay.options.max_ahead or rules.expects(self._head):
            return True, None
        return self.body.done, self._held

    def _failed(self, failure: Failure) -> None:
        if not self.over:
            self.log.failure(
                "Request for session {session} failed",
                failure,
                session=self.session_id,
                request=self._head.id.decode("ascii"),
            )
            self._refuse(Refusal(INTERNAL_ERROR, session_id=self.session_id))

    def _connect(self, fresh: bool) -> None:
        relay, backend, head = self._relay, self._backend, self._head
        assert backend is not None
        trusted = relay.options.trusts(head.peer)
        try:
            raw = rules.request_for_agent(head, backend, relay.credentials, trusted)
        except Refusal as refusal:
            self._refuse(refusal)
            return
        taken = relay.pool.take(backend, fresh)
        if isinstance(taken, AgentConnection):
            self._connected(taken, raw)
            return
        self._pending = taken  # type: ignore[assignment]
        taken.addCallbacks(self._connected, self._unconnected, callbackArgs=(raw,))
        taken.addErrback(self._failed)

    def _unconnected(self, failure: Failure) -> None:
        self._pending = None
        if not self.over:
            self._agent_failed(f"it cannot be reached: {failure.getErrorMessage()}")

    def _connected(self, agent: AgentConnection, raw: bytes) -> None:
        self._pending = None
        if self.over:
            agent.abort()
            return
        self._agent = agent
        agent.user = self
        if self._held:
            raw, self._held = raw + self._held, b""
        agent.write(raw)
        if not self.body.done and not self._agent_slow:
            self._client.hold(False)

    # What the client does.

    def client_data(self, data: bytes) -> bytes:
        """Pass on bytes of the client; return those behind the request."""
        self._touched = self._relay.moment
        if self.body.done:
            return data
        try:
            passed, rest = self.body.take(data)
        except HeadError as error:
            self._refuse(Refusal(AMBIGUOUS_REQUEST, str(error)))
            return b""
        self._relay.counts.received_bytes += len(passed)
        if self._agent is not None:
            self._agent.write(passed)
        else:
            self._held += passed
            if self._finding is not None:
                self._finding.body_came()
            if self._agent is None and len(self._held) > self._relay.options.max_ahead:
                self._client.hold(True)
        return rest

    def client_ended(self) -> None:
        """The client sends no more: its request is cancelled."""
        self._end()
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
        self._touched = self._relay.moment
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
        self._touched = self._relay.moment
        self._client.hold(False)

    def agent_data(self, data: bytes) -> None:
        """Pass the answer on."""
        relay, body = self._relay, self._body
        self._touched = relay.moment
        relay.counts.sent_bytes += len(data)
        try:
            if body is None:
                self._begin(data)
                return
            passed, rest = body.take(data)
        except (HeadError, Refusal) as error:
            self._agent_failed(f"its answer is malformed: {error}")
            return
        if passed:
            self._client.write(passed)
        if body.done and not self.over:
            self._complete(bool(rest))

    def _begin(self, data: bytes) -> None:
        answer = self._answer
        self._heard = True
        passed = answer.feed(data)
        if answer.interim is not None:
            self._tell_interim(answer.interim)
            answer.interim = None
        head, self._body = answer.head, answer.body
        if head is None:
            return
        if head.status == 101:
            self._switch(head, passed)
            return
        self._close = answer.endless or self._upgrade or not self._head.keep_alive or not self.body.done
        self._client.begin(head, self._close, passed)
        if answer.done and not self.over:
            self._complete(answer.poisoned)

    def _tell_interim(self, heads: list[AnswerHead]) -> None:
        for interim in heads:
            if self._head.minor == 1:
                self._client.begin(interim, False, b"")

    def _switch(self, head: AnswerHead, data: bytes) -> None:
        agent = self._agent
        if not self._upgrade or agent is None:
            self._agent_failed("its answer is malformed: it switched protocols unasked")
            return
        self.over = True
        self._agent = None
        self._client.switch(head, data, Tunnel(self._relay, self._client, agent, self.session_id))

    def _complete(self, poisoned: bool = False) -> None:
        head, agent = self._answer.head, self._agent
        assert head is not None
        self.over = True
        self._agent = None
        if agent is not None:
            clean = head.keep_alive and self.body.done and not poisoned and not self._upgrade
            if clean and not self._agent_slow:
                self._relay.pool.give(agent)
            else:
                agent.abort()
        self._client.finish(self._close)

    def agent_ended(self) -> None:
        """The agent server sends no more: its answer ends."""
        agent = self._agent
        self.agent_lost(True)
        if agent is not None:
            agent.close()

    def agent_lost(self, clean: bool) -> None:
        """See :class:`AgentUser`."""
        agent, self._agent = self._agent, None
        if self.over:
            return
        if self._answer.ends_with_connection and clean:
            self._complete()
        elif self._may_retry(agent):
            self._connect(True)
        else:
            self._agent_failed("it closed the connection before its answer was complete")

    def _may_retry(self, agent: AgentConnection | None) -> bool:
        """Return whether the agent server cannot have acted on the request, or may act twice."""
        unheard = agent is not None and agent.reused and not self._heard
        return unheard and self._head.length == 0 and self._head.method in IDEMPOTENT

    # Ends.

    def _agent_failed(self, failure: str) -> None:
        self._relay.counts.failed += 1
        if self._body is not None:
            self._end()
            self._client.abort()
        else:
            self._refuse(self._relay.directory.explain(self.session_id, failure))

    def _refuse(self, refusal: Refusal) -> None:
        self._end()
        self._relay.counts.refused += 1
        if self._body is not None:
            self._client.abort()
        else:
            ambiguous = refusal.kind is AMBIGUOUS_REQUEST
            close = ambiguous or self._upgrade or not self._head.keep_alive or not self.body.done
            self._client.refuse(refusal, close)

    def _end(self) -> None:
        if self.over:
            return
        self.over = True
        agent, self._agent = self._agent, None
        if agent is not None:
            agent.abort()
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.cancel()
        if self._finding is not None:
            self._finding.cancel()

    def cut(self) -> None:
        """End it now: its session has ended, or the caller may no longer see it."""
        if not self.over:
            self._end()
            self._client.abort()

    def session_ended(self) -> None:
        """End it because its session has ended: who has no answer yet is told so."""
        if self._body is None and not self.over:
            self._agent_failed("its session has ended")
        self.cut()

    @property
    def begun(self) -> bool:
        """Return whether anything of the answer was given to the client."""
        return self._body is not None

    def streams(self) -> bool:
        """Return whether it is an event stream under way."""
        return self._body is not None and not self.over and self._answer.is_event_stream

    def check(self, now: float) -> None:
        """Meet the deadlines, and keep a silent event stream alive; called every second or so."""
        if self.over:
            return
        if self._pending is not None or (self._finding is not None and self._finding.waits):
            if self._client.has_left():
                self.cut()
            return
        options, quiet = self._relay.options, now - self._touched
        if self._body is None:
            self._check_unanswered(quiet)
        elif self._answer.is_event_stream and not self._client_slow:
            if quiet > options.keepalive:
                self._comment()
        elif quiet > options.idle_timeout:
            self.cut()

    def _check_unanswered(self, quiet: float) -> None:
        options = self._relay.options
        if not self.body.done and not self._agent_slow:
            if quiet > options.body_timeout:
                self._refuse(Refusal(REQUEST_TIMEOUT, "the request body stopped"))
        elif quiet > options.first_byte_timeout:
            self._refuse(Refusal(AGENT_TIMEOUT, session_id=self.session_id))

    def _comment(self) -> None:
        comment = self._answer.comment()
        if comment:
            self._touched = self._relay.moment
            self._client.write(comment)
