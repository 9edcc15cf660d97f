"""The agent behind the server: its terminal, screen and conversation, and the sending of messages, joined together.

Nothing polls: the screen is looked at after output only, and a timer tells when it has been quiet for two seconds.

A user message goes through these phases, each with a deadline:

========  ===============================================  ==========================================
phase     ends when                                        at the deadline
========  ===============================================  ==========================================
typing    the typed text shows and has settled             prompt known: Enter; else taken back, refused
entering  the screen reacts to Enter                       refused: typed and entered, no reaction
========  ===============================================  ==========================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from agentproxy.embedded.conversation import Conversation, Message, now
from agentproxy.embedded.formats import is_busy, is_ready
from agentproxy.embedded.screen import Screen
from agentproxy.embedded.terminal import Terminal

LOOK_EVERY = 0.025
LOOK_SHARE = 10
"""The pause between two looks is at least this many times what a look took, so that a flood leaves time for readers."""
QUIET = 2.0
SETTLED = 0.08
ECHO_DEADLINE = 2.0
ECHO_DEADLINE_MOST = 15.0
ENTER_DEADLINE = 15.0
BUSY_QUIET = 30.0
"""Seconds after which a sign of work that no longer moves is not believed any more."""

Listener = Callable[[str, dict[str, Any]], None]


class SendError(Exception):
    """A message was not delivered; the text is agentapi's where it has one, else a sentence of the same kind."""


@dataclass
class _Change:
    """Callers that wait for the next change of the screen."""

    waiting: list[Deferred[None]] = field(default_factory=list)

    def fire(self) -> None:
        waiting, self.waiting = self.waiting, []
        for each in waiting:
            each.callback(None)


class Session:
    """One agent and everything that is known of it.

    ``status`` is ``stable`` or ``running``; ``prompt`` says whether the input box shows; ``listeners`` get every event as
    (name, data).
    """

    _log = Logger()

    def __init__(self, clock: Any, agent_type: str, width: int, height: int) -> None:
        self.agent_type = agent_type
        self.screen = Screen(width, height)
        self.conversation = Conversation(agent_type)
        self.status = "running"
        self.ready_once = False
        self.on_ready: Callable[[], None] = lambda: None
        self.terminal: Terminal | None = None
        self.listeners: set[Listener] = set()
        self.errors: list[dict[str, Any]] = []
        self.exit: dict[str, Any] | None = None
        self._clock = clock
        self._base_scrolled = 0
        self._sending = False
        self._look_call: Any = None
        self._quiet_call: Any = clock.callLater(QUIET, self._quiet)
        self._busy_since: float | None = None
        self._change = _Change()
        self._look_took = 0.0
        self._shown = ""

    @property
    def prompt(self) -> bool:
        """Whether the input box of the agent's type shows now."""
        return is_ready(self.screen.rows, self.agent_type)

    # what the agent draws

    def drawn(self, data: bytes) -> None:
        """Take bytes that the agent wrote."""
        if self.screen.feed(data):
            self._changed()

    def _changed(self) -> None:
        self._busy_since = None
        if self._quiet_call is None:
            self._quiet_call = self._clock.callLater(QUIET, self._quiet)
        else:
            self._quiet_call.reset(QUIET)
        if self._look_call is None:
            self._look_call = self._clock.callLater(max(LOOK_EVERY, LOOK_SHARE * self._look_took), self._look)
        self._change.fire()

    def _look(self) -> None:
        began = self._clock.seconds()
        self._look_call = None
        self._look_at_screen()
        self._look_took = self._clock.seconds() - began

    def _look_at_screen(self) -> None:
        self._set_status("running")
        if not self.ready_once and self.prompt:
            self.ready_once = True
            self.on_ready()
        if not self._sending:
            changed = self.conversation.look(self.screen.since(self._base_scrolled))
            if changed:
                self._tell_message(changed)
        if (text := self.screen.text) != self._shown:
            self._shown = text
            self.tell("screen", {"screen": text})

    def _quiet(self) -> None:
        self._quiet_call = None
        if self._sending:
            return
        if is_busy(self.screen.rows):
            self._busy_since = self._clock.seconds() if self._busy_since is None else self._busy_since
            if self._clock.seconds() - self._busy_since < BUSY_QUIET:
                self._quiet_call = self._clock.callLater(QUIET, self._quiet)
                return
        self._set_status("stable")

    # what others are told

    def _set_status(self, status: str) -> None:
        if status != self.status:
            self.status = status
            self.tell("status_change", self.status_event())

    def status_event(self) -> dict[str, Any]:
        """Return the data of a ``status_change`` event."""
        return {"status": self.status, "agent_type": self.agent_type}

    def tell(self, name: str, data: dict[str, Any]) -> None:
        """Give an event to all listeners."""
        for listener in list(self.listeners):
            listener(name, data)

    def warn(self, text: str) -> None:
        """Tell an ``agent_error`` of the level warning; the last 100 are kept for later listeners."""
        error = {"message": text, "level": "warning", "time": now()}
        self.errors = [*self.errors, error][-100:]
        self.tell("agent_error", error)

    def _tell_message(self, message: Message) -> None:
        self.tell("message_update", message_event(message))

    def restored(self, messages: list[Message]) -> None:
        """Take over the messages of an earlier life and tell them all."""
        self.conversation.restore(messages)
        for message in messages:
            self._tell_message(message)

    # what the user says

    def write(self, data: bytes) -> None:
        """Type raw *data* at once, whatever the agent does.

        :raises SendError: the agent is gone or does not read its terminal.
        """
        if self.terminal is None or not self.terminal.write(data):
            raise SendError("failed to send message: failed to write: the agent does not read its terminal")

    async def say(self, content: str) -> None:
        """Type *content* as the user's message and enter it; returns when the screen reacts to Enter.

        :raises SendError: the agent is busy, the text is empty, or a phase reached its deadline.
        """
        text = content.strip(" \t\n\r\f\v")
        if self.status != "stable" or self._sending:
            raise SendError("failed to send message: message can only be sent when the agent is waiting for user input")
        if not text:
            raise SendError("failed to send message: message must not be empty")
        await self.deliver(text)

    async def deliver(self, text: str) -> None:
        """Type and enter the trimmed *text* without asking whether the agent is stable.

        :raises SendError: a phase reached its deadline; what was typed and not entered has been taken back.
        """
        self._sending = True
        self._set_status("running")
        began, base, scrolled = now(), list(self.screen.rows), self.screen.scrolled
        try:
            await self._type(text)
            await self._enter()
            self._base_scrolled = scrolled
            self._tell_message(self.conversation.said(text, began, base))
        finally:
            self._sending = False
            self._changed()

    async def _type(self, text: str) -> None:
        known = self.prompt
        self.write(b"x\x08\x1b[200~" + pasted(text).encode("utf-8", "replace") + b"\x1b[201~")
        last = self._clock.seconds() + ECHO_DEADLINE_MOST
        if await self._wait_change(ECHO_DEADLINE):
            while await self._wait_change(SETTLED) or self._unread():
                if self._clock.seconds() > last:
                    break
        elif not known or self._unread():
            self._take_back(text)
            raise SendError(
                "failed to send message: failed to send message: failed to wait for screen to stabilize: "
                "timeout waiting for condition"
            )

    def _unread(self) -> int:
        return self.terminal.unread if self.terminal is not None and self.terminal.alive else 0

    def _take_back(self, text: str) -> None:
        if self.terminal is not None:
            self.terminal.write(b"\x7f" * len(text))

    async def _enter(self) -> None:
        before = (self.screen.scrolled, list(self.screen.rows))
        self.write(b"\r")
        end = self._clock.seconds() + ENTER_DEADLINE
        while (left := end - self._clock.seconds()) > 0:
            if await self._wait_change(left) and before != (self.screen.scrolled, self.screen.rows):
                return
        raise SendError(
            "failed to send message: failed to send message: failed to wait for processing to start: "
            "timeout waiting for condition"
        )

    async def _wait_change(self, seconds: float) -> bool:
        """Wait until the screen changes; False after *seconds* without.

        :raises SendError: the agent ended meanwhile.
        """
        waiter: Deferred[None] = Deferred()
        self._change.waiting.append(waiter)
        late = self._clock.callLater(seconds, waiter.cancel)
        try:
            await waiter
        except CancelledError:
            self._change.waiting.remove(waiter)
            return False
        finally:
            if late.active():
                late.cancel()
        if self.exit is not None:
            raise SendError("failed to send message: the agent exited")
        return True

    def ended(self, code: int | None, number: int | None) -> None:
        """Take the end of the agent: its last words become a message, and everybody is told."""
        self.exit = {"code": code, "signal": number}
        self.stop()
        self._look()
        self.tell("agent_exited", {**self.exit, "time": now()})
        self._change.fire()
        self.stop()

    def stop(self) -> None:
        """End all timers; twice does no harm."""
        for call in (self._look_call, self._quiet_call):
            if call is not None and call.active():
                call.cancel()
        self._look_call = self._quiet_call = None


def pasted(text: str) -> str:
    """Return *text* fit for a paste: newlines are LF (CR would enter it early), no mark ends the paste from inside."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text.replace("\x1b[200~", "").replace("\x1b[201~", "")


def message_event(message: Message) -> dict[str, Any]:
    """Return the data of a ``message_update`` event."""
    return {"id": message.id, "role": message.role, "message": message.content, "time": message.time}
