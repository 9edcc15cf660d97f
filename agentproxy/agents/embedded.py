"""The driver of the embedded agent server: the contract of agentapi, and what it has beyond.

``GET /screen`` answers with the text at once, ``POST /interrupt`` presses the agent's own keys, ``GET /health`` answers while
a message is typed. Its event ``agent_exited`` is understood by the shared core.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from agentproxy.agents.agentapi import PROBE_DEADLINE, READ_DEADLINE, AgentapiDriver, without_padding
from agentproxy.agents.connection import NotAnswered, NotConnected
from agentproxy.agents.driver import Outcome


class EmbeddedDriver(AgentapiDriver):
    """Speaks to one embedded agent server. See :class:`agentproxy.agents.driver.AgentServerDriver`."""

    async def screen(self) -> str:
        """Return the screen."""
        return without_padding(str(await self._read("/screen", "text")))

    async def interrupt(self, keys: Sequence[str]) -> Outcome:
        """Press *keys*, or let the agent server press those of its agent's type when there are none."""
        if keys:
            return await super().interrupt(keys)
        return await self._post("/interrupt", b"", READ_DEADLINE)

    async def permit(self, request: str, option: str) -> Outcome:
        """Answer what the agent asks over its protocol."""
        return await self._post("/permissions", json.dumps({"id": request, "option": option}).encode(), READ_DEADLINE)

    async def answers(self) -> bool:
        """Return whether ``GET /health`` is answered, which needs the right door."""
        try:
            return (await self._connection.get("/health", PROBE_DEADLINE)).status == 200
        except (NotConnected, NotAnswered):
            return False
