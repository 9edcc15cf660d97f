"""What becomes of a session when the server starts: what was found of its process, and the rule over it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

from agentproxy.model.session import Ending, EndReason, ExitStatus, Incarnation, Phase, Session

RESTART = "restart"
"""Name in a session's options: ``never`` or ``resume``."""
PROMISED = "promised"
"""Name in a session's options: its start was answered before it was done (``wait=none``)."""


@dataclass(frozen=True, slots=True)
class EndRecord:
    """What an agent server wrote of its own end.

    :param stopped: it was told to end; else its agent has ended, or it could not start.
    """

    exit: ExitStatus
    stopped: bool


@dataclass(frozen=True, slots=True)
class Alive:
    """The agent server runs and is ours.

    :param proof: what proves it besides process id, start time and boot: ``marker``, ``cgroup`` or ``door``.
    """

    pid: int
    start_ticks: int
    proof: str


@dataclass(frozen=True, slots=True)
class Gone:
    """The agent server does not run any more, or never did.

    :param rebooted: the machine was started anew since.
    :param record: what it wrote of its end, None when it wrote nothing.
    """

    rebooted: bool = False
    record: EndRecord | None = None


@dataclass(frozen=True, slots=True)
class Unproven:
    """A process stands where the agent server was, and nothing proves that it is ours."""

    pid: int
    why: str


Finding = Alive | Gone | Unproven


class Course(Enum):
    """What is done with a session."""

    ADOPT = "adopt"
    """Go on with the agent server, which was ready."""
    REJOIN = "rejoin"
    """Go on with the start: its process runs and did not answer yet."""
    BEGIN = "begin"
    """Begin the start again: it has no process, and somebody was told that it starts."""
    RESUME = "resume"
    """Record the end and begin the next life with the agent's resume arguments."""
    END = "end"
    """End what is left of it and record the end."""
    LEAVE = "leave"
    """Record the end, and touch no process."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A course, and the ending to record where there is one."""

    course: Course
    ending: Ending | None = None


def judge(session: Session, incarnation: Incarnation | None, finding: Finding, adopting: bool) -> Verdict:
    """Return what becomes of a session that was not ended when the server before this one was.

    :param incarnation: its present life, None when the start did not come so far.
    :param adopting: whether sessions outlive their server at all.
    """
    if isinstance(finding, Unproven):
        return Verdict(Course.LEAVE, Ending(EndReason.LOST, finding.why))
    if session.phase is Phase.STOPPING or (incarnation is not None and incarnation.ending is not None):
        return Verdict(Course.END, _intended(incarnation, finding))
    if not adopting:
        return Verdict(Course.END, Ending(EndReason.LOST, "the server ended while it ran, and sessions.adopt is off"))
    if isinstance(finding, Alive):
        return Verdict(Course.ADOPT if session.phase is Phase.READY else Course.REJOIN)
    return _gone(session, finding) if session.phase is Phase.READY else _unfinished(session, finding)


def _intended(incarnation: Incarnation | None, finding: Finding) -> Ending:
    told = incarnation.ending if incarnation is not None else None
    ending = told or Ending(EndReason.STOPPED, "the server ended while it was being stopped")
    record = finding.record if isinstance(finding, Gone) else None
    return replace(ending, exit=record.exit) if record is not None and ending.exit is None else ending


def _gone(session: Session, finding: Gone) -> Verdict:
    record = finding.record
    if record is not None and not (finding.rebooted and record.stopped):
        sentence = f"the agent server ended while this server was away: {record.exit.sentence()}"
        return Verdict(Course.END, Ending(EndReason.EXITED, sentence, exit=record.exit))
    why = (
        "the machine was started anew" if finding.rebooted else "it ended while this server was away, nothing says how"
    )
    course = Course.RESUME if session.options.get(RESTART) == "resume" else Course.END
    return Verdict(course, Ending(EndReason.LOST, why))


def _unfinished(session: Session, finding: Gone) -> Verdict:
    record = finding.record
    if record is not None and not record.stopped:
        sentence = f"the agent server ended before it answered: {record.exit.sentence()}"
        return Verdict(Course.END, Ending(EndReason.FAILED, sentence, "listen", record.exit))
    if session.options.get(PROMISED) or session.incarnation > 1:
        return Verdict(Course.BEGIN)
    return Verdict(Course.END, Ending(EndReason.LOST, "the server ended while it started"))
