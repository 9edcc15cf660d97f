"""How a step of a start fails: one exception that carries what the caller is told."""

from __future__ import annotations

from dataclasses import dataclass

from agentproxy.model.session import ExitStatus


@dataclass(eq=False)
class StepFailed(Exception):  # noqa: N818 - it names the step that failed, as the answer does
    """A step of a start could not be done.

    :param step: ``agent``, ``directory``, ``home``, ``clone``, ``script``, ``exec``...
    :param sentence: what happened and what to do, one sentence without secrets.
    :param exit: how the process of the step ended, when it had one.
    :param output: its last lines, oldest first, secrets masked.
    :param unavailable: the server lacks something (503) rather than having failed (500).
    """

    step: str
    sentence: str
    exit: ExitStatus | None = None
    output: tuple[str, ...] = ()
    unavailable: bool = False

    def __str__(self) -> str:
        """Return the step and its sentence."""
        return f"{self.step}: {self.sentence}"
