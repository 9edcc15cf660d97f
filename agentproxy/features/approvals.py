"""Wanted approvals as objects: listed over all sessions, answered once, by a person or by a rule, and only while they stand.

An answer is pressed only after the screen was read again and shows the same prompt; ``answering`` is committed before the
first key, so that a crash leaves ``uncertain`` and never a second press. A prompt that was away for an instant is another one.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from agentproxy.agents.driver import Busy, Refused, Sent, TypedNotEntered, Unreachable
from agentproxy.errors import (
    AGENT_UNREACHABLE,
    APPROVAL_CHANGED,
    APPROVAL_NOT_FOUND,
    INVALID_REQUEST,
    SESSION_NOT_FOUND,
    Refusal,
)
from agentproxy.features.approval_rules import Rules
from agentproxy.features.deliveries import Permitting
from agentproxy.features.permitting import Note
from agentproxy.features.prompting import Asking, asked, give
from agentproxy.model.approval import (
    OPEN,
    Approval,
    ApprovalState,
    Choice,
    Prompt,
    find_choice,
    rule_for,
)
from agentproxy.model.attention import Kind, last_rows
from agentproxy.model.event import NewEvent
from agentproxy.model.principal import SERVER, Principal
from agentproxy.model.session import Session
from agentproxy.store import Store
from agentproxy.store import approvals as rows

log = Logger()

KEY_PAUSE = 0.5
"""Seconds between two keys of an answer: an Esc and the key behind it would be read as one Alt key."""
IGNORED = 5.0
"""Seconds after which a prompt that stands on although it was answered is asked anew."""


@dataclass(frozen=True, slots=True)
class ApprovalTerms:
    """What holds for all approvals.

    :param expire_after: seconds, None for never.
    :param deny_expired: whether an expired one is answered with no; else its prompt stands on.
    """

    expire_after: float | None = None
    deny_expired: bool = True


@dataclass(eq=False, slots=True)
class _Open:
    """An approval that stands on a screen now."""

    approval: Approval
    asking: Asking
    writes: DeferredLock
    timer: IDelayedCall | None = None


class Approvals:
    """Every wanted approval of this server.

    :param note: keeps each answer in the audit.
    """

    def __init__(
        self, store: Store, permits: Permitting, rules: Rules, terms: ApprovalTerms, note: Note, clock: IReactorTime
    ) -> None:
        self.rules = rules
        self._store, self._permits, self._terms, self._note, self._clock = store, permits, terms, note, clock
        self._open: dict[str, _Open] = {}
        self._asking: dict[str, Asking] = {}
        self._timers: set[IDelayedCall] = set()

    async def open(self) -> None:
        """Settle what an earlier server left: what was being answered is uncertain, what waited is asked anew."""
        await self.rules.open()
        for one in await self._store.run(rows.read_open):
            state = ApprovalState.UNCERTAIN if one.state is ApprovalState.ANSWERING else ApprovalState.GONE
            await self._keep(replace(one, state=state, reason="the server ended"), new=False)

    def close(self) -> None:
        """Stop every timer."""
        for timer in list(self._timers):
            if timer.active():
                timer.cancel()
        self._timers.clear()

    # -- what the screens say

    def changed(self, asking: Asking) -> None:
        """Take note of what an agent waits for now."""
        session_id, now = asking.record.id, asking.watcher.now
        self._asking[session_id] = asking
        known = self._open.get(session_id)
        if now.kind is not Kind.APPROVAL:
            if known is not None:
                self._gone(known)
            return
        prompt = asked(asking, asking.watcher.screen)
        if known is not None and known.approval.prompt.fingerprint == prompt.fingerprint:
            return
        if known is not None:
            self._gone(known)
        self._wanted(asking, prompt)

    def ended(self, session_id: str) -> None:
        """Take note that a session has ended."""
        self._asking.pop(session_id, None)
        known = self._open.get(session_id)
        if known is not None:
            self._gone(known)

    def current(self, session_id: str) -> Approval | None:
        """Return the approval that a session waits for."""
        known = self._open.get(session_id)
        return known.approval if known is not None else None

    def _wanted(self, asking: Asking, prompt: Prompt) -> None:
        now = datetime.now(UTC)
        after = self._terms.expire_after
        one = Approval(
            id=str(uuid.uuid4()),
            session_id=asking.record.id,
            incarnation=asking.record.incarnation,
            prompt=prompt,
            created_at=now,
            expires_at=None if after is None else now + timedelta(seconds=after),
        )
        known = self._open[one.session_id] = _Open(one, asking, DeferredLock())
        if after is not None:
            known.timer = self._later(after, self._expire, known)
        self._background(self._begin(known), one)

    async def _begin(self, known: _Open) -> None:
        await self._commit(known, new=True)
        record = known.asking.record
        repository = str(record.options.get("repository") or "")
        rule = rule_for(
            self.rules.all(), known.approval.prompt, record.owner, record.agent, repository, datetime.now(UTC)
        )
        if rule is not None and self._open.get(record.id) is known:
            choice = find_choice(known.approval.prompt, rule.answer)
            if choice is not None:
                await self._press(known, choice, f"rule {rule.id}", SERVER)

    def _gone(self, known: _Open) -> None:
        """An approval is no longer on the screen; one that is being answered is settled by who answers it."""
        if self._open.get(known.approval.session_id) is known:
            del self._open[known.approval.session_id]
        self._cancel(known)
        if known.approval.state is ApprovalState.WAITING:
            known.approval = replace(known.approval, state=ApprovalState.GONE, answered_at=datetime.now(UTC))
            self._background(self._commit(known), known.approval)

    def _expire(self, known: _Open) -> None:
        if known.approval.state is not ApprovalState.WAITING:
            return
        deny = find_choice(known.approval.prompt, "deny") if self._terms.deny_expired else None
        if deny is not None:
            self._background(self._deny(known, deny), known.approval)
        else:
            known.approval = replace(known.approval, state=ApprovalState.EXPIRED, answered_at=datetime.now(UTC))
            self._background(self._commit(known), known.approval)

    async def _deny(self, known: _Open, deny: Choice) -> None:
        """Deny an approval that has expired; when its agent server cannot be reached, once more after a while."""
        try:
            await self._press(known, deny, "expiry", SERVER)
        except Refusal:
            if self._open.get(known.approval.session_id) is known and known.approval.state is ApprovalState.WAITING:
                known.timer = self._later(IGNORED, self._expire, known)
            raise

    # -- answering

    async def answer(self, caller: Principal, approval_id: str, answer: str) -> Approval:
        """Answer an approval: ``allow``, ``deny``, or the name or label of an offered choice.

        :raises Refusal: APPROVAL_NOT_FOUND, INVALID_REQUEST, APPROVAL_CHANGED with what is now on the screen, or why the
            agent server could not be reached.
        """
        one = await self._visible(caller, approval_id)
        await self._permits.permitted(caller, one.session_id, "session.message")
        choice = find_choice(one.prompt, answer)
        if choice is None:
            offered = ", ".join(f"{each.name} ({each.label})" for each in one.prompt.choices)
            raise Refusal(INVALID_REQUEST, f"$.answer: expected one of {offered or 'nothing: use raw keys'}")
        known = self._open.get(one.session_id)
        if known is None or known.approval.id != one.id:
            raise self._changed_refusal(one, await self._screen_of(one.session_id))
        return await self._press(known, choice, caller.user_id, caller)

    async def _screen_of(self, session_id: str) -> str | None:
        """Return what a session's screen shows now; None when it has none."""
        asking = self._asking.get(session_id)
        try:
            return await asking.driver.screen() if asking is not None and asking.driver is not None else None
        except Refusal:
            return None

    async def _press(self, known: _Open, choice: Choice, by: str, caller: Principal) -> Approval:
        """Press the keys of a choice while the same prompt stands, once."""
        one = known.approval
        if one.state is not ApprovalState.WAITING:
            raise self._changed_refusal(one)
        known.approval = replace(one, state=ApprovalState.ANSWERING, answer=choice.name, by=by)
        try:
            await self._stands(known)
            await self._commit(known)
        except BaseException:
            self._take_back(known, one)
            raise
        if self._open.get(one.session_id) is not known:
            await self._settle(known, ApprovalState.GONE, "the prompt went away")
            raise self._changed_refusal(known.approval)
        return await self._pressed(known, choice, caller)

    def _take_back(self, known: _Open, before: Approval) -> None:
        known.approval = before
        if self._open.get(before.session_id) is not known:
            self._gone(known)

    async def _stands(self, known: _Open) -> None:
        """Check that the screen still shows the prompt."""
        driver, watcher = known.asking.driver, known.asking.watcher
        if driver is None:
            raise self._changed_refusal(known.approval)
        screen = await driver.screen()
        prompt = asked(known.asking, screen)
        if watcher.now.kind is not Kind.APPROVAL or prompt.fingerprint != known.approval.prompt.fingerprint:
            raise self._changed_refusal(known.approval, screen)

    async def _pressed(self, known: _Open, choice: Choice, caller: Principal) -> Approval:
        for number, key in enumerate(choice.keys):
            if number:
                await deferLater(self._clock, KEY_PAUSE)
            outcome = await give(known.asking, known.approval.prompt, key)
            if isinstance(outcome, Refused) and known.approval.prompt.request:
                await self._settle(known, ApprovalState.GONE, outcome.why)
                raise self._changed_refusal(known.approval)
            if isinstance(outcome, Unreachable | Refused | Busy) and number == 0:
                await self._settle(known, ApprovalState.WAITING, "")
                raise Refusal(AGENT_UNREACHABLE, getattr(outcome, "why", "it is busy"), known.approval.session_id)
            if not isinstance(outcome, Sent):
                why = "" if isinstance(outcome, Busy | TypedNotEntered) else outcome.why
                return await self._settle(known, ApprovalState.UNCERTAIN, why or "the keys may have been pressed")
        states = {"allow": ApprovalState.ALLOWED, "deny": ApprovalState.DENIED}
        facts = {"approval_id": known.approval.id, "answer": choice.name, "subject": known.approval.prompt.subject}
        self._note(
            caller,
            "session.message",
            known.approval.session_id,
            True,
            f"approval answered by {known.approval.by}",
            facts,
        )
        self._later(IGNORED, self._ask_anew, known)
        return await self._settle(known, states.get(choice.name, ApprovalState.CHOSEN), "")

    def _ask_anew(self, known: _Open) -> None:
        """Ask again when an answered prompt has not moved: its keys were not taken, or an equal one came at once."""
        if self._open.get(known.approval.session_id) is known and known.approval.state not in OPEN:
            del self._open[known.approval.session_id]
            self.changed(known.asking)

    async def _settle(self, known: _Open, state: ApprovalState, reason: str) -> Approval:
        waiting = state is ApprovalState.WAITING
        known.approval = replace(
            known.approval,
            state=state,
            reason=reason,
            answered_at=None if waiting else datetime.now(UTC),
            answer="" if waiting else known.approval.answer,
            by="" if waiting else known.approval.by,
        )
        await self._commit(known)
        return known.approval

    def _changed_refusal(self, one: Approval, screen: str | None = None) -> Refusal:
        known = self._open.get(one.session_id)
        shown = screen if screen is not None else known.asking.watcher.screen if known is not None else ""
        now = known.approval if known is not None and known.approval.state is ApprovalState.WAITING else None
        facts = {
            "state": one.state.value,
            "screen": last_rows(shown),
            "approval_id": now.id if now is not None and now.id != one.id else None,
        }
        return Refusal(APPROVAL_CHANGED, "", one.session_id, facts=facts)

    # -- looking

    def waiting(self, sees: Callable[[Session], bool]) -> Sequence[tuple[Approval, Session]]:
        """Return the approvals that wait in the sessions that somebody sees, oldest first."""
        found = [
            (one.approval, one.asking.record)
            for one in self._open.values()
            if one.approval.state in OPEN and sees(one.asking.record)
        ]
        return sorted(found, key=lambda pair: pair[0].created_at)

    async def get(self, caller: Principal, approval_id: str) -> Approval:
        """Return one approval, a settled one too.

        :raises Refusal: APPROVAL_NOT_FOUND.
        """
        return await self._visible(caller, approval_id)

    async def of_session(self, caller: Principal, session_id: str, limit: int) -> list[Approval]:
        """Return the last approvals of one session, settled ones too, oldest first."""
        await self._permits.permitted(caller, session_id, "session.read")
        found = await self._store.run(lambda it: rows.read_page(it, session_id, limit))
        known = self._open.get(session_id)
        return [known.approval if known is not None and known.approval.id == one.id else one for one in found]

    async def _visible(self, caller: Principal, approval_id: str) -> Approval:
        """Return an approval of a session that the caller sees; one that is not there takes as long as somebody else's."""
        stored = await self._store.run(lambda it: rows.find_one(it, approval_id))
        one = next((each.approval for each in self._open.values() if each.approval.id == approval_id), stored)
        try:
            await self._permits.permitted(caller, approval_id if one is None else one.session_id, "session.read")
        except Refusal as refusal:
            if refusal.kind is not SESSION_NOT_FOUND:
                raise
            one = None
        if one is None:
            raise Refusal(APPROVAL_NOT_FOUND, approval_id)
        return one

    # -- writing

    async def _commit(self, known: _Open, *, new: bool = False) -> None:
        one = known.approval
        await known.writes.run(lambda: Deferred.fromCoroutine(self._keep(one, new=new)))

    async def _keep(self, one: Approval, *, new: bool) -> None:
        events = [NewEvent(one.session_id, "approval", datetime.now(UTC), rows.told(one))]
        await self._store.write(rows.keeping(one, events, new=new))

    def _later(self, seconds: float, call: Callable[[_Open], None], known: _Open) -> IDelayedCall:
        self._timers = {one for one in self._timers if one.active()}
        timer = self._clock.callLater(seconds, call, known)
        self._timers.add(timer)
        return timer

    def _cancel(self, known: _Open) -> None:
        if known.timer is not None and known.timer.active():
            known.timer.cancel()

    def _background(self, work: Any, one: Approval) -> None:
        done = Deferred.fromCoroutine(work)
        done.addErrback(
            lambda failure: (
                log.warn(
                    "The approval {approval} of session {session}: {why}",
                    approval=one.id,
                    session=one.session_id,
                    why=failure.getErrorMessage(),
                )
                if failure.check(Refusal)
                else log.failure("The approval {approval} could not be handled", failure, approval=one.id)
            )
        )
