"""Sending user messages: one at a time, clean text only, and never typed twice.

A message is *delivered* when it shows in the stream of the agent server. Only what certainly was not typed is sent again.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Coroutine
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.defer import TimeoutError as DeadlineError
from twisted.internet.interfaces import IReactorTime

from agentproxy.agents.driver import (
    AgentServerDriver,
    Busy,
    Outcome,
    Refused,
    Sent,
    TypedNotEntered,
    Unknown,
    Unreachable,
)
from agentproxy.errors import BODY_TOO_LARGE, INVALID_REQUEST, Refusal
from agentproxy.features.observing import Observer
from agentproxy.features.readiness import ReadinessJudge

T = TypeVar("T")

MESSAGE_LIMIT = 256 * 1024
"""Bytes of UTF-8 that one message may have: the agent server takes less than 1 MiB of JSON."""
SEND_DEADLINE = 20.0
"""Seconds for one ``POST /message``; past it agentapi is locked and only its stream is alive."""
SEEN_DEADLINE = 10.0
"""Seconds in which a message that was sent, or may have been, has to show in the stream."""


def clean(text: str) -> str:
    """Return *text* as it is typed: CR LF as LF, white space around it gone.

    :raises Refusal: ``INVALID_REQUEST`` (empty, or a control character other than LF and tab, which the terminal would
        obey instead of show), ``BODY_TOO_LARGE``.
    """
    typed = text.replace("\r\n", "\n").strip()
    if not typed:
        raise Refusal(INVALID_REQUEST, "$.content: the message is empty")
    for place, character in enumerate(typed):
        if character not in "\n\t" and unicodedata.category(character) in ("Cc", "Cs"):
            raise Refusal(INVALID_REQUEST, f"$.content: character U+{ord(character):04X} at {place} cannot be typed")
    if len(typed.encode()) > MESSAGE_LIMIT:
        raise Refusal(BODY_TOO_LARGE, f"$.content: a message has at most {MESSAGE_LIMIT} bytes")
    return typed


class Fate(Enum):
    """What became of a message."""

    DELIVERED = "delivered"
    UNDELIVERABLE = "undeliverable"
    UNCERTAIN = "uncertain"


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of one message.

    :param reason: a sentence unless delivered. An undeliverable message was not typed; an uncertain one may have been.
    """

    fate: Fate
    reason: str = ""


class Messenger:
    """Sends to one agent, one message at a time.

    :param clock: the reactor, or a Clock.
    """

    def __init__(
        self, driver: AgentServerDriver, observer: Observer, judge: ReadinessJudge, clock: IReactorTime
    ) -> None:
        self._driver, self._observer, self._judge, self._clock = driver, observer, judge, clock
        self._lock = DeferredLock()

    async def send(self, text: str) -> Outcome:
        """Send one message now, behind those being sent, whatever the agent does.

        :raises Refusal: those of :func:`clean`.
        """
        typed = clean(text)
        await self._lock.acquire()
        try:
            return await self._driver.send_user(typed, SEND_DEADLINE)
        finally:
            self._lock.release()

    async def deliver(self, text: str, deadline: float) -> Delivery:
        """Send one message when the agent is ready and watch it arrive.

        :param deadline: seconds to wait for a ready agent; sending and seeing have deadlines of their own.
        :raises Refusal: those of :func:`clean`, and ``SESSION_ENDED`` when the session ends before anything was sent.
        """
        typed = clean(text)
        until = self._clock.seconds() + deadline
        turn = 0
        while True:
            try:
                await self._in_time(self._judge.when_ready(turn), until - self._clock.seconds())
            except DeadlineError:
                return Delivery(Fate.UNDELIVERABLE, f"{self._judge.latest.value}, after {deadline:g} s")
            turn = self._observer.quiet_turns
            last = max(self._observer.messages, default=-1)
            outcome = await self.send(typed)
            if not isinstance(outcome, Busy):
                return await self._watch(outcome, typed, last)

    async def _watch(self, outcome: Outcome, typed: str, last: int) -> Delivery:
        """Return what became of a message after its one sending.

        :param last: the highest message id before it.
        """
        match outcome:
            case Refused(why) | Unreachable(why):
                return Delivery(Fate.UNDELIVERABLE, why)
            case TypedNotEntered():
                return Delivery(
                    Fate.UNCERTAIN, "the text was typed, but the agent did not show it; Enter was not pressed"
                )
            case Unknown(why):
                reason = why
            case Sent() | Busy():
                reason = "the agent server took it, but it did not show in the stream"
        try:
            await self._in_time(self._shown(typed, last), SEEN_DEADLINE)
        except DeadlineError:
            return Delivery(Fate.UNCERTAIN, reason)
        except Refusal:
            return Delivery(Fate.UNCERTAIN, f"{reason}; then the session ended")
        return Delivery(Fate.DELIVERED)

    async def _shown(self, typed: str, last: int) -> None:
        wanted = "\n".join(row.rstrip(" ") for row in typed.split("\n"))
        await self._observer.when(
            lambda: any(
                message.id > last and message.role == "user" and message.content.strip() == wanted
                for message in self._observer.messages.values()
            )
        )

    async def _in_time(self, steps: Coroutine[Deferred[Any], Any, T], seconds: float) -> T:
        return await Deferred.fromCoroutine(steps).addTimeout(max(seconds, 0), self._clock)
