"""Waiting until a session's agent can take a message, with a deadline; what a start answers with ``wait=stable``."""

from __future__ import annotations

from dataclasses import replace

from twisted.internet.defer import TimeoutError as DeadlineError
from twisted.internet.interfaces import IReactorTime

from agentproxy.errors import (
    AGENT_NOT_READY,
    KINDS,
    SESSION_ENDED,
    SHUTTING_DOWN,
    START_CANCELLED,
    START_FAILED,
    TOO_MANY_STARTS,
    Refusal,
)
from agentproxy.features.attention import Watcher
from agentproxy.features.living import LivingSession
from agentproxy.model.session import Ending, EndReason, Phase

RETRY_AFTER = 5.0
"""Seconds that the caller of a start is told to wait when the queue was full in the end."""


def start_refusal(session_id: str, ending: Ending) -> Refusal:
    """Return why a start did not come to a running session: the refusal of the step that failed."""
    if ending.reason is EndReason.STOPPED:
        return Refusal(START_CANCELLED, ending.sentence, session_id)
    kind = KINDS.get(ending.code or "", START_FAILED)
    again = RETRY_AFTER if kind is TOO_MANY_STARTS else None
    return Refusal(kind, ending.sentence, session_id, again, ending.facts())


async def until_stable(living: LivingSession, watcher: Watcher, clock: IReactorTime, within: float) -> None:
    """Wait until the agent of a ready session can take a message; with a first message, until its fate is known.

    :param within: seconds.
    :raises Refusal: AGENT_NOT_READY, the session lives on; SHUTTING_DOWN, it lives on without this server; or why it ended
        meanwhile, as :func:`start_refusal`.
    """
    if living.driver is None or living.observer is None:
        raise await _ended(living)
    told = living.first_message.told()
    waiting = told if told is not None else watcher.when(lambda: watcher.takes_message)
    try:
        await waiting.addTimeout(within, clock)
    except DeadlineError:
        why = "its first message is not delivered" if told is not None else watcher.sentence()
        raise Refusal(AGENT_NOT_READY, f"{why}, after {within:g} s", living.record.id) from None
    except Refusal as refusal:
        if refusal.kind is not SESSION_ENDED:
            raise
        raise await _ended(living) from None
    if living.left or living.record.phase is not Phase.READY:
        raise await _ended(living)


async def _ended(living: LivingSession) -> Refusal:
    """Return why a session ended, when its end is recorded, or that it was left for the next server."""
    if living.left:
        return Refusal(SHUTTING_DOWN, session_id=living.record.id)
    await living.when_over()
    await living.written()
    assert living.record.ending is not None
    refusal = start_refusal(living.record.id, living.record.ending)
    return replace(refusal, facts={"step": "ready", **refusal.facts})
