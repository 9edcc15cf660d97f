"""One user message on its way into a terminal: pasted, seen, entered.

========  ===============================================  ==========================================
phase     ends when                                        at the deadline
========  ===============================================  ==========================================
typing    the typed text shows and has settled             prompt known: Enter; else taken back, refused
entering  the screen or the cursor reacts to Enter         refused: typed and entered, no reaction
========  ===============================================  ==========================================

A text that stands in a drawn input box two seconds after Enter was not entered (an agent that still works at a paste lets the
key fall): as long as the agent is idle Enter is pressed again, and at the deadline the text is taken back.

Nothing is typed but the paste and Enter. A character with a backspace behind it, by which others make an agent draw, is taken for
text by a program that is too busy to take them one by one.

A program that reads lines (a terminal in canonical mode) gets its lines without paste marks, which it would take for text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from agentproxy.embedded.screen import Place, Screen
from agentproxy.embedded.talk import SendError
from agentproxy.embedded.terminal import Terminal
from agentproxy.embedded.work import use_of

ECHO_DEADLINE = 2.0
"""Seconds within which typed text shows, if it shows at all."""
ECHO_DEADLINE_MOST = 15.0
"""Seconds within which it has settled; long texts and slow programs need more than a moment."""
ENTER_DEADLINE = 15.0
ENTER_AGAIN = 2.0
WORK_SEEN = 0.2
TAKEN_BACK = 1.0
KEYS_ECHO = 1.0
MOST_LINE = 4095
"""Bytes of a line that the kernel keeps for a program that reads lines."""

FAILED = "failed to send message: failed to send message: "
NOT_SETTLED = FAILED + "failed to wait for screen to stabilize: timeout waiting for condition"
NO_REACTION = FAILED + "failed to wait for processing to start: timeout waiting for condition"


class Sender:
    """Types messages into one terminal, one at a time.

    :param settle: seconds of quiet between the shown text and Enter.
    :param box: returns what stands in the input box of some rows, None where that cannot be told.
    """

    def __init__(
        self, clock: Any, screen: Screen, terminal: Terminal, settle: float, box: Callable[[Sequence[str]], str | None]
    ) -> None:
        self._clock, self._screen, self._terminal, self._settle, self._box = clock, screen, terminal, settle, box
        self._waiting: list[Deferred[None]] = []
        self._keys_at = -KEYS_ECHO

    def changed(self) -> None:
        """Take notice of a changed screen, or of the end of the agent."""
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)

    async def deliver(self, text: str, prompt: bool) -> Place:
        """Type and enter *text*; return the screen as it was before.

        :param prompt: whether the agent is known to wait for input.
        :raises SendError: a phase reached its deadline, or the agent is gone.
        """
        base = self._screen.place()
        await self._type(text, prompt, base)
        if not await self._enter(self._box(base.rows)):
            raise SendError(NOT_SETTLED, "not_entered", await self._take_back(text, base))
        return base

    async def _type(self, text: str, prompt: bool, base: Place) -> None:
        lines = self._terminal.reads_lines
        data = pasted(text).encode("utf-8", "replace")
        if lines and max(map(len, data.split(b"\n"))) > MOST_LINE:
            raise SendError(f"{FAILED}the agent reads lines of at most {MOST_LINE} bytes", "too_long")
        self._press(data if lines else b"\x1b[200~" + data + b"\x1b[201~")
        if not await self._wait_change(ECHO_DEADLINE):
            if prompt and not self._terminal.unread:
                return
            raise SendError(NOT_SETTLED, "not_entered", await self._take_back(text, base))
        last = self._clock.seconds() + ECHO_DEADLINE_MOST
        seen: float | None = None
        while await self._wait_change(self._settle) or self._terminal.unread:
            now = self._clock.seconds()
            seen = now if seen is None and self._shows(text, base) else seen
            if now > last:
                raise SendError(NOT_SETTLED, "not_entered", await self._take_back(text, base))
            if seen is not None and now - seen > 4 * self._settle and not self._terminal.unread:
                return

    def _shows(self, text: str, base: Place) -> bool:
        """Say whether the end of *text* stands in rows that differ from *base*."""
        tail = re.sub(r"\s", "", text)[-12:]
        old = base.rows
        rows = self._screen.rows
        fresh = "".join(row for at, row in enumerate(rows) if row and (at >= len(old) or row != old[at]))
        return tail in re.sub(r"\s", "", fresh)

    async def _take_back(self, text: str, base: Place) -> str:
        """Erase what was typed; return what became of it."""
        if not self._terminal.alive:
            return "typed"
        if not self._terminal.drop_unread():
            self._terminal.write(self._terminal.erasing(len(text)))
        elif tuple(self._screen.rows) != base.rows:
            self._terminal.write(b"\x1b[201~" + self._terminal.erasing(len(text)))
        end = self._clock.seconds() + TAKEN_BACK
        while tuple(self._screen.rows) != base.rows and (left := end - self._clock.seconds()) > 0:
            await self._wait_change(left)
        return "taken_back" if tuple(self._screen.rows) == base.rows else "typed"

    def disturbed(self) -> None:
        """Take notice of raw keys: what changes in the cursor's row soon after is their echo, no reaction to Enter."""
        self._keys_at = self._clock.seconds()

    async def _enter(self, empty: str | None) -> bool:
        """Press Enter until the screen reacts; False when what was typed is still in the input box.

        :param empty: what stands in the input box when nothing is typed.
        :raises SendError: nothing has happened.
        """
        before = self._screen.place()
        typed = self._box(before.rows)
        typed = None if typed == empty else typed
        end = self._clock.seconds() + ENTER_DEADLINE
        again = self._press_enter()
        while (left := end - self._clock.seconds()) > 0:
            seconds = left if typed is None else min(left, max(0.1, again - self._clock.seconds()))
            try:
                changed = await self._wait_change(seconds)
            except SendError:  # the agent has ended: by what it was told, if it has reacted to that
                after = self._screen.place()
                if (typed is None or self._box(after.rows) != typed) and moved(before, after):
                    return True
                raise
            after = self._screen.place()
            if typed is not None and self._box(after.rows) == typed:
                if self._clock.seconds() >= again and not self._terminal.unread and not await self._works():
                    again = self._press_enter()
                continue
            if not changed:
                continue
            if self._clock.seconds() - self._keys_at < KEYS_ECHO and only_row(before, after):
                before = after
            elif moved(before, after):
                return True
        if typed is not None and self._box(self._screen.rows) == typed:
            return False
        raise SendError(NO_REACTION, "no_reaction", "entered")

    def _press_enter(self) -> float:
        """Press Enter; return when it may be pressed again."""
        self._press(b"\r")
        return float(self._clock.seconds()) + ENTER_AGAIN

    async def _works(self) -> bool:
        """Say whether the agent computes: it may be about to take the key that it was given."""
        used, since = use_of(self._terminal.pid), self._clock.seconds()
        await self._wait_change(WORK_SEEN)
        return use_of(self._terminal.pid).is_work_since(used, self._clock.seconds() - since)

    def _press(self, data: bytes) -> None:
        if not self._terminal.write(data):
            gone = not self._terminal.alive
            why = "the agent is gone" if gone else "the agent does not read its terminal"
            raise SendError(f"{FAILED}failed to write message part: {why}", "agent_gone" if gone else "not_reading")

    async def _wait_change(self, seconds: float) -> bool:
        """Wait until the screen changes; False after *seconds* without.

        :raises SendError: the agent ended meanwhile.
        """
        waiter: Deferred[None] = Deferred()
        self._waiting.append(waiter)
        late = self._clock.callLater(seconds, waiter.cancel)
        try:
            await waiter
        except CancelledError:
            self._waiting.remove(waiter)
            return False
        finally:
            if late.active():
                late.cancel()
        if not self._terminal.alive:
            raise SendError("failed to send message: the agent exited", "agent_gone", "typed")
        return True


def moved(before: Place, after: Place) -> bool:
    """Say whether rows have changed or scrolled away, or the cursor is in another one."""
    return (before.scrolled, before.rows, before.row) != (after.scrolled, after.rows, after.row)


def only_row(before: Place, after: Place) -> bool:
    """Say whether nothing has changed but the row of the cursor."""
    if (before.scrolled, before.row, len(before.rows)) != (after.scrolled, after.row, len(after.rows)):
        return False
    return all(old == new or at == after.row for at, (old, new) in enumerate(zip(before.rows, after.rows, strict=True)))


def pasted(text: str) -> str:
    """Return *text* fit for a paste: newlines are LF (CR would enter it early), no mark ends the paste from inside."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    while "\x1b[200~" in text or "\x1b[201~" in text:  # taking one out may leave another
        text = text.replace("\x1b[200~", "").replace("\x1b[201~", "")
    return text
