"""The driver against the real agentapi: what is sent is typed once, and each error says what may be done next."""

from __future__ import annotations

import json

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from agentproxy.agents.agentapi import AgentapiDriver, outcome_of
from agentproxy.agents.connection import Answer
from agentproxy.agents.driver import (
    Busy,
    MessageEvent,
    Refused,
    Sent,
    TypedNotEntered,
    Unknown,
    Unreachable,
)
from agentproxy.errors import AGENT_UNREACHABLE, Refusal
from agentproxy.model.backend import Backend
from agentproxy.model.session import AgentStatus
from tests.agent_servers import free_port, run_agent_server
from tests.agents.hearing import Heard
from tests.fakes import fake_command


def driver_of(port: int) -> AgentapiDriver:
    """Return a driver for an agent server on this machine."""
    return AgentapiDriver(reactor, Backend("127.0.0.1", port))


@pytest_twisted.ensureDeferred
async def test_a_conversation_with_the_real_agentapi() -> None:
    """Status, screen, stream, a message and the transcript of a well-behaved agent; busy while it answers; the end."""
    with run_agent_server("agentapi", fake_command("slow", 3), height=24) as server:
        driver, heard = driver_of(server.port), Heard()
        assert await driver.answers()
        stream = driver.events(heard)
        await heard.stable()
        assert await driver.status() is AgentStatus.STABLE
        assert ">" in await driver.screen()
        assert await driver.send_user("hello", 20) == Sent()
        assert await driver.send_user("again", 20) == Busy()
        assert isinstance(await driver.send_user("  ", 20), Refused)
        assert "hello" in [message.content for message in await driver.messages() if message.role == "user"]
        await heard.until(lambda event: isinstance(event, MessageEvent) and event.message.content == "hello")
        await deferToThread(server.close)
        assert await heard.why.addTimeout(10, reactor)
        assert isinstance(await driver.send_user("gone", 5), Unreachable)
        stream.close()
        await driver.close()


@pytest_twisted.ensureDeferred
async def test_a_deadline_that_passes_leaves_it_unknown() -> None:
    """An agent that shows nothing before Enter: the driver gives up and claims nothing."""
    with run_agent_server("agentapi", fake_command("noecho"), height=24) as server:
        driver, heard = driver_of(server.port), Heard()
        driver.events(heard)
        await heard.stable()
        assert await driver.send_user("hello", 0.5) == Unknown("no answer within 0.5 s")
        await driver.close()


@pytest_twisted.ensureDeferred
async def test_nobody_at_the_port() -> None:
    """A probe says no, a request is refused with a reason, and a stream says that it could not be opened."""
    driver, heard = driver_of(free_port()), Heard()
    assert not await driver.answers()
    with pytest.raises(Refusal) as refused:
        await driver.status()
    assert refused.value.kind is AGENT_UNREACHABLE
    driver.events(heard)
    assert "refused" in await heard.why
    await driver.close()


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (200, "", Sent),
        (500, "failed to send message: message can only be sent when the agent is waiting for user input", Busy),
        (500, "failed to wait for screen to stabilize: timeout waiting for condition", TypedNotEntered),
        (500, "failed to wait for processing to start: timeout waiting for condition", Unknown),
        (500, "failed to send message: message must not be empty", Refused),
        (500, "failed to write message part", Unknown),
        (422, "expected string", Refused),
        (502, "", Unknown),
    ],
)
def test_an_error_says_what_may_be_done_next(status: int, message: str, kind: type) -> None:
    """The sentences of agentapi 0.12.1 and their meaning."""
    body = f'{{"detail": "unexpected error occurred", "errors": [{{"message": "{message}"}}]}}'.encode()
    assert isinstance(outcome_of(Answer(status, body)), kind)


@pytest.mark.parametrize(
    ("code", "delivery", "kind"),
    [
        ("busy", "nothing_typed", Busy),
        ("too_long", "nothing_typed", Refused),
        ("not_entered", "taken_back", Refused),
        ("not_entered", "typed", TypedNotEntered),
        ("no_reaction", "entered", Unknown),
        ("not_reading", "nothing_typed", Unknown),
    ],
)
def test_the_embedded_agent_server_says_what_became_of_a_text(code: str, delivery: str, kind: type) -> None:
    """What it says counts, whatever the sentence; when it may have been cut off nobody believes that nothing was typed."""
    body = {"errors": [{"message": "failed to wait for screen to stabilize"}], "code": code, "delivery": delivery}
    assert isinstance(outcome_of(Answer(500, json.dumps(body).encode())), kind)
