"""The messages of one conversation and what the state file says of them. Pure: rows and times in, changed messages out."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from agentproxy.embedded.extraction import message_text
from agentproxy.embedded.screen import Place

Role = Literal["user", "agent"]


def now() -> str:
    """Return the present time as RFC 3339 in the server's zone, written as agentapi writes it."""
    return written(time.time_ns())


def written(ns: int) -> str:
    """Return the time *ns* nanoseconds after the epoch with the digits that its fraction needs, as Go's RFC3339Nano has them."""
    stamp = datetime.fromtimestamp(ns // 10**9).astimezone()
    zone = stamp.strftime("%z")
    fraction = f".{ns % 10**9:09d}".rstrip("0").rstrip(".")
    return f"{stamp:%Y-%m-%dT%H:%M:%S}{fraction}" + ("Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:]}")


@dataclass(frozen=True, slots=True)
class Message:
    """One thing said; its ``id`` is its place."""

    id: int
    content: str
    role: Role
    time: str


class Conversation:
    """All messages, and the screen before the last user message (the base that the agent's answer is told from)."""

    def __init__(self, agent_type: str) -> None:
        self.messages = [Message(0, "", "agent", now())]
        self.dirty = False
        self.base = Place()
        self._type = agent_type
        self._said = ""
        self._frozen = False

    def look(self, rows: Sequence[str], cursor: int | None = None, lost: int = 0) -> Message | None:
        """Read the agent's message from *rows* and return it when it is new or has changed.

        What an agent said is not taken back by a screen that it wipes clean.

        :param rows: the rows since the base, of which the first *lost* are forgotten.
        :param cursor: the number of the row that the cursor is in.
        """
        if self._frozen:
            return None
        text = message_text(self.base, rows, self._said, self._type, cursor=cursor, lost=lost)
        last = self.messages[-1]
        if not text or (last.role == "agent" and text == last.content):
            return None
        fresh = Message(len(self.messages) - (last.role == "agent"), text, "agent", now())
        self.messages[fresh.id :] = [fresh]
        self.dirty = True
        return fresh

    def said(self, text: str, at: str, base: Place) -> Message:
        """Record what the user said at the time *at*, with the screen *base* before it was typed."""
        message = Message(len(self.messages), text, "user", at)
        self.messages.append(message)
        self.base, self._said, self._frozen, self.dirty = base, text, False, True
        return message

    def restore(self, messages: list[Message]) -> None:
        """Take saved *messages* over; the last one stands until the user speaks."""
        if messages:
            self.messages, self._frozen = messages, True


def load_state(path: Path) -> tuple[list[Message], str, bool]:
    """Return the messages, the initial prompt and whether it was sent, as saved at *path*.

    :raises FileNotFoundError: there is none.
    :raises ValueError: it is no state file of version 1.
    """
    try:
        state: Any = json.loads(path.read_text(encoding="utf-8"))
        if state.get("version") != 1:
            raise ValueError(f"unsupported state file version {state.get('version')} (expected 1)")
        rows = enumerate(state.get("messages") or [])
        messages = [
            Message(n, str(m["message"]), "user" if m["role"] == "user" else "agent", m["time"]) for n, m in rows
        ]
        return messages, str(state.get("initial_prompt", "")), bool(state.get("initial_prompt_sent", False))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"failed to decode state file: {error}") from error


def save_state(path: Path, messages: Sequence[Message], prompt: str, sent: bool) -> None:
    """Write the state to *path* atomically, mode 0600, in the form that agentapi loads."""
    rows = [{"id": m.id, "message": m.content, "role": m.role, "time": m.time} for m in messages]
    state = {"version": 1, "messages": rows, "initial_prompt": prompt, "initial_prompt_sent": sent}
    write_private(path, json.dumps(state, ensure_ascii=False, separators=(",", ":")) + "\n")


def write_private(path: Path, text: str) -> None:
    """Write *text* to *path* whole or not at all, mode 0600, missing directories 0700."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".tmp")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
