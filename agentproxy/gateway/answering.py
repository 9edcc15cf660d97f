"""Reading the answer to one request: bytes of an agent server in, a head and bytes to pass on out; no I/O."""

from __future__ import annotations

from agentproxy.gateway.framing import Body, body_of
from agentproxy.gateway.head import UNTIL_CLOSE, AnswerHead, head_end, parse_answer
from agentproxy.gateway.options import GatewayOptions
from agentproxy.gateway.remembering import Memory

COMMENT = b": keep-alive\n\n"


class Answering:
    """One answer, and the interim ones before it.

    :param method: of the request, because the answer to HEAD has no body.
    :param memory: of heads that were read before.
    :param bare: pass on the payload of chunks alone.
    :ivar head: the head of the final answer, or of the switch of protocols, when it has come.
    :ivar interim: the heads of interim answers that have come and that nobody has taken yet.
    :ivar body: reads what follows the head, once that has come.
    :ivar poisoned: bytes came after the answer that belong to no request.
    """

    __slots__ = ("_bare", "_held", "_memory", "_method", "_options", "body", "head", "interim", "poisoned")

    def __init__(self, options: GatewayOptions, memory: Memory, method: bytes, bare: bool) -> None:
        self.head: AnswerHead | None = None
        self.interim: list[AnswerHead] | None = None
        self.poisoned = False
        self.body: Body | None = None
        self._options = options
        self._memory = memory
        self._method = method
        self._bare = bare
        self._held = b""

    @property
    def done(self) -> bool:
        """Return whether the answer is complete."""
        return self.body is not None and self.body.done

    def feed(self, data: bytes) -> bytes:
        """Return the bytes of the body that ``data`` brings.

        :raises ValueError, Refusal: the answer is malformed.
        """
        body = self.body
        if body is None:
            data = self._read_head(data)
            body = self.body
            if body is None:
                return data
        if data:
            data, rest = body.take(data)
            if rest:
                self.poisoned = True
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
            if answer.status >= 200:
                self.head = answer
                self.body = body_of(answer.length, self._bare)
                return data
            if answer.status == 101:
                self.head = answer
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

    @property
    def endless(self) -> bool:
        """Return whether only the end of the client's connection can end the answer."""
        return self.head is not None and self.body is not None and self.head.length < 0 and not self.body.chunked

    @property
    def ends_with_connection(self) -> bool:
        """Return whether the end of the agent server's connection is the end of the answer."""
        return self.head is not None and self.head.length == UNTIL_CLOSE

    @property
    def is_event_stream(self) -> bool:
        """Return whether comments may be put between its events."""
        return self.head is not None and self.head.is_event_stream

    def comment(self) -> bytes:
        """Return a comment that can be sent now, nothing when an event has begun."""
        body = self.body
        if body is None or not body.between or (body.tail and not body.tail.endswith((b"\n\n", b"\r\n\r\n", b"\r\r"))):
            return b""
        return b"%x\r\n%s\r\n" % (len(COMMENT), COMMENT) if body.chunked else COMMENT
