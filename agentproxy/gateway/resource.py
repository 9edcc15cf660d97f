"""The node of ``/:sessionId/*`` in a resource tree: the relay for requests that twisted.web has read.

The listening front takes such requests before a tree sees them; this serves trees in memory or mounted elsewhere, with
the same rules, refusals and pool. twisted.web has read the whole body by then.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.interfaces import IPushProducer, ISSLTransport
from twisted.internet.task import LoopingCall
from twisted.web.proxy import ReverseProxyResource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from agentproxy.errors import NOT_FOUND, Refusal
from agentproxy.gateway import rules
from agentproxy.gateway.exchange import Exchange
from agentproxy.gateway.head import AnswerHead, Head, parse_request
from agentproxy.gateway.mounted_tunnel import MountedTunnel
from agentproxy.gateway.relay import Relay
from agentproxy.gateway.target import session_id_of
from agentproxy.gateway.tunnel import Tunnel

_UNSENT = frozenset({b"transfer-encoding", b"connection"})
_REFRAMED = frozenset({b"transfer-encoding", b"content-length", b"expect"})


class SessionProxyResource(ReverseProxyResource):
    """Relays a request to the agent server of its session.

    :param relay: the front's, :attr:`FrontFactory.relay`, so that rules and pool are the same.
    """

    isLeaf = True  # noqa: N815

    def __init__(self, relay: Relay) -> None:
        cast(Any, super()).__init__("", 0, b"", reactor=relay.reactor)
        self._relay = relay

    def render(self, request: Any) -> int:
        """Start the relay; it finishes the request."""
        side = _RequestSide(self._relay, request)
        body = request.content.read()
        try:
            head = _head_of(request, body, self._relay)
            if head.session_id is None:
                raise Refusal(NOT_FOUND)
        except Refusal as refusal:
            side.refuse(refusal, True)
            return NOT_DONE_YET
        side.head = head
        if rules.is_preflight(head):
            side.preflight()
        else:
            side.run(head.session_id, body)
        return NOT_DONE_YET


def _target_of(request: Any) -> bytes:
    target: bytes = request.uri
    if session_id_of(target) is None:
        target = b"/" + b"/".join(target.split(b"/")[1 + len(request.prepath) :])
    return target


def _head_of(request: Any, body: bytes, relay: Relay) -> Head:
    lines = [b"%s %s HTTP/1.%d" % (request.method, _target_of(request), request.clientproto == b"HTTP/1.1")]
    for name, values in request.requestHeaders.getAllRawHeaders():
        lines += [name + b": " + value for value in values if name.lower() not in _REFRAMED]
    if body:
        lines.append(b"Content-Length: %d" % len(body))
    peer = str(getattr(request.getClientAddress(), "host", ""))
    secure = ISSLTransport.providedBy(getattr(request, "transport", None))
    return parse_request(b"\r\n".join(lines) + b"\r\n\r\n", relay.options.max_headers, peer, secure)


@implementer(IPushProducer)
class _RequestSide:
    """The :class:`ClientSide` of one twisted.web request."""

    bare = True
    head: Head | None = None

    def __init__(self, relay: Relay, request: Any) -> None:
        self._relay = relay
        self._request = request
        self._gone = False
        self._turn: Exchange | Tunnel | None = None
        self._deadlines: LoopingCall | None = None
        self._tunnel: MountedTunnel | None = None

    def run(self, session_id: str, body: bytes) -> None:
        assert self.head is not None
        self._relay.tick()
        self._turn = exchange = Exchange(self._relay, self, self.head, session_id)
        self._request.notifyFinish().addBoth(self._finished)
        self._request.registerProducer(self, True)
        self._deadlines = loop = LoopingCall(self._meet_deadlines)
        loop.clock = self._relay.reactor
        loop.start(1.0, now=False).addErrback(lambda failure: exchange.log.failure("Deadlines stopped", failure))
        exchange.start()
        if body and not exchange.over:
            exchange.client_data(body)

    def _meet_deadlines(self) -> None:
        now = self._relay.tick()
        if self._turn is not None:
            self._turn.check(now)

    def _finished(self, _result: object) -> None:
        self._gone = True
        self._stop_deadlines()
        if self._turn is not None:
            self._turn.client_lost()

    def _stop_deadlines(self) -> None:
        if self._deadlines is not None and self._deadlines.running:
            self._deadlines.stop()

    def _send_head(self, raw: bytes) -> None:
        lines = raw.split(b"\r\n\r\n", 1)[0].split(b"\r\n")
        self._request.setResponseCode(int(lines[0].split(b" ")[1]))
        self._request.responseHeaders.removeHeader(b"content-type")
        for line in lines[1:]:
            name, _, value = line.partition(b": ")
            if name.lower() not in _UNSENT:
                self._request.responseHeaders.addRawHeader(name, value)

    def preflight(self) -> None:
        assert self.head is not None
        headers = self._relay.cors.preflight(self.head.get(b"origin"))
        self._send_head(rules.own_answer(204, headers, b"", False, False))
        self._request.finish()

    def begin(self, answer: AnswerHead, close: bool, body: bytes) -> None:
        assert self.head is not None
        raw = rules.answer_for_client(answer, self.head, self._relay.cors, close)
        if answer.status >= 200:
            self._say_close(close)
            self._send_head(raw)
            self.write(body)

    def switch(self, answer: AnswerHead, data: bytes, tunnel: Tunnel) -> None:
        assert self.head is not None
        raw = rules.answer_for_client(answer, self.head, self._relay.cors, False)
        self._request.unregisterProducer()
        self._turn = tunnel
        self._tunnel = mounted = MountedTunnel(tunnel, self._stop_deadlines)
        mounted.take(self._request)
        mounted.send(raw + data)

    def _say_close(self, close: bool) -> None:
        """Let twisted.web read no further request: what comes behind a refused upgrade is none."""
        if close and getattr(self._request, "channel", None) is not None:
            self._request.channel.persistent = 0

    def write(self, data: bytes) -> None:
        if self._tunnel is not None:
            self._tunnel.send(data)
        elif data and not self._gone:
            self._request.write(data)

    def finish(self, close: bool) -> None:  # noqa: ARG002
        if self._tunnel is not None:
            self._tunnel.close()
        elif not self._gone:
            if self._turn is not None:
                self._request.unregisterProducer()
            self._request.finish()

    def refuse(self, refusal: Refusal, close: bool) -> None:
        raw = rules.refusal_answer(refusal, self.head, self._relay.cors, close)
        self._say_close(close)
        self._send_head(raw)
        self.write(raw.split(b"\r\n\r\n", 1)[1])
        self.finish(close)

    def abort(self) -> None:
        if self._tunnel is not None:
            self._tunnel.abort()
        elif not self._gone:
            self._request.loseConnection()

    def hold(self, held: bool) -> None:
        """Hold a tunnel; the body of anything else has been read."""
        if self._tunnel is not None:
            self._tunnel.hold(held)

    def has_left(self) -> bool:
        """Return False: twisted.web says when the client has gone."""
        return False

    def end_writing(self) -> None:
        if self._tunnel is not None:
            self._tunnel.end_writing()
        else:
            self.abort()

    def pauseProducing(self) -> None:
        if self._turn is not None:
            self._turn.client_full()

    def resumeProducing(self) -> None:
        if self._turn is not None:
            self._turn.client_drained()

    def stopProducing(self) -> None:
        """Nothing: notifyFinish says that the client is gone."""
