"""Keeping one fork server alive and asking it for agent servers.

    new -> starting -> serving -> resting -> starting ...        any -> closing -> closed

When it dies, the agent servers that it has forked live on; those it was just asked for do not exist (see
``agentproxy/embedded/fork_server.py``), so that they can be started in another way. It is started again after a pause that
doubles while it does not last.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Protocol

from automat import TypeMachineBuilder
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from agentproxy.runtime.fork_server_process import ForkServerProcess, Hears, encode, own_argv, own_environment

log = Logger()

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 30.0
LASTING = 60.0
"""Seconds of service after which an end is not held against it."""
SILENCE = 30.0
"""Seconds without an answer, while one is owed, after which it is killed."""
FAREWELL = 5.0
"""Seconds that it has to end when it is told to."""


class Unavailable(Exception):  # noqa: N818 - an answer: choose another way
    """There is no fork server now; what it was asked for does not exist."""


class NotForked(Exception):  # noqa: N818 - a result that is shown to a user
    """The fork server could not start the process; the text says why."""


class Asked(Deferred[int]):
    """A process id to come. It cannot be cancelled: the process may exist already."""

    def cancel(self) -> None:
        """Do nothing."""


class Inputs(Protocol):
    """What can happen to a fork server."""

    def start(self) -> None:
        """It is wanted."""

    def ready(self) -> None:
        """It has imported everything."""

    def ask(self, wish: bytes, number: int) -> None:
        """An agent server is wanted."""

    def gone(self, how: str) -> None:
        """Its process has ended."""

    def again(self) -> None:
        """The pause is over."""

    def close(self) -> None:
        """It is not wanted any more."""


class Keeping:
    """What all states share: the process, and what is owed."""

    def __init__(self, reactor: Any, environ: Mapping[str, str], argv: list[str]) -> None:
        self.reactor = reactor
        self.pid: int | None = None
        self.owed: dict[int, Asked] = {}
        self.closed: list[Deferred[None]] = []
        self.machine: Inputs
        self._environ, self._argv = environ, argv
        self._process: ForkServerProcess | None = None
        self._early: list[bytes] = []
        self._timer: Any = None
        self._pause = FIRST_PAUSE
        self._since: float | None = None

    def spawn(self) -> None:
        """Start the process."""
        self._process = ForkServerProcess(Hears(self._heard, lambda how: self.machine.gone(how)))
        try:
            transport = self.reactor.spawnProcess(
                self._process, self._argv[0], self._argv, own_environment(self._environ)
            )
        except OSError as wrong:
            how = f"it could not be run: {wrong.strerror}"
            self.reactor.callLater(0, lambda: self.machine.gone(how))
            return
        self.pid = transport.pid
        self._set(SILENCE, self._hung)

    def _heard(self, text: Mapping[str, Any]) -> None:
        if "ready" in text:
            self.machine.ready()
            return
        asked = self.owed.pop(text["id"], None)
        self._mind()
        if asked is None:
            return
        if "pid" in text:
            asked.callback(text["pid"])
        else:
            asked.errback(NotForked(str(text.get("error"))))

    def _mind(self) -> None:
        """Wait for the next answer while one is owed."""
        self._unset()
        if self.owed:
            self._set(SILENCE, self._hung)

    def _hung(self) -> None:
        log.error("The fork server does not answer; it is killed and started again")
        self._end_hard()

    def _end_hard(self) -> None:
        process = self._process
        if process is not None:
            process.kill()
            self._set(FAREWELL, process.abandon)

    def serve(self) -> None:
        """Send what was wanted meanwhile."""
        self._since = self.reactor.seconds()
        early, self._early = self._early, []
        for wish in early:
            self.send(wish)
        self._mind()
        log.info("The fork server is ready as process {pid}", pid=self.pid)

    def keep(self, wish: bytes) -> None:
        """Keep a wish until it is ready."""
        self._early.append(wish)

    def send(self, wish: bytes) -> None:
        """Send a wish."""
        assert self._process is not None
        self._process.send(wish)
        if self._timer is None:
            self._mind()

    def refuse(self, numbers: list[int], why: str) -> None:
        """Tell that these do not come."""
        for number in numbers:
            self.owed.pop(number).errback(Unavailable(why))

    def rest(self, how: str) -> None:
        """Give up what is owed and come back after a pause."""
        lasted = self._since is not None and self.reactor.seconds() - self._since > LASTING
        self._pause = FIRST_PAUSE if lasted else self._pause
        log.warn("The fork server ended ({how}); agent servers go on, and it is started again in {pause} s",
                 how=how, pause=self._pause)  # fmt: skip
        self.forget()
        self._set(self._pause, lambda: self.machine.again())
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
        self.refuse(list(self.owed), f"the fork server ended: {how}")

    def forget(self) -> None:
        """Forget the process that has ended."""
        self._unset()
        self._process, self.pid, self._since, self._early = None, None, None, []

    def end(self) -> None:
        """Tell the process to end, and kill it when it does not."""
        self.refuse(list(self.owed), "the server shuts down")
        assert self._process is not None
        self._process.end()
        self._unset()
        self._set(FAREWELL, self._end_hard)

    def tell_closed(self) -> None:
        """Tell those who wait for the end."""
        self.forget()
        waiting, self.closed = self.closed, []
        for one in waiting:
            one.callback(None)

    def _set(self, seconds: float, call: Any) -> None:
        def run() -> None:
            self._timer = None
            call()

        self._timer = self.reactor.callLater(seconds, run)

    def _unset(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()


def _machine() -> Any:
    builder = TypeMachineBuilder(Inputs, Keeping)
    new, starting, serving = builder.state("new"), builder.state("starting"), builder.state("serving")
    resting, closing, closed = builder.state("resting"), builder.state("closing"), builder.state("closed")

    def spawn(_inputs: Inputs, keeping: Keeping) -> None:
        keeping.spawn()

    def serve(_inputs: Inputs, keeping: Keeping) -> None:
        keeping.serve()

    def keep(_inputs: Inputs, keeping: Keeping, wish: bytes, number: int) -> None:  # noqa: ARG001
        keeping.keep(wish)

    def send(_inputs: Inputs, keeping: Keeping, wish: bytes, number: int) -> None:  # noqa: ARG001
        keeping.send(wish)

    def refuse(_inputs: Inputs, keeping: Keeping, wish: bytes, number: int) -> None:  # noqa: ARG001
        keeping.refuse([number], "no fork server runs")

    def rest(_inputs: Inputs, keeping: Keeping, how: str) -> None:
        keeping.rest(how)

    def end(_inputs: Inputs, keeping: Keeping) -> None:
        keeping.end()

    def tell_closed(_inputs: Inputs, keeping: Keeping) -> None:
        keeping.tell_closed()

    def last(_inputs: Inputs, keeping: Keeping, how: str) -> None:  # noqa: ARG001
        keeping.tell_closed()

    new.upon(Inputs.start).to(starting)(spawn)
    resting.upon(Inputs.again).to(starting)(spawn)
    starting.upon(Inputs.ready).to(serving)(serve)
    starting.upon(Inputs.ask).loop()(keep)
    serving.upon(Inputs.ask).loop()(send)
    for running in (starting, serving):
        running.upon(Inputs.gone).to(resting)(rest)
        running.upon(Inputs.close).to(closing)(end)
    for idle in (new, resting, closed):
        idle.upon(Inputs.close).to(closed)(tell_closed)
    for without in (new, resting, closing, closed):
        without.upon(Inputs.ask).loop()(refuse)
    closing.upon(Inputs.gone).to(closed)(last)
    closing.upon(Inputs.close).loop().returns(None)
    closing.upon(Inputs.ready).loop().returns(None)
    return builder.build()


_build = _machine()


class ForkServer:
    """One fork server, started again whenever it ends.

    :param environ: our environment; only what Python needs of it is passed on.
    :param argv: how it is run.
    """

    def __init__(self, reactor: Any, environ: Mapping[str, str] | None = None, argv: list[str] | None = None) -> None:
        self._keeping = Keeping(reactor, os.environ if environ is None else environ, argv or own_argv())
        self._machine: Inputs = _build(self._keeping)
        self._keeping.machine = self._machine
        self._number = 0

    @property
    def pid(self) -> int | None:
        """Return the id of its process, None while there is none."""
        return self._keeping.pid

    def start(self) -> None:
        """Start it, once; what is asked meanwhile waits until it is ready."""
        self._machine.start()

    async def ask(self, wish: Mapping[str, Any]) -> int:
        """Return the id of a process that it has forked; this cannot be cancelled.

        :param wish: the fields of ``agentproxy.embedded.fork_server.Wish``.
        :raises Unavailable: there is no fork server now; no process was made.
        :raises NotForked: it could not make the process.
        """
        self._number += 1
        try:
            data = encode({"id": self._number, **wish})
        except ValueError as wrong:
            raise Unavailable(str(wrong)) from None
        asked = self._keeping.owed[self._number] = Asked()
        self._machine.ask(data, self._number)
        return await asked

    def close(self) -> Deferred[None]:
        """End it for good; the Deferred fires when it is gone. The agent servers live on."""
        done: Deferred[None] = Deferred()
        self._keeping.closed.append(done)
        self._machine.close()
        return done
