"""An agent in a terminal: its screen and its conversation, and what others are told of them.

Nothing polls. Output is drawn as it comes and looked at a moment later, at most forty times a second and less often when a look is
dear. When it is quiet (``quiet.py``), the status is ``stable``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from agentproxy.embedded.conversation import Conversation, Message, now
from agentproxy.embedded.extraction import box_content, is_ready
from agentproxy.embedded.formats import FORMATS
from agentproxy.embedded.keys import is_typed
from agentproxy.embedded.quiet import Quiet
from agentproxy.embedded.screen import Place, Screen
from agentproxy.embedded.sending import Sender
from agentproxy.embedded.talk import (
    EXITED,
    KEYS,
    MESSAGE,
    ROWS,
    SCREEN,
    SendError,
    message_event,
    rows_event,
)
from agentproxy.embedded.telling import TOLD_A_SECOND, Teller
from agentproxy.embedded.terminal import Terminal
from agentproxy.embedded.wiping import Wipes

LOOK_EVERY = 0.025
LOOK_SENDING = 0.005
LOOK_SHARE = 10
"""The pause between two looks is at least this many times what a look took, so that a flood leaves time for readers."""
STARTING = 30.0
"""Seconds within which an agent of a known type is expected to show its input line for the first time."""
INTERRUPT_PAUSE = 0.5
KEYS_EVERY = 1.0
"""Seconds at least between two events that tell of keys."""
MOST_HELD = 65536

BUSY_TEXT = "failed to send message: message can only be sent when the agent is waiting for user input"


class Session(Teller):
    """One agent in a terminal and everything that is known of it: a :class:`agentproxy.embedded.talk.Talk`.

    ``ready_once`` and ``on_ready``: the input box has been seen, and what is done then; ``on_stable`` and ``on_resize`` likewise;
    ``taps`` get the agent's bytes.
    """

    transport = "pty"
    own_events = (KEYS,)

    def __init__(self, clock: Any, agent_type: str, width: int, height: int, emulator: str = "auto") -> None:
        super().__init__(agent_type)
        self.screen = Screen(width, height, emulator)
        self._conversation = Conversation(agent_type)
        self._terminal: Terminal | None = None
        self._sender: Sender | None = None
        self.ready_once = False
        self.on_ready: Callable[[], None] = lambda: None
        self.on_stable: Callable[[], None] = lambda: None
        self.on_resize: Callable[[], None] = lambda: None
        self.taps: set[Callable[[bytes], None]] = set()
        self._clock = clock
        self._sending = False
        self._stale = False
        self._seen: tuple[int, int] = (0, 0)
        self._look_call: Any = None
        self._quiet = Quiet(clock, agent_type, self.screen, self._pid, self._became_quiet)
        self._began = clock.seconds()
        self._wipes = Wipes()
        self._pause = self._told_next = self._wipe_next = 0.0
        self._held_keys = b""
        self._keys_told = -KEYS_EVERY

    @property
    def terminal(self) -> Terminal | None:
        """The terminal that messages are typed into."""
        return self._terminal

    @terminal.setter
    def terminal(self, terminal: Terminal) -> None:
        self._terminal = terminal
        kind = self.agent_type
        self._sender = Sender(
            self._clock, self.screen, terminal, FORMATS[kind].settle, lambda rows: box_content(rows, kind)
        )

    def _pid(self) -> int | None:
        return self._terminal.pid if self._terminal is not None and self._terminal.alive else None

    # what the agent draws

    def drawn(self, data: bytes) -> None:
        """Take bytes that the agent wrote."""
        cut = self._wipes.find(data) if self._clock.seconds() >= self._wipe_next else None
        self._wipes.passed(data)
        if cut is not None:
            self.screen.feed(data[:cut])
            self._before_wipe()
        self.screen.feed(data[cut or 0 :])
        for tap in list(self.taps):
            tap(data)
        if self._look_call is None:
            wait = max(LOOK_SENDING if self._sending else LOOK_EVERY, self._pause)
            self._look_call = self._clock.callLater(wait, self._look)

    def _before_wipe(self) -> None:
        began = time.perf_counter()
        self._look_at_screen()
        self._read_message()
        self._wipe_next = self._clock.seconds() + LOOK_SHARE * (time.perf_counter() - began)

    def _look(self) -> None:
        began = time.perf_counter()
        self._look_call = None
        self._look_at_screen()
        self._pause = LOOK_SHARE * (time.perf_counter() - began)

    def _look_at_screen(self) -> None:
        """Take notice of what has changed on the screen."""
        changes = self.screen.take_changes()
        seen, self._seen = self._seen, (self.screen.scrolled, self.screen.cursor[1])
        if changes or seen[0] != self._seen[0]:
            self._changed(changes)
        elif seen == self._seen:
            return
        if self._sender is not None:
            self._sender.changed()

    def _changed(self, changes: dict[int, str]) -> None:
        self._stale = True
        self._quiet.begin()
        self._set_status("running")
        if not self.ready_once and self.prompt:
            self.ready_once = True
            self.on_ready()
        if self.wants(MESSAGE) and self._clock.seconds() >= self._told_next:
            self._read_message()
            length = len(self._conversation.messages[-1].content)
            self._told_next = self._clock.seconds() + length / TOLD_A_SECOND
        if self.wants(ROWS):
            self.tell(ROWS, rows_event(self.screen, changes))
        if self.wants(SCREEN):
            self.tell(SCREEN, {"screen": self.screen.text})

    def _read_message(self) -> None:
        """Bring the agent's message up to date and tell it when it has changed."""
        if not self._stale or self._sending:
            return
        self._stale = False
        rows, lost = self.screen.since(self._conversation.base.scrolled)
        cursor = len(rows) - self.screen.height + self.screen.cursor[1]
        if fresh := self._conversation.look(rows, cursor, lost):
            self.tell(MESSAGE, message_event(fresh))

    def _became_quiet(self) -> None:
        if self._look_call is not None:  # it has drawn since the last look: an answer goes on, or has just ended
            self._look_call.cancel()
            self._look()
            if self._quiet.waits:
                return
        self._read_message()
        self._set_status("stable")
        self.on_stable()

    # what others are told

    @property
    def prompt(self) -> bool:
        """Whether the input box of the agent's type shows now."""
        return is_ready(self.screen.rows, self.agent_type, self.screen.cursor[1])

    @property
    def conversation(self) -> Conversation:
        """All that was said, the agent's last message up to date."""
        self._read_message()
        return self._conversation

    def restored(self, messages: list[Message]) -> None:
        """Take over the messages of an earlier life and tell them all."""
        self._conversation.restore(messages)
        for message in messages:
            self.tell(MESSAGE, message_event(message))

    # what the user says

    def write(self, data: bytes) -> None:
        """Type raw *data* at once, whatever the agent does.

        :raises SendError: the agent is gone or does not read its terminal.
        """
        terminal = self._terminal
        if self._sending and self._sender is not None:
            self._sender.disturbed()
        if terminal is None or not terminal.write(data):
            gone = terminal is None or not terminal.open
            why = "the agent is gone" if gone else "the agent does not read its terminal"
            raise SendError(f"failed to send message: failed to write: {why}", "agent_gone" if gone else "not_reading")

    def type_keys(self, data: bytes) -> None:
        """Type what comes from an attached terminal; keys wait until a message that is being typed is entered.

        :raises SendError: the agent is gone or does not read its terminal.
        """
        if not is_typed(data):
            self.write(data)
            return
        if self._sending:
            self._held_keys = (self._held_keys + data)[:MOST_HELD]
        else:
            self.write(data)
        if self._clock.seconds() - self._keys_told >= KEYS_EVERY:
            self._keys_told = self._clock.seconds()
            self.tell(KEYS, {"time": now()})

    def _release_keys(self) -> None:
        held, self._held_keys = self._held_keys, b""
        if held:
            with suppress(SendError):  # whoever typed them is told by the end of the agent
                self.write(held)

    def interrupt(self) -> None:
        """Press the keys that interrupt this type of agent.

        :raises SendError: the agent is gone or does not read its terminal.
        """
        first, *more = FORMATS[self.agent_type].interrupt
        self.write(first)
        for number, key in enumerate(more, 1):
            self._clock.callLater(number * INTERRUPT_PAUSE, self._press_again, key)

    def _press_again(self, key: bytes) -> None:
        if self._terminal is not None:
            self._terminal.write(key)

    async def say(self, content: str) -> None:
        """Type *content* as the user's message and enter it; returns when the screen reacts to Enter.

        :raises SendError: the agent is busy, the text is empty, or a phase reached its deadline.
        """
        text = content.strip(" \t\n\r\f\v")
        if self.exit is not None:
            raise SendError("failed to send message: the agent exited", "agent_gone")
        if self._look_call is not None:  # what has just been drawn counts
            self._look_at_screen()
        if self.status != "stable" or self._sending or self._starts():
            raise SendError(BUSY_TEXT, "busy")
        if not text:
            raise SendError("failed to send message: message must not be empty", "empty")
        await self.deliver(text)

    def _starts(self) -> bool:
        """Say whether an agent of a known type has not shown its input line yet; one that never does is not waited for."""
        known = self.agent_type != "custom" and not self.ready_once
        return known and not self.prompt and self._clock.seconds() - self._began < STARTING

    async def deliver(self, text: str) -> None:
        """Type and enter the trimmed *text* without asking whether the agent is stable.

        :raises SendError: a phase reached its deadline; what was typed and not entered has been taken back, or that is told.
        """
        if self._sender is None:
            raise SendError("failed to send message: the agent has not started", "agent_gone")
        self._read_message()
        self._sending = self._quiet.suspended = True
        self._set_status("running")
        began = now()
        try:
            base = await self._sender.deliver(text, self.prompt)
            self._record(text, began, base)
        finally:
            self._sending = self._quiet.suspended = False
            self._stale = True
            if self.exit is None:
                self._quiet.begin()
                self._read_if_wanted()
                self._release_keys()

    def _record(self, text: str, began: str, base: Place) -> None:
        self.tell(MESSAGE, message_event(self._conversation.said(text, began, base)))

    def _read_if_wanted(self) -> None:
        if self.wants(MESSAGE):
            self._read_message()

    # size and end

    def resize(self, width: int, height: int) -> None:
        """Give terminal and screen another size; the agent is told and draws anew."""
        self.screen.resize(width, height)
        if self._terminal is not None:
            self._terminal.resize(width, height)
        self.on_resize()
        self.tell(ROWS, rows_event(self.screen))
        self.drawn(b"")

    def ended(self, code: int | None, number: int | None) -> None:
        """Take the end of the agent: its last words become a message, and everybody is told."""
        self.exit = {"code": code, "signal": number}
        self.stop()
        self._look_at_screen()
        if self._sender is not None:
            self._sender.changed()
        self.stop()
        self._stale = True
        self._sending = self._quiet.suspended = False
        self._read_message()
        self.tell(EXITED, {**self.exit, "time": now()})

    def stop(self) -> None:
        """End all timers; twice does no harm."""
        self._quiet.stop()
        if self._look_call is not None and self._look_call.active():
            self._look_call.cancel()
        self._look_call = None
