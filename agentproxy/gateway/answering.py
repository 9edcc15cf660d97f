"""Reading the answer to one request: bytes of an agent server in, a head and bytes to pass on out; no I/O."""

from __future__ import annotations

from agentproxy.gateway import rules
from agentproxy.gateway.framing import Body, body_of
from agentproxy.gateway.head import UNTIL_CLOSE, AnswerHead, Memory, head_end, parse_answer
from agentproxy.gateway.options import GatewayOptions

COMMENT = b": keep-alive\n\n"


class Answering:
    """One answer, and the interim ones before it.

    :param method: of the request, because the answer to HEAD has no body.
    :param memory: of heads that were read before.
    :param bare: pass on the payload of chunks alone.
    :ivar head: the head of the final answer, or of the switch of protocols, when it has come.
    :ivar interim: the heads of interim answers that have come and that nobody has taken yet.
    :ivar done: the answer is complete.
    :ivar poisoned: bytes came after it that belong to no request.
    """

    __slots__ = (
        "_bare",
        "_body",
        "_events",
        "_held",
        "_memory",
        "_method",
        "_options",
        "done",
        "head",
        "interim",
        "poisoned",
    )

    def __init__(self, options: GatewayOptions, memory: Memory, method: bytes, bare: bool) -> None:
        self.head: AnswerHead | None = None
        self.interim: list[AnswerHead] | None = None
        self.done = False
        self.poisoned = False
        self._options = options
        self._memory = memory
        self._method = method
        self._bare = bare
        self._held = b""
        self._body: Body | None = None
        self._events = False

    def feed(self, data: bytes) -> bytes:
        """Return the bytes of the body that ``data`` brings.

        :raises ValueError, Refusal: the answer is malformed.
        """
        body = self._body
        if body is None:
            data = self._read_head(data)
            body = self._body
            if body is None:
                return data
        if data or body.done:
            data, rest = body.take(data)
            if body.done:
                self.done = True
                self.poisoned = bool(rest)
        return data

    def _read_head(self, data: bytes) -> bytes:
        if self._held:
            data, self._held = self._held + data, b""
        while data:
            end = head_end(data, self._options.max_head)
            if end < 0:
                self._held = data
                return b""
            answer = self._parse(data[:end])
            data = data[end:]
            if answer.status >= 200 or answer.status == 101:
                self._begin(answer)
                return data
            self.interim = [*(self.interim or ()), answer]
        return b""

    def _parse(self, raw: bytes) -> AnswerHead:
        key = (raw, self._method == b"HEAD")
        answer: AnswerHead | None = self._memory.get(key)
        if answer is None:
            answer = parse_answer(raw, self._method, self._options.max_headers)
            self._memory.keep(key, len(raw), answer)
        return answer

    def _begin(self, answer: AnswerHead) -> None:
        self.head = answer
        if answer.status != 101:
            self._body = body_of(answer.length, self._bare)
            self._events = rules.is_event_stream(answer)

    @property
    def endless(self) -> bool:
        """Return whether only the end of the client's connection can end the answer."""
        return self.head is not None and self._body is not None and self.head.length < 0 and not self._body.chunked

    @property
    def ends_with_connection(self) -> bool:
        """Return whether the end of the agent server's connection is the end of the answer."""
        return self.head is not None and self.head.length == UNTIL_CLOSE

    @property
    def is_event_stream(self) -> bool:
        """Return whether comments may be put between its events."""
        return self._events

    def comment(self) -> bytes:
        """Return a comment that can be sent now, nothing when an event has begun."""
        body = self._body
        if body is None or not body.between or (body.tail and not body.tail.endswith((b"\n\n", b"\r\n\r\n", b"\r\r"))):
            return b""
        return b"%x\r\n%s\r\n" % (len(COMMENT), COMMENT) if body.chunked else COMMENT
