"""What a supervisor is given: the ground that all share, the plan of one incarnation, who prepares it, who witnesses it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from agentproxy.model.backend import Backend
from agentproxy.model.session import Ending, Incarnation, Phase
from agentproxy.runtime.agent_servers import AgentServer
from agentproxy.runtime.cgroups import Cgroups
from agentproxy.runtime.isolation import Isolation, NoIsolation
from agentproxy.runtime.launching import Executing, Launcher
from agentproxy.runtime.limits import Limits
from agentproxy.runtime.output import OutputLog
from agentproxy.runtime.ports import Ports
from agentproxy.runtime.start_queue import StartQueue, Ticket


async def nothing() -> None:
    """Clean up nothing."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a preparation has made.

    :param command: the agent's argv.
    :param environment: the whole environment of the agent server.
    :param directory: its working directory, absolute.
    :param wrap: puts the start-up script in front of the agent server's argv.
    :param cleanup: called when the process is gone, or when it never came.
    :param acp: the agent speaks the Agent Client Protocol on its pipes.
    """

    command: tuple[str, ...]
    agent_type: str
    environment: Mapping[str, str]
    directory: Path
    wrap: Callable[[tuple[str, ...]], tuple[str, ...]] = lambda argv: argv
    cleanup: Callable[[], Awaitable[None]] = nothing
    acp: bool = False


class Preparation(Protocol):
    """Makes directory, clone and home of one incarnation."""

    async def prepare(self, port: int, report: Callable[[str], None]) -> Prepared:
        """Prepare; report the name of each step as it begins. Cancelling ends everything that it has started.

        :raises StepFailed: a step could not be done.
        """


class Nothing:
    """The preparation of an incarnation that an earlier server has prepared."""

    async def prepare(self, port: int, report: Callable[[str], None]) -> Prepared:  # noqa: ARG002
        """Never come here: such an incarnation is adopted, not started."""
        raise AssertionError("what an earlier server began is not prepared again")


class Witness(Protocol):
    """Is told what happens, in this order; :meth:`ended` exactly once and last."""

    def entered(self, phase: Phase) -> None:
        """Take note of a phase."""

    def step(self, name: str, facts: Mapping[str, Any]) -> None:
        """Take note of a step of the start that begins."""

    async def about_to_exec(self, incarnation: Incarnation) -> None:
        """Commit what is needed to find the process again."""

    async def executed(self, incarnation: Incarnation) -> None:
        """Commit its process id and start time."""

    def ready(self, backend: Backend) -> None:
        """Take note that the agent server answers."""

    def adopted(self, backend: Backend) -> None:
        """Take note that the agent server of an earlier server is ours now; instead of all the above."""

    def stopping(self, ending: Ending) -> None:
        """Take note why it is ended, before anything is done for it."""

    def ended(self, ending: Ending) -> None:
        """Take note of the end: every process is gone and the port is released."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What all supervisors of this server share."""

    reactor: Any
    ports: Ports
    queue: StartQueue
    boot_id: str
    cgroups: Cgroups | None = None
    isolation: Isolation = field(default_factory=NoIsolation)
    launcher: Launcher = field(default_factory=Executing)


@dataclass(frozen=True, slots=True)
class Inherited:
    """What an earlier server began and this one goes on with.

    :param port: its TCP port, None for a UNIX socket.
    :param age: seconds since it began.
    """

    pid: int
    start_ticks: int
    port: int | None = None
    cgroup: Path | None = None
    age: float = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """One incarnation before it lives.

    :param owner: whose turn in the queue it takes.
    :param marker: unguessable, unique to this incarnation.
    :param door: secret for an agent server with a door, else None.
    :param ticket: its place in the queue of starts, when it was taken before; else it is taken at the start.
    :param records: private directory for the door file and the end record; made when it is missing.
    :param own: directories that isolation leaves to it, besides ``records``.
    :param socket: UNIX socket that it listens on; no port is leased then.
    :param listen_within: seconds from exec until it must accept connections.
    :param answer_within: seconds from then until it must answer ``GET /status``.
    :param wall_seconds: seconds from exec after which it is ended as expired, None for no limit.
    """

    session_id: str
    number: int
    owner: str
    agent_server: AgentServer
    marker: str
    log: OutputLog
    records: Path
    door: str | None = None
    own: tuple[Path, ...] = ()
    socket: Path | None = None
    limits: Limits = field(default_factory=Limits)
    width: int = 80
    height: int = 1000
    listen_within: float = 15
    answer_within: float = 30
    wall_seconds: float | None = None
    ticket: Ticket | None = None
