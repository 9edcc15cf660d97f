"""Watching what one agent does or waits for: its screen is read once each time it turns quiet, never polled.

Whoever listens hears each change; people are told of it as an event, once it has stood for a moment and only when it is new.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from agentproxy.agents.driver import AgentServerDriver
from agentproxy.errors import SESSION_ENDED, Refusal
from agentproxy.features.observing import Observer
from agentproxy.model.approval import AcpRequest
from agentproxy.model.attention import ASKING, LINE, Attention, Kind, Marks, classify, classify_text
from agentproxy.model.message import Message
from agentproxy.model.session import AgentStatus

log = Logger()

STANDS = 0.5
"""Seconds that something has to stand before people are told."""
FORGETS = 5.0
"""Seconds of work after which the same thing is news again."""
SENTENCES = {
    Kind.WORKING: "the agent is busy",
    Kind.IDLE: "the agent waits for a message",
    Kind.APPROVAL: "the agent waits for an approval",
    Kind.QUESTION: "the agent asks something",
    Kind.SETUP: "the agent asks a first-run question",
    Kind.LOGIN: "the agent's key or login was refused",
    Kind.LIMIT: "the agent is rate limited",
    Kind.UNREACHABLE: "the agent cannot reach its model",
    Kind.STUCK: "the agent server does not notice that the agent is done",
    Kind.SHELL: "the agent has ended and a shell is left",
    Kind.GONE: "the session has ended",
    Kind.UNKNOWN: "the agent is quiet, but its input line is not on the screen",
}
"""What people read, by kind."""
BELIEVED = 30.0
"""Seconds for which a mark of work is believed on the screen of an agent that is quiet; then it is read once more."""
STILL = 30.0
"""Seconds for which a screen stands still, with its input line and without a mark of work, before it is believed more than an agent
server that says that the agent works: agentapi never notices the end of an answer that is the same as the one before."""
RETRIES = 5
"""How often a screen that cannot be read is read again, a second apart."""


class Watcher:
    """Knows what one agent does or waits for.

    :param tell: told of what people should hear.
    :param marks: of the agent's kind; without an idle mark a quiet agent counts as one that takes messages.
    :param acp: the agent speaks the Agent Client Protocol: it says itself what it asks and when its turn is over, and no
        screen is read.
    :ivar now: what is known.
    :ivar screen: the last screen that was read.
    :ivar acp: as it was given.
    """

    def __init__(
        self, marks: Marks, clock: IReactorTime, tell: Callable[[Attention], None], *, acp: bool = False
    ) -> None:
        self.now = Attention(Kind.WORKING)
        self.screen = ""
        self.since = datetime.now(UTC)
        self.marks = marks
        self.acp = acp
        self._clock, self._tell = clock, tell
        self._driver: AgentServerDriver | None = None
        self._observer: Observer | None = None
        self._listeners: list[Callable[[], None]] = []
        self._waits: list[Callable[[], None]] = []
        self._told: Attention | None = None
        self._working_since: float = clock.seconds()
        self._timer: IDelayedCall | None = None
        self._again: IDelayedCall | None = None
        self._doubt: IDelayedCall | None = None
        self._ended = False
        self._seen_turn = -1
        self._reading: tuple[int, Deferred[None]] | None = None

    @property
    def takes_message(self) -> bool:
        """Return whether a message that is typed now becomes a message: quiet, and the input line shows where it can be told.

        Only the screen of the present quiet time counts: behind a break of the stream it may be another one.
        """
        if self._observer is None or self._observer.status is not AgentStatus.STABLE:
            return False
        if self._seen_turn != self._observer.quiet_turns:
            return False
        return self.now.input or (not self.marks and self.now.kind is Kind.UNKNOWN)

    @property
    def shows_no_input(self) -> bool:
        """Return whether the agent is quiet and its screen shows nothing that is known, so no empty input line either."""
        observer = self._observer
        seen = observer is not None and self._seen_turn == observer.quiet_turns
        quiet = observer is not None and observer.status is AgentStatus.STABLE
        return bool(self.marks) and quiet and seen and self.now.kind is Kind.UNKNOWN

    def sentence(self) -> str:
        """Return what a person reads who waits for the agent to take a message."""
        if self._observer is None or self._observer.status is not AgentStatus.STABLE:
            return "the agent has not become quiet"
        return f"{SENTENCES[self.now.kind]}: {self.now.line}" if self.now.line else SENTENCES[self.now.kind]

    def attach(self, driver: AgentServerDriver, observer: Observer) -> None:
        """Begin to watch."""
        self._driver, self._observer = driver, observer

    def listen(self, listener: Callable[[], None]) -> None:
        """Call *listener* after each change, and after each screen that was read."""
        self._listeners.append(listener)

    def when(self, condition: Callable[[], bool]) -> Deferred[None]:
        """Return a Deferred that fires when *condition* is true, looked at after each change; cancel to forget it.

        It fails with SESSION_ENDED when the session ends first, or is left to the next server.
        """

        def look() -> None:
            if self._ended and not waiting.called:
                forget()
                waiting.errback(Refusal(SESSION_ENDED, "it is no longer observed"))
            elif not waiting.called and condition():
                forget()
                waiting.callback(None)

        def forget() -> None:
            if look in self._waits:
                self._waits.remove(look)

        waiting: Deferred[None] = Deferred(lambda _: forget())
        self._waits.append(look)
        look()
        return waiting

    # -- what the agent server says

    def status_changed(self, status: AgentStatus) -> None:
        """Take a new status: a running agent works, a quiet one is looked at."""
        if status is AgentStatus.RUNNING:
            if self.request is None:
                self._set(Attention(Kind.WORKING))
            self._doubt_later("")
        elif self.acp:
            self._seen_turn = self._observer.quiet_turns if self._observer is not None else 0
            self._set(Attention(Kind.IDLE, input=True))
        else:
            self.look()

    def requests_changed(self) -> None:
        """Take what the agent asks over its protocol, or that it asks nothing more and works on."""
        if self._observer is None:
            return
        if (asked := self.request) is not None:
            self._set(Attention(Kind.APPROVAL, (asked.title or asked.command or asked.kind)[:LINE]))
        elif self.now.kind is Kind.APPROVAL:
            self._set(Attention(Kind.WORKING))

    @property
    def request(self) -> AcpRequest | None:
        """Return what the agent asks over its protocol now, the oldest first."""
        return next(iter(self._observer.requests.values()), None) if self._observer is not None else None

    def message_changed(self, message: Message) -> None:
        """Look whether a working agent says that it cannot reach its model."""
        running = self._observer is not None and self._observer.status is AgentStatus.RUNNING
        if running and message.role == "agent" and self.marks.retrying:
            self._set(classify_text(message.content, self.marks))
        elif running and message.role == "agent" and self.now.kind is Kind.STUCK:
            self._set(Attention(Kind.WORKING))

    def gone(self) -> None:
        """Take note that the agent server has ended."""
        self.close()
        self._set(Attention(Kind.GONE))

    def close(self) -> None:
        """Watch no more."""
        self._cancel()
        self._ended = True
        for look in list(self._waits):
            self._call(look)

    def look(self) -> Deferred[None]:
        """Read the screen once; who asks while it is being read waits for the same reading."""
        observer = self._observer
        turn = observer.quiet_turns if observer is not None else 0
        if self._reading is not None and self._reading[0] == turn:
            waiting: Deferred[None] = Deferred()
            self._reading[1].addBoth(_pass_to, waiting)
            return waiting
        done = Deferred.fromCoroutine(self._look(turn, 0))
        if not done.called:
            self._reading = (turn, done)
        done.addErrback(lambda failure: log.failure("The attention of an agent could not be told", failure))
        return done

    async def _look(self, turn: int, attempt: int) -> None:
        if self._driver is None or self._observer is None:
            return
        try:
            screen = await self._driver.screen()
        except Refusal as refusal:
            self._reading = None
            if not self._ended and self._observer.status is AgentStatus.STABLE:
                self._unreadable(refusal, turn, attempt)
            return
        self._reading = None
        if not self._ended and self._observer.status is AgentStatus.STABLE and self._observer.quiet_turns == turn:
            stood, self.screen, self._seen_turn = screen == self.screen, screen, turn
            found = classify(screen, self.marks, datetime.now().astimezone())
            if found.kind is Kind.WORKING:
                if stood and attempt == RETRIES:
                    found = classify(screen, replace(self.marks, busy=()), datetime.now().astimezone())
                else:
                    self._look_in(BELIEVED, turn, RETRIES)
            self._set(found)

    async def asks_now(self) -> Attention | None:
        """Read the screen, whatever the agent does, and return what it asks; None when it asks nothing or cannot be read.

        For what is typed past the queue: between a question that shows and the event that tells it keys would answer it.
        """
        if self.now.kind in ASKING or not self.marks.can_ask or self._driver is None:
            return self.now if self.now.kind in ASKING else None
        try:
            self.screen = await self._driver.screen()
        except Refusal:
            return None
        found = classify(self.screen, self.marks, datetime.now().astimezone())
        return found if found.kind in ASKING else None

    def _unreadable(self, refusal: Refusal, turn: int, attempt: int) -> None:
        self._seen_turn = turn
        self._set(Attention(Kind.UNKNOWN, "the screen could not be read"))
        if attempt < RETRIES:
            self._look_in(1.0, turn, attempt + 1)
        else:
            log.warn("The screen of an agent cannot be read: {refusal}", refusal=str(refusal))

    def _look_in(self, seconds: float, turn: int, attempt: int) -> None:
        if self._again is not None and self._again.active():
            self._again.cancel()
        self._again = self._clock.callLater(seconds, self._look_again, turn, attempt)

    def _look_again(self, turn: int, attempt: int) -> None:
        Deferred.fromCoroutine(self._look(turn, attempt)).addErrback(
            lambda failure: log.failure("The attention of an agent could not be told", failure)
        )

    # -- what is not believed

    def _doubt_later(self, seen: str) -> None:
        if self._doubt is not None and self._doubt.active():
            self._doubt.cancel()
        if self.marks.idle and not self.acp and not self._ended:
            self._doubt = self._clock.callLater(STILL, self._doubt_now, seen)

    def _doubt_now(self, seen: str) -> None:
        Deferred.fromCoroutine(self._compare(seen)).addErrback(
            lambda failure: log.failure("The attention of an agent could not be told", failure)
        )

    @property
    def _is_said_to_work(self) -> bool:
        return self._observer is not None and self._observer.status is AgentStatus.RUNNING and not self._ended

    @property
    def _has_said_nothing(self) -> bool:
        """Whether the last message is the user's."""
        said = self._observer.messages if self._observer is not None else {}
        return bool(said) and said[max(said)].role == "user"

    async def _compare(self, seen: str) -> None:
        """Read the screen of an agent that is said to work and says nothing; believe it when it is idle and looks as *seen*."""
        screen = ""
        if self._is_said_to_work and self._has_said_nothing and self._driver is not None:
            with suppress(Refusal):
                screen = await self._driver.screen()
        if not self._is_said_to_work:
            return
        idle = classify(screen, self.marks, datetime.now().astimezone())
        if idle.kind is Kind.IDLE and screen == seen and self._has_said_nothing:
            self.screen = screen
            self._set(Attention(Kind.STUCK, idle.line))
        elif self.now.kind is Kind.STUCK:
            self._set(Attention(Kind.WORKING))
        self._doubt_later(screen)

    # -- what is told

    def _set(self, attention: Attention) -> None:
        if attention != self.now:
            self.since = datetime.now(UTC)
            if attention.kind is Kind.WORKING:
                self._working_since = self._clock.seconds()
            elif self._clock.seconds() - self._working_since >= FORGETS and self.now.kind is Kind.WORKING:
                self._told = self._told if self._told and not self._told.wanted else None
        self.now = attention
        self._tell_soon()
        for listener in [*self._listeners, *self._waits]:
            self._call(listener)

    def _call(self, listener: Callable[[], Any]) -> None:
        try:
            listener()
        except Exception:
            log.failure("A listener to an agent's attention failed")

    def _tell_soon(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        if self.now.kind is Kind.WORKING or self.now == self._told:
            return
        if self.now.kind is Kind.GONE:
            self._tell_now()
        else:
            self._timer = self._clock.callLater(STANDS, self._tell_now)

    def _tell_now(self) -> None:
        self._timer = None
        self._told = self.now
        self._tell(self.now)

    def _cancel(self) -> None:
        for call in (self._timer, self._again, self._doubt):
            if call is not None and call.active():
                call.cancel()
        self._timer = self._again = self._doubt = None


def _pass_to(result: Any, waiting: Deferred[None]) -> Any:
    waiting.callback(None)
    return result
