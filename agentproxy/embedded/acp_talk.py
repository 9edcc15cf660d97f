"""What is said in an ACP session: its messages, what its updates add to them, and what the agent asks leave for. Pure."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import Any

from agentproxy.embedded.acp_wire import WireError
from agentproxy.embedded.conversation import Message, now


@dataclass(frozen=True, slots=True)
class Permission:
    """What the agent asks leave for, its options as (id, name, kind), and the command line that its tool is called with."""

    id: str
    title: str
    kind: str
    options: tuple[tuple[str, str, str], ...]
    time: str
    command: str = ""

    def shown(self) -> dict[str, Any]:
        """Return it as JSON shows it."""
        options = [{"id": number, "name": name, "kind": kind} for number, name, kind in self.options]
        facts = {"id": self.id, "title": self.title, "kind": self.kind, "options": options, "time": self.time}
        return {**facts, "command": self.command} if self.command else facts


@dataclass
class Transcript:
    """The messages of an ACP session."""

    messages: list[Message] = field(default_factory=list)
    dirty: bool = False

    def add(self, role: Any, content: str) -> Message:
        """Append a message."""
        message = Message(len(self.messages), content, role, now())
        self.messages.append(message)
        self.dirty = True
        return message

    def revise(self, content: str) -> Message:
        """Give the last message another text."""
        last = self.messages[-1]
        message = Message(last.id, content, last.role, last.time)
        self.messages[-1] = message
        self.dirty = True
        return message


MOST_REPLY = 4 * 1024 * 1024
"""Characters of one answer that are kept, the last ones, which bounds the memory of an agent that never ends."""


@dataclass
class _Call:
    """A tool call in a reply: where its line begins, the line, and what is known of the call."""

    at: int
    line: str
    facts: dict[str, Any]

    def learn(self, update: dict[str, Any]) -> bool:
        """Take over what an update says of it; return whether it has another status now."""
        before = self.facts.get("status")
        self.facts.update({name: update[name] for name in _TOLD_OF_CALLS if update.get(name)})
        return bool(self.facts.get("status") != before)


_TOLD_OF_CALLS = ("kind", "title", "status")


class Reply:
    """An answer that grows. A tool call has one line, which tells what was last said of the call."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._calls: dict[str, _Call] = {}
        self.length = 0

    def take(self, update: dict[str, Any]) -> bool:
        """Take one ``session/update``; say whether there is another text now."""
        kind, length = update.get("sessionUpdate"), self.length
        if kind == "agent_message_chunk":
            self.grow(_chunk(update))
        elif kind in ("tool_call", "tool_call_update"):
            return self._take_call(update, announced=kind == "tool_call")
        return self.length != length

    def _take_call(self, update: dict[str, Any], announced: bool) -> bool:
        number = str(update.get("toolCallId") or "")
        call = self._calls.get(number)
        told = bool(update.get("status")) and not announced
        if call is not None:
            told = call.learn(update) or told
            revised = self._revise(call)
        else:
            revised = announced
            if announced:
                self._announce(number, update)
        if told:
            self.grow(f"[Tool Status: {update['status']}]\n")
        return revised or told

    def _announce(self, number: str, update: dict[str, Any]) -> None:
        call = _Call(self.length, _line(update), {})
        call.learn(update)
        if number:
            self._calls[number] = call
        self.grow(call.line)

    def _revise(self, call: _Call) -> bool:
        """Bring the line of *call* up to date; say whether it was not."""
        line, old = _line(call.facts), call.line
        if line == old:
            return False
        text = "".join(self._parts)
        self._parts = [text[: call.at] + line + text[call.at + len(old) :]]
        call.line = line
        self._move(call.at, len(line) - len(old))
        return True

    def _move(self, behind: int, characters: int) -> None:
        """Take notice that what stands behind a place has moved."""
        self.length += characters
        for call in self._calls.values():
            call.at += characters if call.at > behind else 0

    def grow(self, text: str) -> None:
        """Put *text* behind it."""
        self._parts.append(text)
        self.length += len(text)
        if self.length > 2 * MOST_REPLY:
            self._parts = [self.text]
            self._move(-1, MOST_REPLY - self.length)
            self._calls = {number: call for number, call in self._calls.items() if call.at >= 0}

    @property
    def text(self) -> str:
        """All of it."""
        self._parts = ["".join(self._parts)]
        return self._parts[0][-MOST_REPLY:]


def _line(call: dict[str, Any]) -> str:
    return f"\n[Tool: {call.get('kind') or 'other'}] {call.get('title') or ''}\n"


def permission_of(number: str, params: dict[str, Any]) -> Permission | None:
    """Return what a ``session/request_permission`` asks, None when it is malformed."""
    call, options = params.get("toolCall"), params.get("options")
    if not isinstance(call, dict) or not isinstance(options, list) or not options:
        return None
    found = []
    for one in options:
        if not isinstance(one, dict) or not isinstance(one.get("optionId"), str):
            return None
        found.append((one["optionId"], str(one.get("name") or one["optionId"]), str(one.get("kind") or "")))
    title, kind = str(call.get("title") or ""), str(call.get("kind") or "other")
    return Permission(number, title, kind, tuple(found), now(), _command(call.get("rawInput")))


def _command(given: Any) -> str:
    """Return the command line in what a tool is called with, "" when there is none."""
    command = given.get("command") if isinstance(given, dict) else None
    if isinstance(command, list) and all(isinstance(word, str) for word in command):
        return shlex.join(command)
    return command if isinstance(command, str) else ""


def _chunk(update: dict[str, Any]) -> str:
    content = update.get("content")
    return str(content.get("text") or "") if isinstance(content, dict) else ""


class Replay:
    """What an agent repeats of a session that is loaded, on its way into *transcript*."""

    def __init__(self, transcript: Transcript) -> None:
        self._transcript = transcript
        self._role, self._reply = "", Reply()

    def take(self, update: dict[str, Any]) -> Message | None:
        """Take one update; return the message that is new or has grown."""
        role = "user" if update.get("sessionUpdate") == "user_message_chunk" else "agent"
        reply = self._reply if role == self._role else Reply()
        if not reply.take({**update, "sessionUpdate": "agent_message_chunk"} if role == "user" else update):
            return None
        goes_on, self._role, self._reply = role == self._role, role, reply
        return self._transcript.revise(reply.text) if goes_on else self._transcript.add(role, reply.text)


def opened_id(result: Any) -> str:
    """Return the session id in the *result* of ``session/new``.

    :raises WireError: there is none.
    """
    if not isinstance(result, dict) or not isinstance(result.get("sessionId"), str):
        raise WireError(f"expected a sessionId, got {str(result)[:200]}")
    return str(result["sessionId"])


_CUT_SHORT = {
    "max_tokens": "the agent reached its limit of tokens",
    "max_turn_requests": "the agent reached its limit of requests",
    "refusal": "the agent refused to go on",
}


def cut_short(result: Any) -> str:
    """Return why a turn ended before its end, "" when it did not."""
    reason = result.get("stopReason") if isinstance(result, dict) else None
    return f"The turn ended early: {_CUT_SHORT[reason]}" if reason in _CUT_SHORT else ""
