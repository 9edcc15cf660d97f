"""The wire of the Agent Client Protocol: JSON-RPC 2.0, one message a line, both ways. Bytes in, calls out; no I/O of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

MOST_LINE = 16 * 1024 * 1024
"""Bytes that one message may have."""

NO_METHOD = -32601
BAD_PARAMS = -32602


class WireError(Exception):
    """The other side does not speak the protocol, or is gone; the text says what was seen."""


class CallError(Exception):
    """A request was answered with an error; the text is the agent's sentence."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Wire:
    """One side of a conversation.

    :param write: sends bytes.
    :param notified: called with (method, params) of each notification.
    :param asked: called with (id, method, params) of each request; whoever it is answers with :meth:`answer` or :meth:`refuse`.
    """

    def __init__(
        self,
        write: Callable[[bytes], Any],
        notified: Callable[[str, dict[str, Any]], None],
        asked: Callable[[Any, str, dict[str, Any]], None],
    ) -> None:
        self._write, self._notified, self._asked = write, notified, asked
        self._rest = bytearray()
        self._searched = 0
        self._last = 0
        self._open: dict[int, Deferred[Any]] = {}

    def feed(self, data: bytes) -> None:
        """Take bytes of the other side, cut anywhere.

        :raises WireError: they are not of this protocol.
        """
        self._rest += data
        while (end := self._rest.find(b"\n", self._searched)) >= 0:
            line = bytes(self._rest[:end]).strip()
            del self._rest[: end + 1]
            self._searched = 0
            if line:
                self._take(line)
        self._searched = len(self._rest)
        if self._searched > MOST_LINE:
            raise WireError("the agent sent a line of more than 16 MiB")

    def _take(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            raise WireError(f"expected a JSON-RPC message, got {line[:200].decode('utf-8', 'replace')!r}") from None
        if not isinstance(message, dict):
            raise WireError(f"expected a JSON-RPC object, got {line[:200].decode('utf-8', 'replace')!r}")
        params = message.get("params")
        params = params if isinstance(params, dict) else {}
        if isinstance(method := message.get("method"), str):
            if "id" in message:
                self._asked(message["id"], method, params)
            else:
                self._notified(method, params)
        elif isinstance(number := message.get("id"), int) and (waiting := self._open.pop(number, None)):
            self._settle(waiting, message)

    @staticmethod
    def _settle(waiting: Deferred[Any], message: dict[str, Any]) -> None:
        error = message.get("error")
        if error is None:
            waiting.callback(message.get("result"))
        else:
            waiting.errback(call_error(error))

    def request(self, method: str, params: dict[str, Any]) -> Deferred[Any]:
        """Ask for something; the Deferred has the result, or fails with :exc:`CallError` or :exc:`WireError`."""
        self._last += 1
        self._send({"id": self._last, "method": method, "params": params})
        waiting: Deferred[Any] = Deferred()
        self._open[self._last] = waiting
        return waiting

    def notify(self, method: str, params: dict[str, Any]) -> None:
        """Say something that has no answer."""
        self._send({"method": method, "params": params})

    def answer(self, number: Any, result: Any) -> None:
        """Answer a request of the other side."""
        self._send({"id": number, "result": result})

    def refuse(self, number: Any, code: int, sentence: str) -> None:
        """Answer a request of the other side with an error."""
        self._send({"id": number, "error": {"code": code, "message": sentence}})

    def _send(self, message: dict[str, Any]) -> None:
        self._write(json.dumps({"jsonrpc": "2.0", **message}, ensure_ascii=False).encode("utf-8", "replace") + b"\n")

    def lost(self, reason: str) -> None:
        """Fail whatever is open: the other side is gone."""
        waiting, self._open = self._open, {}
        for one in waiting.values():
            one.errback(WireError(reason))


def call_error(error: Any) -> CallError:
    """Return what a JSON-RPC *error* says, its details included where it has any."""
    known = error if isinstance(error, dict) else {}
    code, data = known.get("code"), known.get("data")
    details = data.get("details") or data.get("message") if isinstance(data, dict) else data
    sentence = str(known.get("message") or error)
    if isinstance(details, str) and details and details not in sentence:
        sentence = f"{sentence}: {details}"
    return CallError(code if isinstance(code, int) else 0, sentence)
