"""A model that answers by the words of the user's last message, over the two protocols that real agents speak.

======================================  ========================================
``POST /v1/messages``                   Anthropic Messages, streamed or not
``POST /v1/responses``                  OpenAI Responses, streamed
everything else                         ``{}``
======================================  ========================================

The first line of the message decides (:func:`plan`): ``run COMMAND`` calls the agent's shell tool, ``list N`` answers N lines,
``slow N`` a word each fifth of a second for N seconds, ``pause N``
two words with N seconds of silence between, ``silent`` nothing until the agent goes away, ``error 429`` that status;
whatever else is answered with ``You said: ...``. After a tool's result the answer is ``The tool said: ...``. A key other than
:data:`KEY` is refused with 401.
"""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "stub-key-0123456789-0123456789-0123456789"
"""The one key that is let in."""
_NUMBER = itertools.count(1)


@dataclass(frozen=True)
class Plan:
    """What one request is answered with: a status, pieces of text with a pause behind each, or a call of the shell tool."""

    status: int = 200
    pieces: tuple[str, ...] = ()
    pause: float = 0.0
    command: str = ""
    silent: bool = False


def plan(text: str, result: str | None) -> Plan:
    """Return the plan for the user's last *text*, or for the *result* of a tool when that came last."""
    if result is not None:
        return Plan(pieces=("The tool said: ", result.strip()[:60] or "nothing"))
    word, _, rest = text.strip().split("\n")[0].partition(" ")
    first = rest.strip()
    if word == "run" and first:
        return Plan(command=first)
    if word == "error" and first.isdecimal():
        return Plan(status=int(first))
    if word == "silent":
        return Plan(silent=True)
    if word == "pause" and first.isdecimal():
        return Plan(pieces=("before ", "after"), pause=float(first))
    if word in ("list", "slow") and first.isdecimal():
        count = int(first)
        if word == "list":
            return Plan(pieces=tuple(f"line {number}\n\n" for number in range(1, count + 1)))
        return Plan(pieces=tuple(f"word{number} " for number in range(count * 5)), pause=0.2)
    return Plan(pieces=("You said: ", text.strip()))


ERRORS = {
    401: ("authentication_error", "invalid x-api-key"),
    403: ("permission_error", "not allowed"),
    429: ("rate_limit_error", "This request would exceed your rate limit."),
    500: ("api_error", "Internal server error"),
    529: ("overloaded_error", "Overloaded"),
}


class StubModel:
    """A running stub on a loopback port of its own.

    ``seen``: the user's last text (or ``tool: RESULT``) of every conversational request, in order.
    """

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.closing = threading.Event()
        model = self

        class Handler(_Handler):
            stub = model

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """End it."""
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


class _Handler(BaseHTTPRequestHandler):
    stub: StubModel
    protocol_version = "HTTP/1.1"

    def log_message(self, *_facts: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer whatever is asked besides with an empty object."""
        self._json(200, {})

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """Answer one request of an agent."""
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        path = self.path.partition("?")[0]
        with suppress(BrokenPipeError, ConnectionResetError):
            if path.endswith("/count_tokens"):
                self._json(200, {"input_tokens": 10})
            elif path == "/v1/messages":
                self._turn(json.loads(body), anthropic_last, self._anthropic)
            elif path == "/v1/responses":
                self._turn(json.loads(body), responses_last, self._responses)
            else:
                self._json(200, {})

    def _turn(self, asked: dict[str, Any], last: Any, answer: Any) -> None:
        self.stub.requests.append((self.path, asked))
        given = self.headers.get("x-api-key") or (self.headers.get("authorization") or "").removeprefix("Bearer ")
        if given != KEY:
            return self._error(401)
        text, result = last(asked)
        made = plan(text, result)
        if not _side_call(asked, text):
            self.stub.seen.append(text if result is None else f"tool: {result}")
        if made.status != 200:
            return self._error(made.status)
        if made.silent and not _side_call(asked, text):
            self._head()
            self.stub.closing.wait(60)
            return None
        answer(asked, made)
        return None

    # bytes

    def _json(self, status: int, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _error(self, status: int) -> None:
        kind, sentence = ERRORS.get(status, ("api_error", "failed"))
        self._json(status, {"type": "error", "error": {"type": kind, "code": kind, "message": sentence}})

    def _head(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True

    def _event(self, name: str, **facts: Any) -> None:
        self.wfile.write(f"event: {name}\ndata: {json.dumps({'type': name, **facts})}\n\n".encode())
        self.wfile.flush()

    def _pieces(self, made: Plan) -> Iterator[str]:
        for piece in made.pieces:
            yield piece
            if made.pause and piece != made.pieces[-1] and self.stub.closing.wait(made.pause):
                return

    # the two protocols

    def _anthropic(self, asked: dict[str, Any], made: Plan) -> None:
        number = next(_NUMBER)
        usage = {"input_tokens": 10, "output_tokens": 10}
        head = {"id": f"msg_{number}", "type": "message", "role": "assistant", "model": asked.get("model", "stub")}
        text = "".join(made.pieces)
        if not asked.get("stream"):
            content = [{"type": "text", "text": text}]
            return self._json(
                200, {**head, "content": content, "stop_reason": "end_turn", "stop_sequence": None, "usage": usage}
            )
        self._head()
        self._event(
            "message_start", message={**head, "content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
        )
        if made.command and asked.get("tools"):
            call = {"type": "tool_use", "id": f"toolu_{number}", "name": "Bash", "input": {}}
            self._event("content_block_start", index=0, content_block=call)
            given = json.dumps({"command": made.command, "description": "Run what was asked for"})
            self._event("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": given})
        else:
            self._event("content_block_start", index=0, content_block={"type": "text", "text": ""})
            for piece in self._pieces(made):
                self._event("content_block_delta", index=0, delta={"type": "text_delta", "text": piece})
        self._event("content_block_stop", index=0)
        reason = "tool_use" if made.command and asked.get("tools") else "end_turn"
        self._event("message_delta", delta={"stop_reason": reason, "stop_sequence": None}, usage={"output_tokens": 10})
        self._event("message_stop")
        return None

    def _responses(self, asked: dict[str, Any], made: Plan) -> None:
        number = next(_NUMBER)
        response = {"id": f"resp_{number}", "object": "response", "status": "in_progress", "output": []}
        self._head()
        self._event("response.created", response=response)
        if made.command:
            item = shell_call(asked, made.command, number)
        else:
            item = {
                "type": "message",
                "id": f"msg_{number}",
                "role": "assistant",
                "status": "in_progress",
                "content": [],
            }
            self._event("response.output_item.added", output_index=0, item=item)
            for piece in self._pieces(made):
                self._event(
                    "response.output_text.delta", item_id=item["id"], output_index=0, content_index=0, delta=piece
                )
            content = [{"type": "output_text", "text": "".join(made.pieces), "annotations": []}]
            item = {**item, "status": "completed", "content": content}
        self._event("response.output_item.done", output_index=0, item=item)
        usage = {"input_tokens": 10, "output_tokens": 10, "total_tokens": 20}
        details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
        self._event(
            "response.completed",
            response={**response, "status": "completed", "output": [item], "usage": {**usage, **details}},
        )


def shell_call(asked: dict[str, Any], command: str, number: int) -> dict[str, Any]:
    """Return a call of Codex' shell tool, by the names that it offers, that asks to leave the sandbox."""
    offered = {tool.get("name") or tool.get("type") for tool in asked.get("tools") or ()}
    given: dict[str, Any] = {"justification": "Run it outside the sandbox?", "sandbox_permissions": "require_escalated"}
    if "exec_command" in offered:
        name, given = "exec_command", {**given, "cmd": command}
    else:
        name = "shell_command" if "shell_command" in offered else "shell"
        given["command"] = command if name == "shell_command" else ["bash", "-lc", command]
    call = {"type": "function_call", "id": f"fc_{number}", "call_id": f"call_{number}", "status": "completed"}
    return {**call, "name": name, "arguments": json.dumps(given)}


def anthropic_last(asked: dict[str, Any]) -> tuple[str, str | None]:
    """Return the user's last text and, when a tool's result came after it, that."""
    text, result = "", None
    for message in asked.get("messages") or ():
        if message.get("role") != "user":
            continue
        content = message.get("content")
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
        said = [one["text"] for one in blocks if one.get("type") == "text" and not _reminder(one["text"])]
        results = [_plain(one.get("content")) for one in blocks if one.get("type") == "tool_result"]
        text = said[-1] if said else text
        result = results[-1] if results and not said else None
    return text, result


def responses_last(asked: dict[str, Any]) -> tuple[str, str | None]:
    """Return the user's last text and, when a tool's result came after it, that."""
    text, result = "", None
    for item in asked.get("input") or ():
        if item.get("type", "message") == "message" and item.get("role") == "user":
            said = [one["text"] for one in item.get("content") or () if one.get("type") == "input_text"]
            said = [one for one in said if not _reminder(one)]
            text, result = (said[-1], None) if said else (text, result)
        elif item.get("type") == "function_call_output":
            result = _plain(item.get("output"))
    return text, result


def _side_call(asked: dict[str, Any], text: str) -> bool:
    """Say whether an agent asks for something of its own, such as a title for the talk."""
    return ("messages" in asked and not asked.get("tools")) or text.startswith(
        "Generate a concise, single-line task title"
    )


def _reminder(text: str) -> bool:
    return text.lstrip().startswith("<")


def _plain(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(str(one.get("text", "")) for one in content or () if isinstance(one, dict))
