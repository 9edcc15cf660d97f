"""What becomes of a session when the server starts: the rule, case by case."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from agentproxy.model.adoption import (
    PROMISED,
    RESTART,
    Alive,
    Course,
    EndRecord,
    Finding,
    Gone,
    Unproven,
    judge,
)
from agentproxy.model.session import Ending, EndReason, ExitStatus, Incarnation, Phase, Session

NOW = datetime(2026, 1, 2, tzinfo=UTC)
READY = Session("s", "ann", "demo", Phase.READY, NOW, NOW)
STARTING = replace(READY, phase=Phase.STARTING)
QUEUED = replace(READY, phase=Phase.QUEUED)
STOPPING = replace(READY, phase=Phase.STOPPING)
LIFE = Incarnation("s", 1, "embedded", (), "/nowhere", 9000, "mark", "boot", NOW, pid=7, start_ticks=70)
ALIVE = Alive(7, 70, "marker")
DIED = EndRecord(ExitStatus(3), stopped=False)
TOLD = EndRecord(ExitStatus(0), stopped=True)


@pytest.mark.parametrize(
    ("session", "finding", "course", "reason"),
    [
        (READY, ALIVE, Course.ADOPT, None),
        (STARTING, ALIVE, Course.REJOIN, None),
        (READY, Gone(), Course.END, EndReason.LOST),
        (READY, Gone(record=DIED), Course.END, EndReason.EXITED),
        (READY, Gone(record=TOLD), Course.END, EndReason.EXITED),
        (READY, Gone(rebooted=True), Course.END, EndReason.LOST),
        (READY, Gone(rebooted=True, record=TOLD), Course.END, EndReason.LOST),
        (READY, Gone(rebooted=True, record=DIED), Course.END, EndReason.EXITED),
        (READY, Unproven(7, "why"), Course.LEAVE, EndReason.LOST),
        (STARTING, Gone(), Course.END, EndReason.LOST),
        (STARTING, Gone(record=DIED), Course.END, EndReason.FAILED),
        (STOPPING, ALIVE, Course.END, EndReason.STOPPED),
        (STOPPING, Gone(), Course.END, EndReason.STOPPED),
    ],
)
def test_what_was_found_decides(session: Session, finding: Finding, course: Course, reason: EndReason | None) -> None:
    """Each state of the record with each state of the process has one course and one reason."""
    verdict = judge(session, LIFE, finding, adopting=True)
    assert verdict.course is course
    assert (verdict.ending.reason if verdict.ending else None) is reason


@pytest.mark.parametrize("finding", [Gone(), Gone(rebooted=True), Gone(rebooted=True, record=TOLD)])
def test_a_session_that_wants_it_is_resumed(finding: Gone) -> None:
    """One of ``restart: resume`` starts again when it was lost."""
    wants = replace(READY, options={RESTART: "resume"})
    assert judge(wants, LIFE, finding, adopting=True).course is Course.RESUME
    assert judge(wants, LIFE, Gone(record=DIED), adopting=True).course is Course.END


def test_a_start_that_somebody_was_told_of_begins_again() -> None:
    """A start whose caller has an answer, or a restart, is not given up; one whose caller saw the connection break is."""
    told = replace(QUEUED, options={PROMISED: True})
    assert judge(told, None, Gone(), adopting=True).course is Course.BEGIN
    assert judge(replace(QUEUED, incarnation=2), None, Gone(), adopting=True).course is Course.BEGIN
    assert judge(QUEUED, None, Gone(), adopting=True).course is Course.END


def test_an_end_that_was_decided_is_told_as_it_was_decided() -> None:
    """A stop that the crash interrupted keeps its sentence, and the exit status when it is known."""
    meant = replace(LIFE, ending=Ending(EndReason.EXPIRED, "its time of 5 s is over"))
    verdict = judge(READY, meant, Gone(record=TOLD), adopting=True)
    assert verdict.ending == Ending(EndReason.EXPIRED, "its time of 5 s is over", exit=ExitStatus(0))
    assert judge(READY, meant, ALIVE, adopting=True).course is Course.END


@pytest.mark.parametrize("session", [READY, STARTING, QUEUED, replace(READY, options={RESTART: "resume"})])
def test_without_adoption_everything_ends(session: Session) -> None:
    """With adoption off nothing is taken over and nothing begins again."""
    for finding in (ALIVE, Gone(), Gone(rebooted=True)):
        verdict = judge(session, LIFE, finding, adopting=False)
        assert verdict.course is Course.END
        assert verdict.ending is not None
        assert verdict.ending.reason is EndReason.LOST
