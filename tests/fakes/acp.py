"""A fake that speaks the Agent Client Protocol: newline-delimited JSON-RPC 2.0 on standard input and output.

``acp [MODE] [ARG]``; the modes are rows of :data:`TURNS`. Logged: ``entered`` (the text of a prompt), ``request`` (every
method that came, with its params), ``answer`` (the outcome of a permission request), ``said`` (the text of a turn).
"""

import json
import os
import select
import signal
import sys
import time

from terminal import log, log_start


class Wire:
    """The two directions of the protocol, without threads."""

    def __init__(self):
        self._rest = b""
        self._next_id = 1000
        self._waiting = []

    def send(self, **message):
        """Write one message."""
        data = json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n"
        while data:
            data = data[os.write(1, data) :]

    def receive(self, timeout=None):
        """Return the next message, None when none came within *timeout* seconds; ends the fake at the end of input."""
        while b"\n" not in self._rest:
            if timeout is not None and not select.select([0], [], [], timeout)[0]:
                return None
            data = os.read(0, 65536)
            if not data:
                log("ended", code=0)
                sys.exit(0)
            self._rest += data
        line, self._rest = self._rest.split(b"\n", 1)
        return json.loads(line)

    def next(self):
        """Return the next message, those that came during :meth:`ask` first."""
        return self._waiting.pop(0) if self._waiting else self.receive()

    def ask(self, method, params):
        """Send a request and return its answer; what else comes meanwhile waits for :meth:`next`."""
        self._next_id += 1
        self.send(id=self._next_id, method=method, params=params)
        while True:
            message = self.receive()
            if message.get("id") == self._next_id and "method" not in message:
                return message
            self._waiting.append(message)

    def cancelled(self, seconds):
        """Wait *seconds*; return early with True when ``session/cancel`` came, ask for nothing else."""
        deadline = time.monotonic() + seconds
        while (rest := deadline - time.monotonic()) > 0:
            message = self.receive(rest)
            if message is None:
                return False
            if message.get("method") == "session/cancel":
                log("request", method="session/cancel", params=message.get("params"))
                return True
            self._waiting.append(message)
        return False


class Session:
    """One conversation over a wire."""

    def __init__(self, wire, session_id):
        self.wire = wire
        self.id = session_id
        self.said = ""

    def update(self, update, **facts):
        """Send one ``session/update`` notification."""
        update = {"sessionUpdate": update, **facts}
        self.wire.send(method="session/update", params={"sessionId": self.id, "update": update})

    def chunk(self, text):
        """Send a piece of the answer."""
        self.said += text
        self.update("agent_message_chunk", content={"type": "text", "text": text})

    def tool(self, title, kind="read"):
        """Send a tool call that completes."""
        self.update("tool_call", toolCallId="call-1", title=title, kind=kind, status="pending")
        self.update("tool_call_update", toolCallId="call-1", status="completed")


def _plain(session, text, _arg):
    session.chunk("You said ")
    session.chunk(text)
    session.wire.cancelled(0.3)
    return "end_turn"


def _whole(session, text, _arg):
    session.chunk(f"You said {text}")
    session.wire.cancelled(1)
    return "end_turn"


def _late(session, text, _arg):
    session.chunk("You said ")
    time.sleep(2)
    session.tool("List files")
    session.chunk(text)
    return "end_turn"


def _perm(session, text, _arg):
    options = [
        {"optionId": "reject", "name": "Reject", "kind": "reject_once"},
        {"optionId": "yes-once", "name": "Allow once", "kind": "allow_once"},
    ]
    call = {"toolCallId": "call-1", "title": f"Run {text}", "kind": "execute", "status": "pending"}
    call["rawInput"] = {"command": text}
    params = {"sessionId": session.id, "toolCall": call, "options": options}
    answer = session.wire.ask("session/request_permission", params)
    outcome = answer.get("result", {}).get("outcome", {})
    log("answer", outcome=outcome)
    if outcome.get("outcome") == "cancelled":
        return "cancelled"
    session.chunk(f"permission: {outcome.get('optionId')}")
    session.wire.cancelled(0.3)
    return "end_turn"


def _die(_session, _text, code):
    log("ended", code=int(code or 3))
    sys.exit(int(code or 3))


def _error(_session, _text, sentence):
    raise ValueError(sentence or "the model is overloaded")


def _slow(session, text, seconds):
    for number in range(int(float(seconds or 5) * 10)):
        session.chunk(f"{number} ")
        if session.wire.cancelled(0.1):
            return "cancelled"
    session.chunk(text)
    session.wire.cancelled(0.3)
    return "end_turn"


def _silent(session, _text, _arg):
    while not session.wire.cancelled(60):
        pass
    return "cancelled"


TURNS = {
    "plain": _plain,  # two chunks, a short pause, the result
    "whole": _whole,  # one chunk, a second, the result: nothing that can be put out of order or dropped
    "late": _late,  # a chunk, 2 s, a tool call, a chunk and at once the result
    "perm": _perm,  # asks for permission, offers "reject" and "yes-once", tells the outcome
    "die": _die,  # exits with ARG (3) at the first prompt
    "error": _error,  # answers a prompt with a JSON-RPC error
    "slow": _slow,  # a chunk each 0.1 s for ARG seconds (5), can be cancelled
    "silent": _silent,  # a prompt has no answer until it is cancelled
}


def acp(mode="plain", arg=""):
    """Serve one client until its end of input. ``acp mute`` never answers anything at all."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    log_start()
    wire = Wire()
    sessions = {}
    while True:
        message = wire.next()
        if "method" not in message:
            continue
        log("request", method=message["method"], params=message.get("params"))
        if mode != "mute" and "id" in message:
            wire.send(id=message["id"], **_answer(wire, sessions, message, mode, arg))


def _answer(wire, sessions, message, mode, arg):
    method, params = message["method"], message.get("params", {})
    if method == "initialize":
        result = {"protocolVersion": 1, "agentCapabilities": {"loadSession": True}, "authMethods": []}
    elif method == "session/new":
        result = {"sessionId": f"session-{len(sessions) + 1}"}
        sessions[result["sessionId"]] = Session(wire, result["sessionId"])
    elif method == "session/load":
        session = sessions[params["sessionId"]] = Session(wire, params["sessionId"])
        session.chunk("loaded earlier words")
        result = {}
    elif method == "session/prompt":
        return _prompt(sessions[params["sessionId"]], params["prompt"], mode, arg)
    else:
        return {"error": {"code": -32601, "message": f"method not found: {method}"}}
    return {"result": result}


def _prompt(session, blocks, mode, arg):
    text = "".join(block.get("text", "") for block in blocks)
    log("entered", text=text)
    session.said = ""
    try:
        reason = TURNS[mode](session, text, arg)
    except ValueError as error:
        return {"error": {"code": -32000, "message": str(error)}}
    log("said", text=session.said)
    return {"result": {"stopReason": reason}}
