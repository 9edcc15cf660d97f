"""What the HTTP face needs of an agent: one interface, behind which a terminal or another way of talking may stand.

Events are told as (name, data); see :data:`EVENTS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from agentproxy.embedded.conversation import Message

Listener = Callable[[str, dict[str, Any]], None]

MESSAGE, STATUS, ERROR, EXITED = "message_update", "status_change", "agent_error", "agent_exited"
SCREEN, ROWS, KEYS = "screen", "rows", "keys_typed"
EVENTS = (MESSAGE, STATUS, ERROR, EXITED)
"""The events of the talk; :data:`SCREEN` (the whole text) and :data:`ROWS` (the rows that changed) are told to who wants them."""


class SendError(Exception):
    """A message was not delivered; the text is agentapi's where it has one, else a sentence of the same kind.

    :param code: ``busy``, ``empty``, ``too_long``, ``not_entered``, ``no_reaction``, ``not_reading``, ``agent_gone``,
        ``no_terminal`` or ``failed``.
    :param delivery: what became of the text: ``nothing_typed``, ``taken_back``, ``typed`` (it stands in the input line) or
        ``entered``.
    """

    def __init__(self, text: str, code: str = "failed", delivery: str = "nothing_typed") -> None:
        super().__init__(text)
        self.code, self.delivery = code, delivery


class Transcript(Protocol):
    """The messages of a talk."""

    messages: list[Message]
    dirty: bool


class Page(Protocol):
    """What a talk shows as its screen."""

    @property
    def text(self) -> str:
        """The rows joined by newlines."""

    @property
    def rows(self) -> list[str]:
        """The rows."""

    @property
    def width(self) -> int:
        """Columns."""

    @property
    def height(self) -> int:
        """Rows that fit."""

    @property
    def cursor(self) -> tuple[int, int]:
        """Column and row of the cursor, from 0."""


class Talk(Protocol):
    """One agent, whatever way it is talked to.

    ``agent_type``; ``transport``, ``pty`` or ``acp``; ``status``, ``stable`` or ``running``; ``exit``, None while the
    agent lives, then its ``code`` and ``signal``; ``errors``, the last ``agent_error`` events; ``listeners``, who are told
    every event, or those in the attribute ``names`` of theirs.
    """

    agent_type: str
    status: str
    exit: dict[str, Any] | None
    errors: list[dict[str, Any]]
    listeners: set[Listener]

    @property
    def transport(self) -> str:
        """``pty`` or ``acp``."""

    @property
    def prompt(self) -> bool:
        """Whether the agent is known to be ready for a message."""

    @property
    def conversation(self) -> Any:
        """The :class:`Transcript`, up to date."""

    @property
    def screen(self) -> Any:
        """The :class:`Page`."""

    def status_event(self) -> dict[str, Any]:
        """Return the data of a ``status_change`` event."""

    async def say(self, content: str) -> None:
        """Say the user's message *content*.

        :raises SendError: it was not delivered, and why.
        """

    def write(self, data: bytes) -> None:
        """Press raw keys at once.

        :raises SendError: they cannot be pressed.
        """

    def interrupt(self) -> None:
        """Interrupt what the agent does.

        :raises SendError: the agent is gone.
        """


def message_event(message: Message) -> dict[str, Any]:
    """Return the data of a ``message_update`` event."""
    return {"id": message.id, "role": message.role, "message": message.content, "time": message.time}


def rows_event(page: Page, changes: dict[int, str] | None = None) -> dict[str, Any]:
    """Return the data of a ``rows`` event: the rows in *changes*, or all that have text, by their number from 0."""
    whole = changes is None
    rows = changes if changes is not None else {number: row for number, row in enumerate(page.rows) if row}
    column, row = page.cursor
    return {
        "whole": whole,
        "rows": {str(number): text for number, text in rows.items()},
        "cursor": {"column": column, "row": row},
        "size": {"width": page.width, "height": page.height},
    }
