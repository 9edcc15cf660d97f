"""Is an agent ready for a message? Quiet, and its idle mark on the screen.

``stable`` of an agent server means that the screen does not change, no more: an agent that loads, or asks a first-run
question, is stable too. So when the agent turns quiet its screen is read once and compared with its marks. An agent
without idle marks is ready when it is quiet: nothing better can be known of it.
"""

from __future__ import annotations

from enum import Enum

from twisted.logger import Logger

from agentproxy.agents.driver import AgentServerDriver
from agentproxy.agents.marks import Marks, ScreenState, classify
from agentproxy.errors import Refusal
from agentproxy.features.observing import Observer
from agentproxy.model.session import AgentStatus

log = Logger()


class Readiness(Enum):
    """What is known of an agent; the value is the sentence that a person reads."""

    READY = "the agent waits for a message"
    NOT_QUIET = "the agent has not become quiet"
    BUSY = "the agent is busy"
    APPROVAL = "the agent waits for an approval"
    UNKNOWN = "the agent is quiet, but its input line is not on the screen"
    UNREADABLE = "the screen could not be read"


_OF_SCREEN = {
    ScreenState.IDLE: Readiness.READY,
    ScreenState.BUSY: Readiness.BUSY,
    ScreenState.APPROVAL: Readiness.APPROVAL,
    ScreenState.UNKNOWN: Readiness.UNKNOWN,
}


class ReadinessJudge:
    """Judges one agent each time it turns quiet, as long as somebody waits.

    ``latest`` is the last judgement, for the sentence of somebody who has waited in vain.
    """

    def __init__(self, driver: AgentServerDriver, observer: Observer, marks: Marks) -> None:
        self.latest = Readiness.NOT_QUIET
        self._driver, self._observer, self._marks = driver, observer, marks

    async def when_ready(self, after: int = 0) -> None:
        """Wait until the agent is ready; no deadline of its own, cancel it.

        :param after: a value of :attr:`Observer.quiet_turns`; a quiet time up to that one does not count.
        :raises Refusal: ``SESSION_ENDED``, the session is no longer observed.
        """
        while True:
            await self._observer.when_quiet(after)
            after = self._observer.quiet_turns
            self.latest = await self._look()
            if self.latest is Readiness.READY and self._observer.status is AgentStatus.STABLE:
                return

    async def _look(self) -> Readiness:
        if not self._marks and not self._marks.approval and not self._marks.busy:
            return Readiness.READY
        try:
            screen = await self._driver.screen()
        except Refusal as refusal:
            log.info("The screen could not be read: {refusal}", refusal=str(refusal))
            return Readiness.UNREADABLE
        state = classify(screen, self._marks)
        if state is ScreenState.UNKNOWN and not self._marks:
            return Readiness.READY
        return _OF_SCREEN[state]
