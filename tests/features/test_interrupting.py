"""Interrupting an agent: its keys are pressed, or the reason is told."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from agentproxy.agents.driver import Busy, Outcome, Refused, Unknown, Unreachable
from agentproxy.errors import AGENT_TIMEOUT, AGENT_UNREACHABLE, INVALID_REQUEST, Refusal, RefusalKind
from agentproxy.features.interrupting import interrupt
from tests.features.scripted import ScriptedDriver


def test_the_agents_own_keys_are_pressed() -> None:
    """In their order."""
    driver = ScriptedDriver()
    Deferred.fromCoroutine(interrupt(driver, ["\x1b", "\x1b"]))
    assert driver.keys == ["\x1b", "\x1b"]


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (Unreachable("gone"), AGENT_UNREACHABLE),
        (Unknown("late"), AGENT_TIMEOUT),
        (Busy(), AGENT_TIMEOUT),
        (Refused("no keys"), INVALID_REQUEST),
    ],
)
def test_what_could_not_be_done_is_told(outcome: Outcome, kind: RefusalKind) -> None:
    """Each failure is a refusal that says what is known."""
    driver = ScriptedDriver()
    driver.outcomes = [outcome]
    refused: list[Refusal] = []
    Deferred.fromCoroutine(interrupt(driver, ["\x1b"])).addErrback(lambda failure: refused.append(failure.value))
    assert refused[0].kind is kind
