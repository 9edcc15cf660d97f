"""All that goes with the agent of one living session: what it waits for, its queue, its keyboard, its approvals."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from agentproxy.agents.driver import AgentServerDriver
from agentproxy.errors import APPROVAL_WAITING, SESSION_NOT_RUNNING, Refusal
from agentproxy.features.approvals import Approvals
from agentproxy.features.attention import Watcher
from agentproxy.features.budgets import Budgets
from agentproxy.features.companion import Companion, nothing
from agentproxy.features.deliveries import Deliveries
from agentproxy.features.entering import SEND_DEADLINE
from agentproxy.features.keyboard import Keyboard
from agentproxy.features.living import LivingSession
from agentproxy.features.queue_terms import Terms
from agentproxy.features.queueing import MessageQueue
from agentproxy.features.turn_ends import WORKING
from agentproxy.model.attention import ASKING, Attention, Kind, last_rows
from agentproxy.model.delivery import WAITING, Delivery, DeliveryState
from agentproxy.model.message import Message
from agentproxy.model.principal import Principal
from agentproxy.model.session import AgentStatus, EndReason, Phase, Session
from agentproxy.model.start import StartRequest
from agentproxy.runtime.catalogue import Agent

log = Logger()

COUNT_EVERY = 60.0
"""Seconds between two counts of the work of an agent that does not stop."""
TERMINAL = "the terminal"
"""Holds the keyboard while somebody types at the agent's terminal itself; it may be the same person that asks for it."""
TYPING_HOLDS = 10.0
"""Seconds for which somebody who has typed raw keys keeps the keyboard."""


class Attendant(Companion):
    """What goes with one living session (and ``prompting.Asking``).

    :ivar active: when something real happened last: a message, an answer, a key.
    """

    def __init__(self, living: LivingSession, agent: Agent, house: House) -> None:
        self.living, self.agent = living, agent
        self.active = datetime.now(UTC)
        self.warned = ""
        self.keys: Mapping[str, tuple[str, ...]] = {"allow": agent.allow, "deny": agent.deny}
        self._house = house
        self._working_since = 0.0
        self._counting: IDelayedCall | None = None
        self.watcher = Watcher(agent.marks, house.clock, self._tell_attention, acp=agent.acp)
        self.keyboard = Keyboard(house.clock, self._keyboard_changed)
        terms = Terms(
            session_id=living.record.id,
            incarnation=living.record.incarnation,
            interrupt=agent.interrupt,
            clear=agent.clear,
            budget=lambda: house.held(living.record),
            spent=lambda: house.budgets.spend(living.record, "turns", 1),
            answered=self._last_answered,
            tell=living.tell,
            typing=lambda begins: house.types(living.record, begins=begins),
        )
        self.queue = MessageQueue(house.deliveries, self.watcher, lambda: self.keyboard.holder, terms, house.clock)
        self.watcher.listen(self._changed)

    @property
    def record(self) -> Session:
        """Return the session."""
        return self.living.record

    @property
    def driver(self) -> AgentServerDriver | None:
        """Return the driver of its agent server."""
        return self.living.driver

    @property
    def is_idle(self) -> bool:
        """Return whether nothing goes on: it does not work, wait for a person or have messages to type."""
        kind = self.watcher.now.kind
        return kind is not Kind.WORKING and kind not in ASKING and not self.queue.waiting() and not self.queue.is_typing

    # -- what the living session tells

    def attached(self) -> None:
        """Begin: the agent server's stream is being opened."""
        assert self.living.driver is not None
        assert self.living.observer is not None
        self.watcher.attach(self.living.driver, self.living.observer)
        self.queue.attach(self.living.driver, self.living.observer)
        if self.living.observer.status is not None:
            self.watcher.status_changed(self.living.observer.status)

    def status_changed(self, status: AgentStatus) -> None:
        """Take a new status of the agent."""
        self.watcher.status_changed(status)

    def message_changed(self, message: Message) -> None:
        """Take a new or changed message: activity."""
        self.active = datetime.now(UTC)
        self.watcher.message_changed(message)
        self.queue.poke()

    def requests_changed(self) -> None:
        """Take what an agent asks over its protocol."""
        self.active = datetime.now(UTC)
        self.watcher.requests_changed()

    def keys_typed(self) -> None:
        """Take note that somebody types at the terminal: activity, and the queue waits as for anybody's raw keys."""
        self.active = datetime.now(UTC)
        if self.keyboard.holder in (None, TERMINAL):
            self.keyboard.take(TERMINAL, TYPING_HOLDS)

    async def interrupting(self) -> Callable[[], Awaitable[None]]:
        """Return what is to be done after the interrupt keys: the input line of an agent that worked is emptied."""
        await self.queue.before_interrupt()
        worked = self.watcher.now.kind in WORKING or self.queue.is_typing
        return self.queue.after_interrupt if worked else nothing

    def gone(self) -> None:
        """End: the agent server is gone, or is left alone."""
        self._works(False)
        self.queue.close()
        self.keyboard.close()
        self.watcher.gone()
        self._house.forget(self)

    def left(self) -> None:
        """End without a word: the agent server runs on, and the server that starts next decides what became of what."""
        self._works(False)
        self.queue.abandon()
        self.keyboard.close()
        self.watcher.close()
        self._house.forget(self)

    # -- what others ask

    async def take_keyboard(self, who: str, seconds: float) -> None:
        """Give the keyboard to somebody; returns when no message is being typed any more.

        :raises Refusal: KEYBOARD_TAKEN.
        """
        self._take(who, seconds)
        await self.queue.typed()

    def direct(self, who: str, kind: str, *, guarded: bool) -> Deferred[None]:
        """Return a Deferred that fires when a message that comes past the queue may go to the agent server.

        :param kind: ``user`` or ``raw``; raw keys take the keyboard for a moment.
        :param guarded: whether user messages are refused while the agent asks something.
        :raises Refusal: APPROVAL_WAITING or KEYBOARD_TAKEN.
        """
        self.active = datetime.now(UTC)
        if kind == "raw":
            self._take(who, TYPING_HOLDS)
            return self.queue.typed()
        return Deferred.fromCoroutine(self._direct(who, guarded=guarded))

    def _take(self, who: str, seconds: float) -> None:
        """Give the keyboard to somebody, also when all that is known of its holder is that it sits at the terminal."""
        if self.keyboard.holder == TERMINAL:
            self.keyboard.release(TERMINAL)
        self.keyboard.take(who, seconds)

    def _check_keyboard(self, who: str) -> None:
        if self.keyboard.holder != TERMINAL:
            self.keyboard.check(who)

    async def _direct(self, who: str, *, guarded: bool) -> None:
        self._check_keyboard(who)
        await self.queue.typed()
        self._check_keyboard(who)
        if guarded and (asked := await self.watcher.asks_now()) is not None:
            raise self._asks(asked)

    def _asks(self, asked: Attention) -> Refusal:
        current = self._house.approvals.current(self.record.id)
        facts = {
            "attention": asked.kind.value,
            "line": asked.line,
            "approval_id": current.id if current is not None else None,
            "screen": last_rows(self.watcher.screen),
        }
        return Refusal(APPROVAL_WAITING, asked.line, self.record.id, facts=facts)

    # -- what follows

    def _changed(self) -> None:
        self._works(self.watcher.now.kind is Kind.WORKING)
        self._house.approvals.changed(self)

    def _works(self, working: bool) -> None:
        """Count the time that the agent works: once a minute, and when it stops."""
        if working == (self._counting is not None):
            return
        if self._counting is not None:
            self._count_minutes()
            self._counting.cancel()
            self._counting = None
        else:
            self._working_since = self._house.clock.seconds()
            self._counting = self._house.clock.callLater(COUNT_EVERY, self._count_again)

    def _count_again(self) -> None:
        self._count_minutes()
        self._counting = self._house.clock.callLater(COUNT_EVERY, self._count_again)

    def _count_minutes(self) -> None:
        spent = round(self._house.clock.seconds() - self._working_since)
        self._working_since += spent
        if spent:
            self._house.budgets.spend(self.record, "minutes", spent)

    def _tell_attention(self, attention: Attention) -> None:
        if self.record.phase is Phase.ENDED and attention.kind is not Kind.GONE:
            return
        facts = {
            "kind": attention.kind.value,
            "wanted": attention.wanted,
            "line": attention.line,
            "action": attention.action,
            "until": attention.until.isoformat() if attention.until is not None else None,
        }
        self.living.tell("attention", facts)

    def _keyboard_changed(self, holder: str | None, who: str) -> None:
        self.living.tell("keyboard", {"holder": holder or "", "by": who})
        self.queue.poke()

    def _last_answered(self, delivery: Delivery) -> None:
        sentence = "its message was answered" if delivery.state is DeliveryState.ANSWERED else "its message has failed"
        self.living.stop(EndReason.STOPPED, f"oneshot: {sentence}").addErrback(
            lambda failure: log.failure("A oneshot session could not be stopped", failure)
        )


class House:
    """The attendants of all living sessions, and what they share."""

    def __init__(self, deliveries: Deliveries, approvals: Approvals, budgets: Budgets, clock: IReactorTime) -> None:
        self.deliveries, self.approvals, self.budgets, self.clock = deliveries, approvals, budgets, clock
        self._attendants: dict[str, Attendant] = {}
        self._beginning: dict[str, Session] = {}
        self._typing: dict[str, Session] = {}
        budgets.changed = self._go_on

    def attend(self, living: LivingSession, agent: Agent) -> Attendant:
        """Return the attendant of a session that begins to live; its messages can be queued from now on."""
        one = self._attendants[living.record.id] = Attendant(living, agent, self)
        self.deliveries.opened(living.record.id, one.queue)
        return one

    def forget(self, one: Attendant) -> None:
        """Let go of the attendant of a session that has ended."""
        session_id = one.record.id
        self._beginning.pop(session_id, None)
        self.approvals.ended(session_id)
        self.deliveries.closed(session_id, one.queue)
        if self._attendants.get(session_id) is one:
            del self._attendants[session_id]
            self.deliveries.woken(session_id)

    def of(self, session_id: str) -> Attendant | None:
        """Return the attendant of a living session."""
        return self._attendants.get(session_id)

    def living(self, session_id: str) -> Attendant:
        """Return the attendant of a living session.

        :raises Refusal: SESSION_NOT_RUNNING.
        """
        found = self._attendants.get(session_id)
        if found is None:
            raise Refusal(SESSION_NOT_RUNNING, session_id=session_id)
        return found

    def all(self) -> tuple[Attendant, ...]:
        """Return every attendant."""
        return tuple(self._attendants.values())

    def attention(self, session: Session) -> Attention | None:
        """Return what is known of a session's agent; None before there is one."""
        if session.phase is Phase.ENDED:
            return Attention(Kind.GONE)
        found = self._attendants.get(session.id)
        return found.watcher.now if found is not None and session.phase is Phase.READY else None

    def check_start(self, owner: str, team: str | None) -> None:
        """Check that another session may start.

        :raises Refusal: BUDGET_SPENT.
        """
        self.budgets.check_start(owner, team, tuple(self._beginning.values()))

    def held(self, session: Session) -> str:
        """Return why a session's messages wait for a budget, or nothing; what is being typed elsewhere is as good as spent."""
        others = [one for one in self._typing.values() if one.id != session.id] if self.budgets.of_turns else []
        return self.budgets.held(session, others)

    def types(self, session: Session, *, begins: bool) -> None:
        """Take note that a session's message begins to be typed, or that this is over."""
        if begins:
            self._typing[session.id] = session
        elif self._typing.pop(session.id, None) is not None and self.budgets.of_turns:
            self._go_on()

    def begins(self, session: Session) -> None:
        """Take note of a start that is counted when it is recorded."""
        self._beginning[session.id] = session

    def started(self, session: Session) -> None:
        """Count a start."""
        self._beginning.pop(session.id, None)
        self.budgets.spend(session, "starts", 1)

    async def first_message(self, living: LivingSession, sender: str, wish: StartRequest, within: float) -> None:
        """Accept the message of a session's start, and tell its fate in the record when it is known.

        :param within: seconds until the agent has to take it, from when the agent server answers.
        """
        assert wish.message is not None
        one = await self.deliveries.first(living.record.id, sender, wish.message, last=wish.oneshot)

        async def tell() -> None:
            fate = await self._fate(living, one, within)
            if fate is not None:
                living.first_message.record_outcome(*fate)

        async def give_up(why: str) -> None:
            await self.deliveries.expire(one, why)

        living.first_message.follow, living.first_message.give_up = tell, give_up

    async def _fate(self, living: LivingSession, one: Delivery, within: float) -> tuple[str, str] | None:
        """Return what became of a first message and why, None when the next server decides that."""
        known = await self.deliveries.wait(one, "delivered", within)
        if known.state is DeliveryState.TYPING:
            known = await self.deliveries.wait(known, "delivered", 2 * SEND_DEADLINE)
        if living.left and known.state in WAITING:
            return None
        if known.state is DeliveryState.ACCEPTED:
            known = await self.deliveries.expire(known, self._why_not_taken(living, within))
        if known.state in (DeliveryState.DELIVERED, DeliveryState.ANSWERED):
            return "delivered", ""
        return (
            "uncertain" if known.state in (DeliveryState.UNCERTAIN, DeliveryState.TYPING) else "undeliverable"
        ), known.reason

    def _why_not_taken(self, living: LivingSession, within: float) -> str:
        attendant = self.of(living.record.id)
        if attendant is None or attendant.living is not living:
            return "the session ended before its agent took it"
        return f"{attendant.watcher.sentence()}, after {within:g} s"

    def direct(self, caller: Principal, session_id: str, kind: str, *, guarded: bool) -> Deferred[None]:
        """Return a Deferred that fires when a message that comes past the queue may go on; see :meth:`Attendant.direct`."""
        found = self._attendants.get(session_id)
        return found.direct(caller.user_id, kind, guarded=guarded) if found is not None else succeed(None)

    def _go_on(self) -> None:
        for one in self._attendants.values():
            if one.queue.held:
                one.queue.poke()

    def close(self) -> None:
        """Stop every clock."""
        self.approvals.close()
