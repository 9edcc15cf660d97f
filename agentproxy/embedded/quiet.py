"""When an agent in a terminal has nothing on its hands: its screen has been quiet for a while, and nothing shows that it works.

Signs of silent work are a line on the screen that offers to interrupt and processor time of the agent's children. Neither is
believed for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agentproxy.embedded.extraction import is_busy, is_unfinished
from agentproxy.embedded.screen import Screen
from agentproxy.embedded.work import Use, use_of

QUIET = 2.0
"""Seconds without a change of the screen."""
WORK_WINDOW = 0.5
"""Seconds at the end of the quiet time in which processor time is measured."""
BUSY_QUIET = 30.0
"""Seconds after which a sign of work on a screen that no longer moves is not believed any more."""
WORK_QUIET = 600.0
"""Seconds after which processor time without any output is not believed any more."""


class Quiet:
    """Waits until the agent is quiet, from now on and from each :meth:`begin`.

    :param pid: returns the agent's process, None when there is none.
    :param on_quiet: called when it is quiet.
    :ivar suspended: set while the agent's silence means nothing, because a message is being typed.
    """

    def __init__(
        self,
        clock: Any,
        agent_type: str,
        screen: Screen,
        pid: Callable[[], int | None],
        on_quiet: Callable[[], None],
    ) -> None:
        self.suspended = False
        self._clock = clock
        self._agent_type = agent_type
        self._screen = screen
        self._pid = pid
        self._on_quiet = on_quiet
        self._call: Any = None
        self._since = 0.0
        self.begin()

    def begin(self) -> None:
        """Begin to wait anew: something has changed just now."""
        self._since = self._clock.seconds()
        self._expect(QUIET - WORK_WINDOW, self._almost)

    @property
    def waits(self) -> bool:
        """Return whether it is not known yet that the agent is quiet."""
        return self._call is not None

    def stop(self) -> None:
        """Wait no more; twice does no harm."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None

    def _expect(self, seconds: float, then: Callable[..., None], *facts: Any) -> None:
        self.stop()
        self._call = self._clock.callLater(seconds, then, *facts)

    def _almost(self) -> None:
        self._expect(WORK_WINDOW, self._over, self._used(), self._clock.seconds())

    def _over(self, used: Use | None, since: float) -> None:
        self._call = None
        if self.suspended:
            return
        if self._works(used, since):
            self._expect(QUIET - WORK_WINDOW, self._almost)
        else:
            self._on_quiet()

    def _works(self, used: Use | None, since: float) -> bool:
        quiet = self._clock.seconds() - self._since
        rows, kind = self._screen.rows, self._agent_type
        if quiet < BUSY_QUIET and (is_busy(rows, kind) or is_unfinished(rows, kind)):
            return True
        now_used = self._used()
        if used is None or now_used is None or quiet >= WORK_QUIET:
            return False
        return now_used.is_work_since(used, self._clock.seconds() - since)

    def _used(self) -> Use | None:
        pid = self._pid()
        return use_of(pid) if pid is not None else None
