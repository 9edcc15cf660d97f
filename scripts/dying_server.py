#!/usr/bin/env python3
"""A server that kills itself with SIGKILL at one step of a delivery: what ``chaos_deliveries.py`` runs.

The steps, counted over all sessions; the one with the number ``DIE_AT`` is the last:

=======  =========================================================================
accept   a new message: before its commit, and behind it, before it is answered
keep     a state of a delivery: before its commit, and behind it
send     a message to the agent server: before it, amid it, and behind its answer
=======  =========================================================================

The name of the step is written to the file ``DIED``.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from agentproxy.agents.agentapi import AgentapiDriver
from agentproxy.cli import main
from agentproxy.features.deliveries import Deliveries

LAST = int(os.environ["DIE_AT"])
TYPING_TAKES = 1.2
"""Seconds in which a message is typed, about."""


class Steps:
    """Counts the steps."""

    taken = 0

    @classmethod
    def take(cls, name: str) -> bool:
        """Take a step and return whether it is the last one."""
        cls.taken += 1
        return cls.taken == LAST and cls.note(name)

    @classmethod
    def note(cls, name: str) -> bool:
        """Write down where it ends."""
        Path(os.environ["DIED"]).write_text(name, encoding="ascii")
        return True


def die() -> None:
    """End this process at once."""
    os.kill(os.getpid(), signal.SIGKILL)


def around(kind: type, method: str, name: str) -> None:
    """Let a method be preceded and followed by a step."""
    original = getattr(kind, method)

    async def stepping(self: Any, *given: Any, **named: Any) -> Any:
        if Steps.take(f"before {name}"):
            die()
        result = await original(self, *given, **named)
        if Steps.take(f"behind {name}"):
            die()
        return result

    setattr(kind, method, stepping)


def amid(kind: type, method: str, name: str) -> None:
    """Let the server die while a method waits."""
    original = getattr(kind, method)

    async def stepping(self: Any, *given: Any, **named: Any) -> Any:
        if Steps.take(f"amid {name}"):
            from twisted.internet import reactor

            reactor.callLater(random.uniform(0, TYPING_TAKES), die)  # type: ignore[attr-defined]
        return await original(self, *given, **named)

    setattr(kind, method, stepping)


around(Deliveries, "_accept", "accept")
around(Deliveries, "keep", "keep")
amid(AgentapiDriver, "send_user", "send")
around(AgentapiDriver, "send_user", "send")
sys.exit(main(["server", *sys.argv[1:]]))
