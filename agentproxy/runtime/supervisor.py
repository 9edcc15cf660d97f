"""The supervisor: the state machine that owns one incarnation, from the queue to the last of its processes.

    queued -> starting -> ready -> stopping -> ended

``finish`` leads from every living state to *stopping*, with the ending that it brings; the first one counts. *Stopping*
waits for the start under way to give up, sends the agent server its one stop signal, and after the grace kills whatever
the session has started. Only then the port is released and the end is told.

An incarnation that an earlier server began enters at *starting* (``rejoin``) or at *ready* (``adopt``). ``let_go`` leaves
it to the next server: nothing is signalled, nothing is told.
"""

from __future__ import annotations

from typing import Any

from automat import TypeMachineBuilder
from twisted.internet.defer import Deferred

from agentproxy.model.backend import Backend
from agentproxy.model.session import Ending, EndReason, Phase
from agentproxy.runtime.life import Inputs, Life
from agentproxy.runtime.starting import Ground, Inherited, Plan, Preparation, Prepared, Witness

__all__ = ["Ground", "Inherited", "Plan", "Preparation", "Prepared", "Supervisor", "Witness"]


def _machine() -> Any:
    builder = TypeMachineBuilder(Inputs, Life)
    new, queued, starting = builder.state("new"), builder.state("queued"), builder.state("starting")
    ready, stopping, ended = builder.state("ready"), builder.state("stopping"), builder.state("ended")

    def begin(_inputs: Inputs, life: Life) -> None:
        life.begin()

    def admitted(_inputs: Inputs, life: Life) -> None:
        life.enter_starting()

    def answered(_inputs: Inputs, life: Life, backend: Backend) -> None:
        life.enter_ready(backend)

    def adopt(_inputs: Inputs, life: Life, backend: Backend) -> None:
        life.enter_adopted(backend)

    def rejoin(_inputs: Inputs, life: Life, backend: Backend) -> None:
        life.enter_rejoined(backend)

    def let_go(_inputs: Inputs, life: Life) -> None:
        life.leave()

    def finish(_inputs: Inputs, life: Life, ending: Ending) -> None:
        life.enter_stopping(ending)

    def gone(_inputs: Inputs, life: Life) -> None:
        life.enter_ended()

    left = builder.state("left")
    new.upon(Inputs.begin).to(queued)(begin)
    new.upon(Inputs.adopt).to(ready)(adopt)
    new.upon(Inputs.rejoin).to(starting)(rejoin)
    queued.upon(Inputs.admitted).to(starting)(admitted)
    starting.upon(Inputs.answered).to(ready)(answered)
    for living in (new, queued, starting, ready):
        living.upon(Inputs.finish).to(stopping)(finish)
        living.upon(Inputs.let_go).to(left)(let_go)
    stopping.upon(Inputs.gone).to(ended)(gone)
    for over in (stopping, ended, left):
        over.upon(Inputs.let_go).loop().returns(None)
        over.upon(Inputs.begin).loop().returns(None)
        over.upon(Inputs.admitted).loop().returns(None)
        over.upon(Inputs.answered).loop().returns(None)
        over.upon(Inputs.finish).loop().returns(None)
    return builder.build()


_build = _machine()


class Supervisor:
    """Owns one incarnation.

    :param ground: what all supervisors share.
    :param plan: what this one starts.
    """

    def __init__(self, ground: Ground, plan: Plan, preparation: Preparation, witness: Witness) -> None:
        self._life = Life(ground, plan, preparation, witness)
        self._machine: Inputs = _build(self._life)
        self._life.machine = self._machine

    @property
    def phase(self) -> Phase:
        """Return where it is in its life."""
        return self._life.phase

    @property
    def backend(self) -> Backend | None:
        """Return where the agent server answers, None unless it is ready."""
        return self._life.backend

    @property
    def queue_position(self) -> int | None:
        """Return the place in the queue of starts, counted from 1, or None when it does not wait."""
        ticket = self._life.holdings.ticket
        return ticket.position if ticket is not None else None

    def start(self) -> None:
        """Begin, once. How it goes is told to the witness; a full queue is an ending with the step ``queue``."""
        self._machine.begin()

    def adopt(self, found: Inherited, was_ready: bool) -> None:
        """Go on with what an earlier server began, instead of :meth:`start`.

        :raises ProcessLookupError: the process is gone by now.
        :raises ValueError: its port is leased to another session.
        """
        backend = self._life.inherit(found)
        take = self._machine.adopt if was_ready else self._machine.rejoin
        take(backend)

    @property
    def left(self) -> bool:
        """Return whether it was let go."""
        return self._life.left

    def let_go(self) -> Deferred[None]:
        """Leave it as it is for the next server; one that is ending already goes on ending.

        The Deferred fires when nothing of it is under way any more.
        """
        self._machine.let_go()
        return self._life.at_rest()

    def stop(self, reason: EndReason, sentence: str) -> Deferred[Ending]:
        """End it, wherever it is; the Deferred fires when every process is gone. Ending again changes nothing."""
        ended = self._life.when_ended()
        self._machine.finish(Ending(reason, sentence))
        return ended

    def kill_now(self) -> None:
        """End it without grace, also when a stop is under way."""
        self._life.hurry()
        self._machine.finish(Ending(EndReason.STOPPED, "killed"))

    def when_ended(self) -> Deferred[Ending]:
        """Return a Deferred of the end; cancelling it forgets it."""
        return self._life.when_ended()
