"""The queue of one session's messages while its agent server lives: one is typed when the agent takes it, and never twice.

What is written down, and when: a delivery is ``typing`` in the store before the first key is pressed, and what became of it
is in the store before the next one begins. So whatever instant the server dies at, each is either certainly not typed, or
decided by the agent server's own transcript, or ``uncertain`` for a person (``recovering.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from agentproxy.agents.driver import AgentServerDriver
from agentproxy.features.attention import Watcher
from agentproxy.features.bell import Bell
from agentproxy.features.entering import Fate, Typed, ordered, type_in
from agentproxy.features.interrupting import clearing
from agentproxy.features.observing import Observer
from agentproxy.features.open_deliveries import AGAIN, OpenDeliveries
from agentproxy.features.queue_terms import Ledger, Terms
from agentproxy.features.recovering import Recovery
from agentproxy.features.turn_ends import TurnEnds
from agentproxy.model.attention import ASKING, Kind
from agentproxy.model.delivery import At, Delivery, DeliveryState, moved
from agentproxy.model.event import NewEvent
from agentproxy.runtime.moments import Moment

log = Logger()

ESCAPE_PAUSE = 0.5
"""Seconds after interrupt keys: an Esc and the key behind it would be read as one Alt key."""
ANSWER_LIMIT = 65_536
"""Characters of an answer that are kept with its delivery; the transcript has all of it."""


class MessageQueue:
    """The queue of one living session.

    :ivar held: why nothing is typed although something waits; empty when nothing is in the way.
    """

    def __init__(
        self, ledger: Ledger, watcher: Watcher, holder: Callable[[], str | None], terms: Terms, clock: IReactorTime
    ) -> None:
        self.held = ""
        self._ledger, self._watcher, self._terms, self._clock = ledger, watcher, terms, clock
        self._holder = holder
        self._open = OpenDeliveries(ledger, terms, clock)
        self._driver: AgentServerDriver | None = None
        self._observer: Observer | None = None
        self._running: Deferred[Any] | None = None
        self._bell = Bell(clock)
        self._after_turn = -1
        self._turns = TurnEnds(watcher, self._bell, clock)
        self._typing: str | None = None
        self._clearing = 0
        self._put_back: str | None = None
        self._typed: Moment[None] = Moment()
        self._idle: Moment[None] = Moment()
        watcher.listen(self.poke)

    @property
    def ready(self) -> bool:
        """Return whether the store's deliveries are known."""
        return self._open.ready

    # -- the life

    def attach(self, driver: AgentServerDriver, observer: Observer) -> None:
        """Begin to work."""
        self._driver, self._observer = driver, observer
        self._turns.attach(observer)
        self._running = Deferred.fromCoroutine(self._run())
        self._running.addErrback(self._stopped)

    def close(self) -> None:
        """End the work: what was not typed stays accepted, what is being typed becomes uncertain. Twice does no harm."""
        if self._typing is None:
            self.abandon()
        self._open.closing = True  # one that is being typed ends by itself: its stream and its connection are closed

    def abandon(self) -> None:
        """End the work where it stands; what is being typed is decided by :mod:`agentproxy.features.recovering`."""
        self._open.closing = True
        running, self._running = self._running, None
        self._bell.close()
        if running is not None:
            running.cancel()

    def _stopped(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            log.failure("The queue of session {session} failed", failure, session=self._terms.session_id)

    # -- what others do with it

    def add(self, delivery: Delivery) -> None:
        """Take a new delivery that is committed."""
        self._open.put([delivery])
        self.poke()

    def known(self, delivery_id: str) -> Delivery | None:
        """Return an open delivery as it is now."""
        return self._open.known(delivery_id)

    def waiting(self) -> list[Delivery]:
        """Return the accepted deliveries in the order in which they will be typed."""
        return self._open.waiting()

    async def change(self, changed: Sequence[Delivery], events: Sequence[NewEvent]) -> None:
        """Take deliveries as a person has changed them, and commit it.

        :raises Refusal: STORE_UNAVAILABLE; nothing has changed.
        """
        await self._open.change(changed, events)
        self.poke()

    async def clear_input(self, text: str) -> None:
        """Press the keys that empty the input line, when it may hold *text*, which was not entered; not into a question."""
        if not self._watcher.now.input and self._watcher.now.kind not in ASKING:
            with self._emptying():
                await self._press_clear(text)

    async def before_interrupt(self) -> None:
        """Wait until an agent that was given a message a moment ago hears its interrupt keys."""
        if self._typing is None and (seconds := self._turns.until_begun()) > 0:
            await self._sleep(seconds)

    async def after_interrupt(self) -> None:
        """Empty the input line: an agent that is interrupted before it answers may put the message back into it.

        What is being typed comes first.
        """
        self._turns.interrupted()
        if self._observer is None or not self._terms.clear:
            return
        with self._emptying():
            if self._typing is not None:
                await self._typed.wait()
            await self._sleep(ESCAPE_PAUSE)
            if self._watcher.now.kind not in ASKING:
                said = [one.content for one in ordered(self._observer) if one.role == "user"]
                self._put_back = said[-1] if said else ""
                await self._press_clear(self._put_back)

    async def _clear_again(self) -> None:
        """Empty the input line once more when the agent has put the message back only after it was emptied."""
        if self._put_back is not None and not self._clearing and self._watcher.shows_no_input:
            text, self._put_back = self._put_back, None
            with self._emptying():
                await self._press_clear(text)

    @contextmanager
    def _emptying(self) -> Iterator[None]:
        """Let nothing be typed while the input line is emptied."""
        self._clearing += 1
        try:
            yield
        finally:
            self._clearing -= 1
            self._look_idle()
            self.poke()

    async def _press_clear(self, text: str) -> None:
        for key in clearing(self._terms.clear, text):
            if self._driver is not None:
                await self._driver.send_raw(key)

    def typed(self) -> Deferred[None]:
        """Return a Deferred that fires when no message is being typed and no input line emptied; cancel to forget it."""
        return succeed(None) if self._typing is None and not self._clearing else self._idle.wait()

    @property
    def is_typing(self) -> bool:
        """Return whether a message is being typed."""
        return self._typing is not None

    def poke(self) -> None:
        """Look again at what can be done."""
        self._bell.ring()

    # -- the work

    async def _run(self) -> None:
        await self._open.load()
        while not self._open.closing:
            try:
                await self._step()
            except CancelledError:
                raise
            except Exception:
                log.failure("The queue of session {session} failed; it goes on", session=self._terms.session_id)
                await self._sleep(AGAIN)

    async def _step(self) -> None:
        """Do one thing: decide what a crash left, follow an answer, type what is next, or wait for a change."""
        self._bell.silence()
        await self._expire()
        if (left := self._open.one_that_is(DeliveryState.TYPING)) is not None:
            await self._recover(left)
        elif (under_way := self._open.one_that_is(DeliveryState.DELIVERED)) is not None:
            await self._follow(under_way)
        else:
            await self._next()

    async def _next(self) -> None:
        one = self._open.next()
        why = self._why_held() if one is not None else ""
        self._say_held(why)
        if one is None or why or not self._can_type():
            if one is not None and not why and one.at is At.INTERRUPT:
                await self._interrupt_for(one)
            if one is not None and not why:
                await self._clear_again()
            await self._bell.heard()
        else:
            await self._type(one)

    def _can_type(self) -> bool:
        assert self._observer is not None
        quiet = self._watcher.takes_message and self._observer.quiet_turns > self._after_turn
        return quiet and not self._clearing

    def _why_held(self) -> str:
        now = self._watcher.now
        if self._open.one_that_is(DeliveryState.UNCERTAIN) is not None:
            return "a delivery is uncertain: retry or discard it"
        if holder := self._holder():
            return f"{holder} has the keyboard"
        if now.kind in ASKING:
            return f"the agent waits for a person: {now.line}"
        if now.kind is Kind.STUCK:
            return "the agent server does not notice that the agent is done: restart the session"
        if now.kind is Kind.LIMIT and now.until is not None and now.until > datetime.now(UTC):
            self._bell.ring_in("limit", (now.until - datetime.now(UTC)).total_seconds())
            return f"the agent is rate limited until {now.until.isoformat(timespec='seconds')}"
        return self._terms.budget()

    def _say_held(self, why: str) -> None:
        if why != self.held:
            self.held = why
            self._terms.tell("queue", {"held": why})

    async def _type(self, one: Delivery) -> None:
        """Type one delivery; it stands as ``typing`` in the store before the first key."""
        assert self._driver is not None
        assert self._observer is not None
        base = max(self._observer.messages, default=-1)
        now = datetime.now(UTC)
        typing = moved(one, DeliveryState.TYPING, now, incarnation=self._terms.incarnation, base=base, typed_at=now)
        self._typing, self._put_back = one.id, None
        self._terms.typing(True)
        try:
            await self._open.begin_typing(one, typing)
            if self._why_held() or not self._can_type():
                await self._open.become(moved(typing, DeliveryState.ACCEPTED, datetime.now(UTC)))
                return
            turn = self._observer.quiet_turns
            result = await type_in(typing, self._driver, self._observer, self._clock)
            await self._record(typing, result, turn)
        finally:
            self._typed_all()

    async def _record(self, typing: Delivery, result: Typed, turn: int) -> None:
        now = datetime.now(UTC)
        if result.fate is Fate.SHOWN:
            assert result.message is not None
            self._turns.begun(typing.id, turn)
            await self._delivered(typing, result.message.id)
        elif result.fate in (Fate.BUSY, Fate.NOT_TYPED):
            self._after_turn = turn if result.fate is Fate.BUSY else self._after_turn
            await self._open.become(moved(typing, DeliveryState.ACCEPTED, now, reason=result.reason))
            if result.fate is Fate.NOT_TYPED:
                await self._sleep(AGAIN)
        else:
            state = DeliveryState.REFUSED if result.fate is Fate.REFUSED else DeliveryState.UNCERTAIN
            await self._open.become(moved(typing, state, now, reason=result.reason))

    async def _delivered(self, typing: Delivery, message_id: int) -> None:
        now = datetime.now(UTC)
        self._open.served(typing.sender)
        self._terms.spent()
        await self._open.become(moved(typing, DeliveryState.DELIVERED, now, message_id=message_id, delivered_at=now))

    async def _recover(self, left: Delivery) -> None:
        """Decide about a delivery that was being typed when the server died."""
        assert self._driver is not None
        assert self._observer is not None
        before = [] if left.incarnation is None else await self._ledger.life(left.session_id, left.incarnation)
        recovery = Recovery(
            left, self._terms.incarnation, self._driver, self._observer, self._watcher, self._open.message_ids()
        )
        decided = await recovery.decide(before, self._bell.heard, self._bell.ring_in)
        if isinstance(decided, int):
            await self._delivered(left, decided)
        else:
            await self._open.become(decided)

    async def _follow(self, one: Delivery) -> None:
        """Follow a delivered message until its turn ends."""
        assert self._observer is not None
        if one.incarnation != self._terms.incarnation or one.message_id is None:
            self._open.forget(one)
            return
        while not self._turns.is_over(one):
            await self._expire()
            urgent = self._open.next()
            blocked = self._watcher.now.kind in (*ASKING, Kind.STUCK)
            if urgent is not None and urgent.at is At.INTERRUPT and not blocked:
                self._say_held("")
                if await self._interrupt_for(urgent):
                    one = replace(one, interrupted=True)
                    self._open.put([one])
            elif urgent is not None:
                self._say_held(self._why_held() if blocked else "")
            await self._clear_again()
            await self._bell.heard()
        await self._answered(one)

    async def _answered(self, one: Delivery) -> None:
        now, attention = datetime.now(UTC), self._watcher.now
        reason = f"{attention.kind.value}: {attention.line}" if attention.wanted else ""
        answer = self._turns.answer(one)[:ANSWER_LIMIT]
        done = moved(one, DeliveryState.ANSWERED, now, answer=answer, answered_at=now, reason=reason)
        self._turns.forget(one.id)
        await self._open.become(done)

    async def _interrupt_for(self, one: Delivery) -> bool:
        """Press the interrupt keys for a delivery when it is time; return whether they were pressed."""
        assert self._driver is not None
        if not self._turns.interrupt_is_due(one.id):
            return False
        await self._driver.interrupt(self._terms.interrupt)
        self._terms.tell("agent.interrupted", {"by": one.sender})
        await self.after_interrupt()
        return True

    # -- small things

    async def _expire(self) -> None:
        now = datetime.now(UTC)
        for one in self._open.all():
            if one.state is not DeliveryState.ACCEPTED or one.expires_at is None:
                continue
            if one.expires_at <= now:
                expired = moved(one, DeliveryState.EXPIRED, now, reason=self.held or self._watcher.now.kind.value)
                await self._open.become(expired)
            else:
                self._bell.ring_in(one.id, (one.expires_at - now + timedelta(milliseconds=1)).total_seconds())

    def _typed_all(self) -> None:
        self._typing = None
        self._terms.typing(False)
        self._typed.come(None)
        self._look_idle()

    def _look_idle(self) -> None:
        """Tell who waits for it that no keys are pressed now."""
        if self._typing is None and not self._clearing:
            self._idle.come(None)

    def _sleep(self, seconds: float) -> Deferred[Any]:
        return deferLater(self._clock, seconds)
