"""Taking over what an earlier server left: once, after the store is open and before anybody is let in.

Each session that had not ended gets the course that ``model/adoption.py`` gives it. All are handled side by side; the
sessions whose agent server runs are routable when :meth:`Adopter.take_over` returns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from agentproxy.errors import Refusal
from agentproxy.features.first_message import UNFOLLOWED, is_waiting
from agentproxy.features.living import LivingSession
from agentproxy.features.observing import Known
from agentproxy.model.adoption import Alive, Course, Finding, Gone, Unproven, Verdict, judge
from agentproxy.model.event import NewEvent
from agentproxy.model.session import Ending, EndReason, Incarnation, Phase, Session
from agentproxy.runtime import cgroups, orphans
from agentproxy.runtime.adoption import Census, examine, needs_door, take_census, unclaimed
from agentproxy.runtime.starting import Inherited
from agentproxy.runtime.watching import read_end_record
from agentproxy.store import Store
from agentproxy.store.inheriting import Life, Told, read_told

log = Logger()

AT_ONCE = 32
"""Sessions that are handled at the same time."""


class Heirs(Protocol):
    """Makes what goes on with an old session (``features/making.py``)."""

    def heir(self, session: Session, incarnation: Incarnation) -> LivingSession:
        """Return a living session for an incarnation that an earlier server began; it waits to be adopted."""

    def records(self, session_id: str) -> Path:
        """Return the directory of a session's records."""

    def sessions_root(self) -> Path:
        """Return the directory below which every session has its own."""

    async def clear_unfinished(self, session_id: str) -> None:
        """End a clone that goes on by itself and remove the directory of a session that never ran."""

    async def door_opens(self, incarnation: Incarnation) -> bool:
        """Return whether the agent server answers to its door secret and to no other."""


class Lives(Protocol):
    """Where the lives of sessions go on (``features/incarnations.py``)."""

    def adopt(self, living: LivingSession) -> None:
        """Keep a session that was adopted."""

    async def go_on(self, session_id: str, resume: bool, reason: str) -> None:
        """Begin the next life of a session and return when it has begun."""


@dataclass(frozen=True, slots=True)
class _Case:
    session: Session
    incarnation: Incarnation | None
    finding: Finding
    verdict: Verdict


class Adopter:
    """Takes over once.

    :param boot_id: of the machine now.
    :param adopting: whether sessions outlive their server; else what is left of them is ended.
    """

    def __init__(self, store: Store, lives: Lives, heirs: Heirs, boot_id: str, adopting: bool) -> None:
        self._store = store
        self._lives = lives
        self._heirs = heirs
        self._boot_id = boot_id
        self._adopting = adopting
        self._census = Census(boot_id, {})
        self._told: Mapping[Life, Told] = {}

    async def take_over(self) -> Mapping[Course, int]:
        """Handle every session that has not ended and every incarnation that was not closed; return how many went which way."""
        opened = await self._store.open_incarnations()
        sessions = {session.id: session for session in await self._store.living_sessions()}
        self._census = census = await deferToThread(take_census, self._boot_id, opened)
        await self._report_unclaimed(opened)
        if not opened and not sessions:
            return {}
        doors = await self._ask_doors(opened, census)
        findings = await deferToThread(self._examine_all, opened, census, doors)
        present = {one.session_id: one for one in opened if _is_present(one, sessions.get(one.session_id))}
        past = [one for one in opened if present.get(one.session_id) is not one]
        await self._each(past, lambda one: self._end_past(one, findings[one]))
        self._told = await self._store.run(read_told)
        cases = [self._case(session, present.get(session.id), findings) for session in sessions.values()]
        await self._each(cases, self._handle)
        self._told = {}
        tally = Counter(case.verdict.course for case in cases)
        told = ", ".join(f"{course.value} {count}" for course, count in tally.items())
        log.info("Sessions of the server before this one: {tally}", tally=told or "none")
        return tally

    async def _report_unclaimed(self, opened: list[Incarnation]) -> None:
        """Say which processes look like ours and are of no session that the store says runs; they are left alone."""
        root = self._heirs.sessions_root()
        for pid, directory in (await deferToThread(unclaimed, self._census, opened, root)).items():
            log.error("Process {pid} in {directory} is of no session that the store says runs; it is left alone",
                      pid=pid, directory=directory)  # fmt: skip

    async def _ask_doors(self, opened: list[Incarnation], census: Census) -> dict[Incarnation, bool]:
        doubtful = [one for one in opened if needs_door(one, census)]
        answers = await gatherResults([Deferred.fromCoroutine(self._heirs.door_opens(one)) for one in doubtful])
        return dict(zip(doubtful, answers, strict=True))

    def _examine_all(
        self, opened: list[Incarnation], census: Census, doors: dict[Incarnation, bool]
    ) -> dict[Incarnation, Finding]:
        return {one: examine(one, census, self._heirs.records(one.session_id), doors.get(one)) for one in opened}

    def _case(
        self, session: Session, incarnation: Incarnation | None, findings: Mapping[Incarnation, Finding]
    ) -> _Case:
        finding = findings[incarnation] if incarnation is not None else Gone()
        return _Case(session, incarnation, finding, judge(session, incarnation, finding, self._adopting))

    async def _each(self, things: list[Any], handle: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
        turns = DeferredSemaphore(AT_ONCE)
        await gatherResults([turns.run(handle, one) for one in things])

    # -- one session

    async def _handle(self, case: _Case) -> None:
        try:
            await self._follow(case)
        except Refusal as refusal:
            log.error("Session {session} could not be taken over: {why}", session=case.session.id, why=str(refusal))
        except Exception:
            log.failure("Session {session} could not be taken over", session=case.session.id)

    async def _follow(self, case: _Case) -> None:
        course = case.verdict.course
        if course in (Course.ADOPT, Course.REJOIN):
            await self._adopt(case)
        elif course is Course.BEGIN:
            await self._close(case.incarnation, case.finding)
            await self._clear(case)
            await self._go_on(case, case.session.incarnation > 1, "the server ended while it started")
        else:
            await self._record_end(case)
            await self._clear(case)
            if course is Course.RESUME:
                assert case.verdict.ending is not None
                await self._go_on(case, True, case.verdict.ending.sentence)

    async def _clear(self, case: _Case) -> None:
        if case.incarnation is None and case.session.incarnation == 1:
            await self._heirs.clear_unfinished(case.session.id)

    async def _adopt(self, case: _Case) -> None:
        assert case.incarnation is not None
        assert isinstance(case.finding, Alive)
        one, found = case.incarnation, case.finding
        if one.pid is None:
            changes = {"pid": found.pid, "start_ticks": found.start_ticks}
            one = await self._store.change_incarnation(one.session_id, one.number, changes)
        living = self._heirs.heir(case.session, one)
        living.known = _known(self._told.get((one.session_id, one.number)))
        assert living.supervisor is not None
        age = max(0.0, (datetime.now(UTC) - one.created_at).total_seconds())
        inherited = Inherited(found.pid, found.start_ticks, one.port, Path(one.cgroup) if one.cgroup else None, age)
        try:
            living.supervisor.adopt(inherited, case.verdict.course is Course.ADOPT)
        except ProcessLookupError:  # it has ended since the census
            gone = Gone(record=read_end_record(self._heirs.records(one.session_id) / "end.json"))
            await self._follow(replace(case, finding=gone, verdict=judge(case.session, one, gone, self._adopting)))
            return
        except ValueError as error:
            lost = Verdict(Course.END, Ending(EndReason.LOST, f"it could not be taken over: {error}"))
            await self._follow(replace(case, verdict=lost))
            return
        self._lives.adopt(living)
        log.debug("Session {session} goes on in process {pid}, known by its {proof}",
                  session=case.session.id, pid=found.pid, proof=found.proof)  # fmt: skip

    async def _go_on(self, case: _Case, resume: bool, reason: str) -> None:
        try:
            await self._lives.go_on(case.session.id, resume, reason)
        except Refusal as refusal:
            sentence = f"{reason}, and it could not be started again: {refusal}"
            await self._record_end(
                replace(case, incarnation=None, verdict=Verdict(Course.END, Ending(EndReason.LOST, sentence)))
            )

    async def _record_end(self, case: _Case) -> None:
        ending = case.verdict.ending
        assert ending is not None
        await self._close(case.incarnation, case.finding, ending)
        now = datetime.now(UTC)
        changes: dict[str, Any] = {"phase": Phase.ENDED, "ending": ending, "ended_at": now, "updated_at": now}
        facts = {"step": None, **ending.facts(), "sentence": ending.sentence}
        events = [NewEvent(case.session.id, "session.ended", now, facts)]
        if is_waiting(case.session):
            changes["options"] = {**case.session.options, "first_message": UNFOLLOWED}
            events.append(NewEvent(case.session.id, "first_message", now, UNFOLLOWED))
        await self._store.change_session(case.session.id, changes, events)
        log.warn("Session {session} has ended ({reason}): {sentence}",
                 session=case.session.id, reason=ending.reason.value, sentence=ending.sentence)  # fmt: skip

    async def _close(self, one: Incarnation | None, finding: Finding, ending: Ending | None = None) -> None:
        """End what is left of an incarnation, unless it may be a stranger's, and note that it is over."""
        if one is None:
            return
        if isinstance(finding, Unproven):
            log.error("Process {pid} is left alone: {why}", pid=finding.pid, why=finding.why)
        else:
            await deferToThread(_end_processes, one, finding, self._census.has_left(one))
        changes: dict[str, Any] = {"ended_at": datetime.now(UTC)}
        if ending is not None:
            changes["ending"] = ending
        await self._store.change_incarnation(one.session_id, one.number, changes)

    async def _end_past(self, one: Incarnation, finding: Finding) -> None:
        try:
            await self._close(one, finding)
        except Exception:
            log.failure("An old life of session {session} could not be closed", session=one.session_id)


def _known(told: Told | None) -> Known:
    """Return what is not to be told again."""
    if told is None:
        return Known()
    return Known(told.messages, Counter((one.data["message"], one.data["level"]) for one in told.errors))


def _is_present(one: Incarnation, session: Session | None) -> bool:
    return session is not None and one.number == session.incarnation


def _end_processes(one: Incarnation, finding: Finding, some: bool) -> None:
    group = Path(one.cgroup) if one.cgroup else None
    if some:
        left = orphans.end_all(one.marker, finding.pid if isinstance(finding, Alive) else None, group)
        if left:
            log.error("Session {session} left processes: {pids}", session=one.session_id, pids=left)
    if group is not None:
        cgroups.remove(group)
