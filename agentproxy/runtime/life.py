"""What happens in one incarnation's life: the steps of its start, its phases, and its end.

The order of it is the state machine's, in ``supervisor.py``.
"""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import LoopingCall, deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from agentproxy.errors import START_FAILED, START_UNAVAILABLE, Refusal
from agentproxy.model.backend import Backend
from agentproxy.model.session import Ending, EndReason, ExitStatus, Phase
from agentproxy.runtime.equipment import Equipment
from agentproxy.runtime.holdings import Holdings
from agentproxy.runtime.launching import LaunchFailed
from agentproxy.runtime.moments import Moment
from agentproxy.runtime.probe import until_answering
from agentproxy.runtime.starting import Ground, Inherited, Plan, Preparation, Prepared, Witness
from agentproxy.runtime.steps import StepFailed
from agentproxy.runtime.watching import Watch, read_start_ticks

log = Logger()
ROTATION = 10.0
"""Seconds between two looks at the size of a log."""
LAST_LINES = 50
"""Lines of output that the end of a session shows."""


class Inputs(Protocol):
    """What can happen to an incarnation."""

    def begin(self) -> None:
        """The start was asked for."""

    def admitted(self) -> None:
        """The queue lets it start."""

    def answered(self, backend: Backend) -> None:
        """The agent server answers."""

    def adopt(self, backend: Backend) -> None:
        """The agent server of an earlier server runs on, and was ready."""

    def rejoin(self, backend: Backend) -> None:
        """The agent server of an earlier server runs on, and has not answered yet."""

    def let_go(self) -> None:
        """Leave it as it is for the next server."""

    def finish(self, ending: Ending) -> None:
        """It shall end, or has ended by itself."""

    def gone(self) -> None:
        """Nothing of it is left."""


class Life:
    """What all states share: the start under way, its deadlines, and what the incarnation holds."""

    def __init__(self, ground: Ground, plan: Plan, preparation: Preparation, witness: Witness) -> None:
        self.ground = ground
        self.plan = plan
        self.equipment = Equipment(ground, plan)
        self.holdings = Holdings(ground, plan, self.equipment)
        self.preparation = preparation
        self.witness = witness
        self.phase = Phase.QUEUED
        self.backend: Backend | None = None
        self.ending: Ending | None = None
        self.machine: Inputs
        self.step = "queue"
        self.hurried = False
        self.left = False
        self._start: Deferred[None] | None = None
        self._deadline: Any = None
        self._wall: Any = None
        self._rotation: LoopingCall | None = None
        self._ended: Moment[Ending] = Moment()

    # -- the start

    def begin(self) -> None:
        """Run the start in the background; however it goes, the machine hears of it."""
        self.witness.entered(Phase.QUEUED)
        self._start = Deferred.fromCoroutine(self._run(self._steps()))

    async def _run(self, steps: Coroutine[Any, Any, Backend]) -> None:
        try:
            backend = await steps
        except CancelledError:
            self._fail("the start was cancelled", self.step)  # ignored when it is ending already
        except StepFailed as failed:
            kind = START_UNAVAILABLE if failed.unavailable else START_FAILED
            self._fail(failed.sentence, failed.step, failed.exit, failed.output, kind.code)
        except Refusal as refusal:
            self._fail(refusal.details or str(refusal), self.step, code=refusal.kind.code)
        except Exception:
            if self._given_up():
                return  # what was under way broke because it was cancelled
            log.failure(
                "The start of session {session} broke in step {step}", session=self.plan.session_id, step=self.step
            )
            self._fail("the server could not start it; its log has the reason", self.step)
        else:
            self.machine.answered(backend)
        finally:
            self._cancel_deadline()

    def _fail(
        self,
        sentence: str,
        step: str,
        status: ExitStatus | None = None,
        output: tuple[str, ...] = (),
        code: str = START_FAILED.code,
    ) -> None:
        self.machine.finish(Ending(EndReason.FAILED, sentence, step, status, output, code))

    def _report(self, step: str, **facts: Any) -> None:
        self.step = step
        self.witness.step(step, facts)

    async def _steps(self) -> Backend:
        await self.holdings.take_ticket().admitted
        self.machine.admitted()
        self._report("port")
        port = self.holdings.take_port()
        self.holdings.prepared = prepared = await self.preparation.prepare(port, self._report)
        recorded = await self._execute(prepared, port)
        try:
            backend = await self._until_answering(self.equipment.backend(port))
        except BaseException:
            recorded.addErrback(lambda _failure: None)  # the start has failed for another reason
            raise
        await recorded
        return backend

    async def _until_answering(self, backend: Backend) -> Backend:
        self._report("listen", port=backend.port or 0)
        self._set_deadline(self.plan.listen_within, "it did not listen")
        await until_answering(self.ground.reactor, backend, self._listens)
        return backend

    def _listens(self) -> None:
        self._report("answer")
        self._set_deadline(self.plan.answer_within, "it did not answer GET /status")

    def _given_up(self) -> bool:
        return self.ending is not None or self.left

    def _set_deadline(self, seconds: float, what: str) -> None:
        self._cancel_deadline()
        sentence = f"{what} within {seconds:g} s"
        self._deadline = self.ground.reactor.callLater(seconds, lambda: self._fail(sentence, self.step))

    def _cancel_deadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()

    async def _execute(self, prepared: Prepared, port: int) -> Deferred[None]:
        """Execute the agent server; the Deferred fires when its process is recorded, which nothing need wait for but the answer."""
        self._report("exec")
        self.holdings.make_cgroup()
        self.equipment.lay_out()
        await self.ground.isolation.claim(self.plan.owner, self.equipment.own(prepared))
        self._go_on()
        argv = self.equipment.argv(prepared, port)
        incarnation = self.equipment.incarnation(argv, prepared, port, self.holdings.cgroup)
        await self.witness.about_to_exec(incarnation)
        self._go_on()
        wanted = self.equipment.launch(argv, prepared, self.holdings.cgroup)
        try:
            pid = await self.ground.launcher.launch(wanted)
        except LaunchFailed as failed:
            raise StepFailed("exec", str(failed), unavailable=True) from None
        self._take(Watch(self.ground.reactor, pid, self.equipment.end_record))
        self._go_on()
        executed = replace(incarnation, pid=pid, start_ticks=read_start_ticks(pid))
        return Deferred.fromCoroutine(self.witness.executed(executed))

    def _go_on(self) -> None:
        """Go on with the start, unless it was ended or left alone while we waited.

        :raises CancelledError: it was.
        """
        if self._given_up():
            self._cancel_timers()
            raise CancelledError

    def _take(self, watch: Watch, age: float = 0) -> None:
        """Watch over the process, which is *age* seconds old."""
        self.holdings.watch = watch
        if self.left:
            watch.close()
            return
        watch.on_ended(self._process_ended)
        self._keep_log_small()
        if self.plan.wall_seconds is not None:
            left = max(0, self.plan.wall_seconds - age)
            self._wall = self.ground.reactor.callLater(left, self._expire)

    # -- what happens by itself

    def _keep_log_small(self) -> None:
        pool = self.ground.reactor.getThreadPool()
        self._rotation = LoopingCall(deferToThreadPool, self.ground.reactor, pool, self.plan.log.rotate)
        self._rotation.clock = self.ground.reactor
        self._rotation.start(ROTATION, now=False).addErrback(
            lambda failure: log.failure(
                "Log of session {session} stays as it is", failure, session=self.plan.session_id
            )
        )

    def _process_ended(self, status: ExitStatus) -> None:
        if self.phase is Phase.READY:
            sentence = f"the agent server ended by itself: {status.sentence()}"
            self.machine.finish(Ending(EndReason.EXITED, sentence, None, status))
        else:
            sentence = f"the agent server ended before it answered: {status.sentence()}"
            self._fail(sentence, self.step, status)

    def _expire(self) -> None:
        self.machine.finish(Ending(EndReason.EXPIRED, f"its time of {self.plan.wall_seconds:g} s is over"))

    # -- the phases

    def enter_starting(self) -> None:
        """Begin to start."""
        self._enter(Phase.STARTING)

    def inherit(self, found: Inherited) -> Backend:
        """Take over what an earlier server began and return where it answers, or will.

        :raises ProcessLookupError: the process is gone by now.
        :raises ValueError: its port is leased to another session.
        """
        watch = Watch(self.ground.reactor, found.pid, self.equipment.end_record)
        try:
            if read_start_ticks(found.pid) != found.start_ticks:
                raise ProcessLookupError
            self.holdings.take_again(found.port)
        except (ProcessLookupError, ValueError):
            watch.close()
            raise
        self.holdings.cgroup = found.cgroup
        self._take(watch, found.age)
        return self.equipment.backend(found.port or 0)

    def enter_adopted(self, backend: Backend) -> None:
        """Go on with an agent server that was ready."""
        self.backend = backend
        self.phase = Phase.READY
        self.witness.adopted(backend)

    def enter_rejoined(self, backend: Backend) -> None:
        """Go on with a start whose process runs."""
        self.phase = Phase.STARTING
        self._start = Deferred.fromCoroutine(self._run(self._until_answering(backend)))

    def leave(self) -> None:
        """Touch it no more: no signal, no deadline, no record."""
        self.left = True
        self._cancel_timers()
        if self.holdings.watch is not None:
            self.holdings.watch.close()
        if self._start is not None and self.phase is not Phase.READY:  # a start that has told so may be on the stack
            self._start.cancel()

    def at_rest(self) -> Deferred[None]:
        """Return a Deferred that fires when no step of a start is under way, or all has ended."""
        rest: Deferred[None] = Deferred()
        waited: Deferred[Any] | None = self._start if self.left else self.when_ended()
        if waited is None:
            rest.callback(None)
        else:
            waited.addBoth(lambda _result: rest.callback(None))
        return rest

    def enter_ready(self, backend: Backend) -> None:
        """Make the agent server known; others may start now."""
        self.backend = backend
        self.phase = Phase.READY
        self.holdings.give_back_ticket()
        self.witness.entered(Phase.READY)
        self.witness.ready(backend)

    def enter_stopping(self, ending: Ending) -> None:
        """End everything in the background."""
        self.ending = ending
        self.backend = None
        self._cancel_timers()
        self._enter(Phase.STOPPING)
        self.witness.stopping(ending)
        Deferred.fromCoroutine(self._wind_down()).addErrback(
            lambda failure: log.failure("Session {session} did not end well", failure, session=self.plan.session_id)
        )

    def _cancel_timers(self) -> None:
        self._cancel_deadline()
        if self._wall is not None and self._wall.active():
            self._wall.cancel()
        if self._rotation is not None and self._rotation.running:
            self._rotation.stop()

    def enter_ended(self) -> None:
        """Tell everybody who waits."""
        assert self.ending is not None
        self.phase = Phase.ENDED
        self.witness.entered(Phase.ENDED)
        self.witness.ended(self.ending)
        self._ended.come(self.ending)

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        self.witness.entered(phase)

    def when_ended(self) -> Deferred[Ending]:
        """Return a Deferred of the end; cancelling it forgets it."""
        if self.phase is Phase.ENDED and self.ending is not None:
            return succeed(self.ending)
        return self._ended.wait()

    # -- the end

    async def _wind_down(self) -> None:
        try:
            await deferLater(self.ground.reactor, 0)  # a start that is on the stack cannot be cancelled
            if self._start is not None:
                self._start.cancel()
                await self._start
            await self._end_processes()
            await self._hear_last_words()
            await self.holdings.give_back()
        finally:
            self.machine.gone()

    async def _end_processes(self) -> None:
        status = await self.holdings.end_processes(kindly=not self.hurried)
        if status is not None and self.ending is not None and self.ending.exit is None:
            self.ending = replace(self.ending, exit=status)

    async def _hear_last_words(self) -> None:
        """Read what the agent server printed last, unless somebody wanted its end."""
        ending = self.ending
        if ending is None or ending.reason is EndReason.STOPPED or ending.output or self.holdings.watch is None:
            return
        pool = self.ground.reactor.getThreadPool()
        lines = await deferToThreadPool(self.ground.reactor, pool, self.plan.log.last_lines, LAST_LINES)
        self.ending = replace(ending, output=lines)

    def hurry(self) -> None:
        """Kill the agent server's group now, without grace; what else is left is ended on the way down."""
        self.hurried = True
        self.holdings.kill()
