"""What one incarnation holds of this machine: its place in the queue, a port, a cgroup, processes, a prepared directory.

All of it is given back here, and only when the processes are gone.
"""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path

from twisted.internet.defer import TimeoutError as DeadlineError
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from agentproxy.model.session import ExitStatus
from agentproxy.runtime import cgroups, orphans
from agentproxy.runtime.equipment import Equipment
from agentproxy.runtime.ports import PortLease
from agentproxy.runtime.start_queue import Ticket
from agentproxy.runtime.starting import Ground, Plan, Prepared
from agentproxy.runtime.watching import Watch

log = Logger()


class Holdings:
    """What is taken for one incarnation, and given back by :meth:`give_back`."""

    def __init__(self, ground: Ground, plan: Plan, equipment: Equipment) -> None:
        self._ground = ground
        self._plan = plan
        self._equipment = equipment
        self.ticket: Ticket | None = None
        self.watch: Watch | None = None
        self.cgroup: Path | None = None
        self.prepared: Prepared | None = None
        self._lease: PortLease | None = None

    # -- taking

    def take_ticket(self) -> Ticket:
        """Return the place in the queue of starts.

        :raises Refusal: TOO_MANY_STARTS.
        """
        self.ticket = self._plan.ticket or self._ground.queue.enter(self._plan.owner)
        return self.ticket

    def take_port(self) -> int:
        """Return the leased port, 0 when it listens on a UNIX socket."""
        if self._plan.socket is not None:
            return 0
        self._lease = self._ground.ports.lease()
        return self._lease.port

    def take_again(self, port: int | None) -> None:
        """Lease the port that the agent server of an earlier server listens at, None for a UNIX socket.

        :raises ValueError: it is leased to another session.
        """
        self._lease = self._ground.ports.take(port) if port is not None else None

    def make_cgroup(self) -> None:
        """Make the cgroup that its processes are put into, where this machine has them."""
        if self._ground.cgroups is not None:
            self.cgroup = self._ground.cgroups.make(f"{self._plan.session_id}-{self._plan.number}")

    # -- ending

    def kill(self) -> None:
        """Kill the agent server's group and the cgroup at once, if it is launched.

        One that is killed between its fork and the word of its process id never says that, and whoever launches it would wait.
        """
        if self.cgroup is not None and self.watch is not None:
            cgroups.kill(self.cgroup)
        self._signal_group(signal.SIGKILL)

    async def end_processes(self, *, kindly: bool) -> ExitStatus | None:
        """End all that the session has started and return how the agent server ended, None when there was none.

        :param kindly: whether the agent server gets its stop signal first, and its grace.
        """
        watch = self.watch
        if watch is not None and watch.exit is None and kindly:
            self._signal_group(self._plan.agent_server.stop_signal)
            with contextlib.suppress(DeadlineError):
                await watch.when_ended().addTimeout(self._plan.agent_server.grace, self._ground.reactor)
        if self.cgroup is not None:
            cgroups.kill(self.cgroup)
        pool = self._ground.reactor.getThreadPool()
        leader = watch.pid if watch is not None else None
        left = await deferToThreadPool(
            self._ground.reactor, pool, orphans.end_all, self._plan.marker, leader, self.cgroup
        )
        if left:
            log.error("Session {session} left processes: {pids}", session=self._plan.session_id, pids=left)
        if watch is None:
            return None
        status = await watch.when_ended()
        watch.reap()
        return status

    def _signal_group(self, number: int) -> None:
        if self.watch is not None and self.watch.exit is None:
            self.watch.signal_group(number)

    # -- giving back

    async def give_back(self) -> None:
        """Give back all of it; the processes are gone."""
        self.give_back_ticket()
        if self.cgroup is not None:
            cgroups.remove(self.cgroup)
        if self._lease is not None:
            self._lease.release()
        self._equipment.clear()
        if self.prepared is not None:
            await self.prepared.cleanup()

    def give_back_ticket(self) -> None:
        """Let others start; twice does no harm."""
        if self.ticket is not None:
            self.ticket.release()
