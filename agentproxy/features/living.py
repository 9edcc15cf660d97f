"""One living session: what its supervisor and its observer report becomes its record, its events and the answers to waits.

The record in memory is ahead of the store by the writes under way; they are made in order, one after the other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from agentproxy.agents.driver import AgentServerDriver
from agentproxy.features.companion import Companion
from agentproxy.features.first_message import FirstMessage
from agentproxy.features.observing import Known, Observer
from agentproxy.features.recording import Recorder
from agentproxy.model.backend import Backend
from agentproxy.model.event import NewEvent
from agentproxy.model.message import Message
from agentproxy.model.principal import Principal
from agentproxy.model.session import AgentStatus, Ending, EndReason, Incarnation, Phase, Session
from agentproxy.runtime.moments import Moment
from agentproxy.runtime.start_queue import Ticket
from agentproxy.runtime.supervisor import Supervisor
from agentproxy.store import Store

log = Logger()


class LivingSession:
    """The witness of one incarnation and the sink of its observer.

    :param session: the committed record.
    :param make_driver: makes the driver of the agent server that answers at a backend.
    :param on_ended: called once, when the end is recorded in memory.
    """

    def __init__(
        self,
        session: Session,
        store: Store,
        make_driver: Callable[[Backend], AgentServerDriver],
        make_observer: Callable[[AgentServerDriver, LivingSession], Observer],
        on_ended: Callable[[LivingSession], None],
    ) -> None:
        self.record = session
        self.backend: Backend | None = None
        self.driver: AgentServerDriver | None = None
        self.observer: Observer | None = None
        self.agent_status: AgentStatus | None = None
        self.supervisor: Supervisor | None = None
        self.first_message = FirstMessage(lambda: self.record, self.change)
        self.interrupt_keys: tuple[str, ...] = ()
        self.ticket: Ticket | None = None
        self.until_stable: Callable[[], Awaitable[None]] | None = None
        self.resumes: Principal | None = None
        self.companion = Companion()
        self.on_recorded: Callable[[], Coroutine[Any, Any, None]] | None = None
        self.incarnation: Incarnation | None = None
        self.left = False
        self.known = Known()
        self.log_size: Callable[[], int] | None = None
        self._store = store
        self._make_driver = make_driver
        self._make_observer = make_observer
        self._on_ended = on_ended
        self._recorder = Recorder(store, session.id, session.incarnation)
        self._decided: Moment[None] = Moment()
        self._over: Moment[None] = Moment()

    # -- commands

    def inherit(self, incarnation: Incarnation) -> None:
        """Go on with an incarnation that an earlier server began."""
        self.incarnation = incarnation
        self._recorder.continue_life()

    def start(self) -> None:
        """Begin the life."""
        assert self.supervisor is not None
        self.supervisor.start()

    def abandon(self) -> None:
        """Give up the place in the queue of a life that does not begin."""
        if self.ticket is not None:
            self.ticket.release()
        self.companion.left()

    def could_not_resume(self) -> Principal | None:
        """Return who wanted the conversation continued, if the agent ended by itself before it was ever quiet."""
        ending = self.record.ending
        by_itself = (
            ending is not None and ending.reason in (EndReason.EXITED, EndReason.FAILED) and ending.exit is not None
        )
        was_quiet = self.observer is not None and self.observer.quiet_turns > 0
        return self.resumes if by_itself and not was_quiet else None

    def stop(self, reason: EndReason, sentence: str) -> Deferred[Ending]:
        """End the life and return a Deferred that fires when the process group is gone."""
        assert self.supervisor is not None
        gone: Deferred[Ending] = self.supervisor.stop(reason, sentence)
        return gone

    def kill(self) -> None:
        """End every process at once."""
        assert self.supervisor is not None
        self.supervisor.kill_now()

    @property
    def queue_position(self) -> int | None:
        """Return the place in the queue of starts, from 1, or None when it waits no more."""
        return self.supervisor.queue_position if self.supervisor is not None else None

    # -- the witness of the supervisor

    def entered(self, phase: Phase) -> None:
        """Record a phase; :meth:`ready` and :meth:`ended` record theirs."""
        if phase in (Phase.READY, Phase.ENDED) or phase is self.record.phase:
            return
        self.change({"phase": phase}, f"session.{phase.value}", {"incarnation": self.record.incarnation}, soon=True)

    def step(self, name: str, facts: Mapping[str, Any]) -> None:
        """Record one step of a start as an event."""
        self._recorder.tell(self._event("session.step", {"step": name, **facts}), soon=True)

    async def about_to_exec(self, incarnation: Incarnation) -> None:
        """Commit what is needed to find the incarnation again."""
        for mark in self._log_marks("exec"):
            self._recorder.tell(mark, soon=True)
        await self._recorder.begin_life(incarnation)

    async def executed(self, incarnation: Incarnation) -> None:
        """Commit the process of the incarnation."""
        self.incarnation = incarnation
        changes = {"pid": incarnation.pid, "start_ticks": incarnation.start_ticks, "cgroup": incarnation.cgroup}
        await self._recorder.commit(
            lambda: self._store.change_incarnation(incarnation.session_id, incarnation.number, changes)
        )

    def adopted(self, backend: Backend) -> None:
        """Go on with the agent server that an earlier server started."""
        process = self.incarnation.pid if self.incarnation is not None else None
        self.tell("session.adopted", {"incarnation": self.record.incarnation, "pid": process})
        self._take_into_use(backend)
        self._observe()
        self._decided.come(None)
        self.first_message.adopted()

    def stopping(self, ending: Ending) -> None:
        """Commit why it is ended, so that a server that starts after a crash can say it."""
        if self.incarnation is not None:
            self._recorder.life({"ending": ending})

    async def let_go(self) -> None:
        """Leave the agent server running and stop observing it; return when everything is written.

        One that is being ended is waited for instead.
        """
        assert self.supervisor is not None
        resting = self.supervisor.let_go()
        self.left = self.supervisor.left
        if self.left:
            self.companion.left()
            self._stop_observing()
            self._decided.come(None)
        await resting
        await self.written()

    def _stop_observing(self) -> None:
        self.backend = None
        if self.observer is not None:
            self.observer.close()
        if self.driver is not None:
            self._later(self.driver.close(), "close the connections of")

    def ready(self, backend: Backend) -> None:
        """Take the agent server's address into use; observe it when that is recorded, which is what a caller waits for."""
        changes = {"phase": Phase.READY, "port": backend.port, "ready_at": datetime.now(UTC)}
        self.change(changes, "session.ready", {"port": backend.port}, marks=self._log_marks("ready"))
        self._take_into_use(backend)
        self._recorder.tried().addCallback(lambda _none: self._observe()).addErrback(
            lambda failure: log.failure("Session {session} is not observed", failure, session=self.record.id)
        )
        self.first_message.ready()
        self._decided.come(None)

    def _take_into_use(self, backend: Backend) -> None:
        self.backend = backend
        self.driver = self._make_driver(backend)

    def _observe(self) -> None:
        if self.backend is None or self.driver is None:
            return  # it has ended, or was left
        self.observer = self._make_observer(self.driver, self)
        self.companion.attached()

    def ended(self, ending: Ending) -> None:
        """Record the end and stop observing."""
        self.agent_status = None
        self._stop_observing()
        self._recorder.settle()
        now = datetime.now(UTC)
        facts = {"step": None, **ending.facts(), "sentence": ending.sentence}
        changes = {"phase": Phase.ENDED, "ending": ending, "ended_at": now}
        self.change(changes, "session.ended", facts, marks=self._log_marks("ended"))
        if ending.reason in (EndReason.FAILED, EndReason.EXITED):
            self._log_end(ending)
        self._recorder.life({"ended_at": now, "ending": ending})
        self._decided.come(None)
        self._over.come(None)
        self.companion.gone()
        self.first_message.ended()
        self._on_ended(self)

    def _log_end(self, ending: Ending) -> None:
        """Say in one sentence of the log what the answer and the event say."""
        log.warn(
            "Session {session} {what}: {sentence}; {exit}; its last lines: {output}",
            session=self.record.id,
            what=f"did not start (step {ending.step})" if ending.reason is EndReason.FAILED else "ended by itself",
            sentence=ending.sentence,
            exit=ending.exit.sentence() if ending.exit is not None else "no process",
            output=" | ".join(ending.output) or "none",
        )

    # -- the sink of the observer

    def status_changed(self, status: AgentStatus) -> None:
        """Record what the agent server says of its agent."""
        news, self.agent_status = status is not self.agent_status, status
        self.companion.status_changed(status)
        if status is AgentStatus.STABLE:
            self._recorder.settle()
        if news:
            self.tell("agent.status", {"status": status.value})

    def message_changed(self, message: Message) -> None:
        """Keep the latest revision of a message; what the user says ends what the agent said before."""
        self.companion.message_changed(message)
        if message.role == "user":
            self._recorder.settle()
        self._recorder.revise(message)

    def requests_changed(self) -> None:
        """Pass on what the agent asks over its protocol."""
        self.companion.requests_changed()

    def keys_typed(self) -> None:
        """Pass on that somebody types."""
        self.companion.keys_typed()

    def _log_marks(self, at: str) -> list[NewEvent]:
        """Return the event that says where the log stands, if there is one."""
        if self.log_size is None:
            return []
        facts = {"offset": self.log_size(), "incarnation": self.record.incarnation, "at": at}
        return [self._event("log.mark", facts)]

    def _event(self, kind: str, facts: Mapping[str, Any]) -> NewEvent:
        return NewEvent(self.record.id, kind, datetime.now(UTC), dict(facts))

    def agent_error(self, text: str, level: str) -> None:
        """Record an error that the agent server reports."""
        self.tell("agent.error", {"message": text, "level": level})

    def connection_changed(self, connected: bool, why: str) -> None:
        """Log the loss of the event stream; the observer connects again by itself."""
        if not connected and self.record.phase is Phase.READY:
            log.info("The event stream of session {session} broke: {why}", session=self.record.id, why=why)

    # -- waits and writes

    def decided(self) -> Deferred[None]:
        """Return a Deferred that fires when the session is ready or ended; cancelling it forgets it."""
        return succeed(None) if self.record.phase in (Phase.READY, Phase.ENDED) else self._decided.wait()

    def when_over(self) -> Deferred[None]:
        """Return a Deferred that fires when the end is recorded in memory."""
        return succeed(None) if self.record.phase is Phase.ENDED else self._over.wait()

    def change(
        self,
        changes: Mapping[str, Any],
        kind: str,
        facts: Mapping[str, Any],
        *,
        marks: Sequence[NewEvent] = (),
        soon: bool = False,
    ) -> None:
        """Change the record, now in memory and in order in the store, with an event that says so.

        :param marks: events that come before it.
        :param soon: the store may have it a little later, with another write.
        """
        event = self._event(kind, facts)
        changed = {**changes, "updated_at": event.time}
        self.record = replace(self.record, **changed)
        self._recorder.change(changed, [*marks, event], soon=soon)

    async def change_for(self, changes: Mapping[str, Any], kind: str, facts: Mapping[str, Any]) -> None:
        """Change the record as somebody asked for: in memory when it is committed.

        :raises Refusal: STORE_UNAVAILABLE; nothing has changed.
        """
        event = self._event(kind, facts)
        changed = {**changes, "updated_at": event.time}
        await self._recorder.commit(lambda: self._store.change_session(self.record.id, changed, [event]))
        self.record = replace(self.record, **changed)

    def tell(self, kind: str, facts: Mapping[str, Any]) -> None:
        """Append an event of this session."""
        self._recorder.tell(self._event(kind, facts))

    def written(self) -> Deferred[None]:
        """Return a Deferred that fires when everything reported so far has been written, or waits for the store."""
        return self._recorder.tried()

    def committed(self) -> Deferred[None]:
        """Return a Deferred that fires when everything reported so far is in the store."""
        return self._recorder.committed()

    def check_committed(self) -> None:
        """Refuse while something that was reported is not in the store.

        :raises Refusal: STORE_UNAVAILABLE.
        """
        self._recorder.check()

    def _later(self, work: Coroutine[Any, Any, Any], what: str) -> None:
        Deferred.fromCoroutine(work).addErrback(
            lambda failure: log.failure(
                "Could not {what} session {session}", failure, what=what, session=self.record.id
            )
        )
