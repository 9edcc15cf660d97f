"""The two agent servers, and what differs between them: command line, door, and how each is stopped."""

from __future__ import annotations

import importlib.util
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agentproxy.errors import START_UNAVAILABLE, Refusal
from agentproxy.runtime.steps import StepFailed


@dataclass(frozen=True, slots=True)
class Serving:
    """What an agent server is told.

    :param agent_type: the agentapi type of the agent, ``custom`` when it has none.
    :param door_file: file with the secret that callers must send, for one with a door.
    :param end_record: file in which it writes how it ended, for one that can.
    :param socket: UNIX socket to listen on instead of the port, for one that can.
    :param width: columns of the agent's terminal.
    :param height: rows of the agent's terminal.
    :param acp: the agent speaks the Agent Client Protocol on its pipes.
    """

    port: int
    agent_type: str
    door_file: Path
    end_record: Path
    width: int = 80
    height: int = 1000
    socket: Path | None = None
    acp: bool = False

    @property
    def acp_session(self) -> Path:
        """Return the file with the agent's own id of its session, by which the next incarnation goes on with it."""
        return self.end_record.with_name("acp-session")


class AgentServer(Protocol):
    """One kind of agent server.

    ``grace`` is how long, in seconds, it may take to end after its one ``stop_signal``.
    """

    @property
    def name(self) -> str:
        """Return the name that the configuration and the records use."""

    @property
    def has_door(self) -> bool:
        """Return whether it demands the secret of its incarnation."""

    @property
    def stop_signal(self) -> signal.Signals:
        """Return the signal that ends it; it must be sent once only."""

    @property
    def grace(self) -> float:
        """Return the seconds that it may take to end."""

    def command(self, serving: Serving) -> tuple[str, ...]:
        """Return the argv in front of the agent's own, the ``--`` included.

        :raises StepFailed: ``agent``, this agent server cannot serve such an agent.
        """


@dataclass(frozen=True, slots=True)
class AgentapiServer:
    """The real agentapi (coder/agentapi).

    It listens on all interfaces and asks nobody. A second signal while it stops kills it and leaves the agent alive; a
    stop takes up to 5 s for a request under way and another 5 s for an agent that ignores SIGINT.
    """

    program: str
    grace: float = 11
    name: str = "agentapi"
    has_door: bool = False
    stop_signal: signal.Signals = signal.SIGTERM

    def command(self, serving: Serving) -> tuple[str, ...]:
        """Return the argv in front of the agent's own.

        :raises StepFailed: ``agent``, an agent on ACP: agentapi answers what it asks by itself, with yes.
        """
        if serving.acp:
            sentence = "agents on ACP need agent_server: embedded; agentapi allows whatever they ask, and asks nobody"
            raise StepFailed("agent", sentence, unavailable=True)
        return (self.program, "server", f"--port={serving.port}", *_flags(serving), "--")


@dataclass(frozen=True, slots=True)
class EmbeddedServer:
    """The built-in agent server: loopback or a UNIX socket only, with a door and an end record.

    The agent has all of ``grace`` but its last part to end by itself, so that its server can still say how it went.
    """

    python: str = sys.executable
    grace: float = 11
    name: str = "embedded"
    has_door: bool = True
    stop_signal: signal.Signals = signal.SIGTERM

    @property
    def program(self) -> tuple[str, ...]:
        """Return the words that run it; neither the working directory nor the session's variables change what it imports."""
        return (self.python, "-P", "-E", "-m", "agentproxy.embedded")

    def command(self, serving: Serving) -> tuple[str, ...]:
        """Return the argv in front of the agent's own."""
        where = f"--unix-socket={serving.socket}" if serving.socket is not None else f"--port={serving.port}"
        files = ("--door-file", str(serving.door_file), "--end-file", str(serving.end_record))
        agents = f"--stop-grace={max(self.grace / 2, self.grace - 2):g}"
        acp = ("--experimental-acp", f"--acp-session-file={serving.acp_session}") if serving.acp else ()
        return (*self.program, "server", where, *_flags(serving), agents, *files, *acp, "--")


def _flags(serving: Serving) -> tuple[str, ...]:
    return (
        f"--type={serving.agent_type}",
        f"--term-width={serving.width}",
        f"--term-height={serving.height}",
    )


def named(name: str, grace: float) -> AgentServer:
    """Return the agent server of a record, to stop what was started with it."""
    return EmbeddedServer(grace=grace) if name == "embedded" else AgentapiServer("agentapi", grace)


def embedded_exists() -> bool:
    """Return whether this installation has the embedded agent server."""
    return importlib.util.find_spec("agentproxy.embedded") is not None


def resolve(
    choice: str,
    which: Callable[[str], str | None] = shutil.which,
    embedded: Callable[[], bool] = embedded_exists,
    grace: float = 11,
) -> AgentServer:
    """Return the agent server of a configuration's choice.

    :param choice: ``auto`` (the embedded one where it exists, else agentapi), ``embedded`` or ``agentapi``.
    :param which: finds a program on ``PATH``.
    :param embedded: tells whether the embedded one is installed.
    :param grace: seconds that it may take to end.
    :raises Refusal: START_UNAVAILABLE when it is not installed; the details say how to install it.
    :raises ValueError: there is no such choice.
    """
    if choice not in ("auto", "embedded", "agentapi"):
        raise ValueError(f"{choice} is no agent server; choose auto, embedded or agentapi")
    if choice != "agentapi" and embedded():
        return EmbeddedServer(grace=grace)
    if choice == "embedded":
        raise Refusal(START_UNAVAILABLE, "the embedded agent server is missing from this installation")
    program = which("agentapi")
    if program is None:
        raise Refusal(
            START_UNAVAILABLE,
            "agentapi was not found on PATH; install it from https://github.com/coder/agentapi/releases"
            " or set agent_server: embedded",
        )
    return AgentapiServer(program, grace)
