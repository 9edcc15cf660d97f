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


class Reply:
    """An answer that grows."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self.length = 0

    def grow(self, text: str) -> None:
        """Put *text* behind it."""
        self._parts.append(text)
        self.length += len(text)
        if self.length > 2 * MOST_REPLY:
            self._parts = [self.text]
            self.length = len(self._parts[0])

    @property
    def text(self) -> str:
        """All of it."""
        self._parts = ["".join(self._parts)]
        return self._parts[0][-MOST_REPLY:]


def update_text(update: dict[str, Any]) -> str:
    """Return what one ``session/update`` adds to the agent's message."""
    kind = update.get("sessionUpdate")
    if kind == "agent_message_chunk":
        return _chunk(update)
    if kind == "tool_call":
        return f"\n[Tool: {update.get('kind') or 'other'}] {update.get('title') or ''}\n"
    if kind == "tool_call_update" and update.get("status"):
        return f"[Tool Status: {update['status']}]\n"
    return ""


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


def replayed(transcript: Transcript, update: dict[str, Any]) -> Message | None:
    """Take one update of a session that is loaded into *transcript*; return the message that is new or has grown."""
    of_user = update.get("sessionUpdate") == "user_message_chunk"
    role, text = ("user", _chunk(update)) if of_user else ("agent", update_text(update))
    if not text:
        return None
    last = transcript.messages[-1] if transcript.messages else None
    if last is not None and last.role == role:
        return transcript.revise(last.content + text)
    return transcript.add(role, text)


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
