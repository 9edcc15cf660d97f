"""What a session is: its phases, its end, its record. Plain data; the life itself is in ``runtime/supervisor.py``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any


class Phase(Enum):
    """Where a session is in its life."""

    QUEUED = "queued"
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    ENDED = "ended"


class EndReason(Enum):
    """Why a session is in the phase ``ended``."""

    STOPPED = "stopped"
    EXITED = "exited"
    FAILED = "failed"
    EXPIRED = "expired"
    LOST = "lost"


class AgentStatus(Enum):
    """What the agent server says of its agent. Not a phase: only a ready session has one."""

    RUNNING = "running"
    STABLE = "stable"


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """How a process ended: by ``code`` or by ``signal`` (``SIGKILL``...), never both; neither when it is not known."""

    code: int | None = None
    signal: str | None = None

    def sentence(self) -> str:
        """Return "exit status 3", "killed by SIGKILL" or "exit status unknown"."""
        if self.signal is not None:
            return f"killed by {self.signal}"
        return "exit status unknown" if self.code is None else f"exit status {self.code}"


@dataclass(frozen=True, slots=True)
class Ending:
    """The truth about an end.

    :param reason: which of the five ends it is.
    :param sentence: one sentence that a person can act on.
    :param step: the step of a start that failed (``queue``, ``port``, ``directory``, ``clone``, ``home``, ``exec``,
        ``listen``, ``answer``), else None.
    :param exit: how the agent server's process ended, when it had one.
    :param output: the last lines it printed, oldest first, at most 50.
    :param code: for a start that failed: the code of the refusal that its caller gets (a key of ``errors.KINDS``).
    """

    reason: EndReason
    sentence: str
    step: str | None = None
    exit: ExitStatus | None = None
    output: tuple[str, ...] = ()
    code: str | None = None

    def facts(self) -> dict[str, Any]:
        """Return the fields that tell it: ``reason``, ``step``, ``exit_status`` or ``signal``, ``output``."""
        told: dict[str, Any] = {"reason": self.reason.value}
        if self.step is not None:
            told["step"] = self.step
        if self.exit is not None and self.exit.signal is not None:
            told["signal"] = self.exit.signal
        elif self.exit is not None and self.exit.code is not None:
            told["exit_status"] = self.exit.code
        if self.output:
            told["output"] = list(self.output)
        return told


@dataclass(frozen=True, slots=True)
class Session:
    """One session as the store keeps it and the faces show it.

    ``environment`` holds only what the request gave. ``deleted_at`` set means: gone from the lists, its history stays.
    """

    id: str
    owner: str
    agent: str
    phase: Phase
    created_at: datetime
    updated_at: datetime
    scope: str = "user"
    team_id: str | None = None
    description: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    incarnation: int = 1
    port: int | None = None
    ending: Ending | None = None
    ready_at: datetime | None = None
    ended_at: datetime | None = None
    deleted_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Incarnation:
    """One life of a session's agent server: what is needed to find it again, and how it ended.

    Written before exec (``pid`` and ``start_ticks`` None) and completed after it.

    :param boot_id: ``/proc/sys/kernel/random/boot_id`` at the start; ``start_ticks`` counts from that boot.
    :param marker: value of ``AGENTPROXY_SESSION_MARKER`` in the environment of every process of this life.
    :param door: the secret that the agent server wants from the gateway, None when it has no door.
    """

    session_id: str
    number: int
    agent_server: str
    argv: tuple[str, ...]
    directory: str
    port: int | None
    marker: str
    boot_id: str
    created_at: datetime
    unix_path: str | None = None
    door: str | None = None
    cgroup: str | None = None
    pid: int | None = None
    start_ticks: int | None = None
    ended_at: datetime | None = None
    ending: Ending | None = None
