"""Interrupting an agent's turn with the agent's own keys, and saying so when it could not be done."""

from __future__ import annotations

from collections.abc import Sequence

from agentproxy.agents.driver import AgentServerDriver, Busy, Refused, Sent, TypedNotEntered, Unknown, Unreachable
from agentproxy.errors import AGENT_TIMEOUT, AGENT_UNREACHABLE, INVALID_REQUEST, Refusal

COLUMNS = 60
"""Characters of a message that stand in one row at least."""
MOST_ROWS = 200


def clearing(keys: Sequence[str], text: str) -> list[str]:
    """Return the keys that empty an input line that holds *text*.

    A key that deletes up to the beginning of a row is pressed twice for each: the second time takes the empty row away.

    :param keys: ``clear`` of the catalogue.
    """
    rows = min(MOST_ROWS, sum(len(row) // COLUMNS + 1 for row in text.split("\n")))
    return [key * (2 * rows) for key in keys]


async def interrupt(driver: AgentServerDriver, keys: Sequence[str]) -> None:
    """Interrupt the turn of the agent.

    :param keys: the agent's interrupt keys from the catalogue, raw strings in the order they are pressed.
    :raises Refusal: ``AGENT_UNREACHABLE`` (nothing was pressed), ``AGENT_TIMEOUT`` (the keys may have been pressed: the
        agent server holds them back while a message is typed), ``INVALID_REQUEST`` (this agent cannot be interrupted).
    """
    match await driver.interrupt(keys):
        case Sent():
            return
        case Unreachable(why):
            raise Refusal(AGENT_UNREACHABLE, why)
        case Refused(why):
            raise Refusal(INVALID_REQUEST, why)
        case Unknown(why):
            raise Refusal(AGENT_TIMEOUT, why)
        case Busy() | TypedNotEntered():
            raise Refusal(AGENT_TIMEOUT, "the agent server is busy with a message")
