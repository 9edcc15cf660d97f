"""The driver against the embedded agent server: the door, the screen, interrupting, the agent's end."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest_twisted
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from agentproxy.agents.driver import ExitEvent, Refused, Sent
from agentproxy.agents.embedded import EmbeddedDriver
from agentproxy.model.backend import Backend
from tests.agent_servers import run_agent_server
from tests.agents.hearing import Heard
from tests.fakes import fake_command
from tests.waiting import wait_for


@pytest_twisted.ensureDeferred
async def test_a_conversation_with_the_embedded_server() -> None:
    """Screen, message, interrupt, and the true end of the agent."""
    with run_agent_server("embedded", fake_command("diesaying", 3), height=24) as server:
        driver, heard = EmbeddedDriver(reactor, Backend("127.0.0.1", server.port)), Heard()
        assert await driver.answers()
        driver.events(heard)
        await heard.stable()
        assert ">" in await driver.screen()
        assert await driver.interrupt([]) == Sent()
        assert await driver.interrupt(["\x1b"]) == Sent()
        await driver.send_raw("exit\r")
        await heard.until(lambda event: event == ExitEvent("the agent has ended: exit status 3"))
        await driver.close()


@pytest_twisted.ensureDeferred
async def test_the_door_opens_to_its_secret_alone(tmp_path: Path) -> None:
    """A driver with the wrong secret is refused and types nothing; the right one is answered."""
    secret = tmp_path / "door"
    secret.write_text("s3cret")
    flags = [f"--door-file={secret}"]
    with run_agent_server("embedded", fake_command("tui"), flags=flags, height=24, answering=False) as server:
        await _listening(server.port)
        wrong = EmbeddedDriver(reactor, Backend("127.0.0.1", server.port, door="guess"))
        right = EmbeddedDriver(reactor, Backend("127.0.0.1", server.port, door="s3cret"))
        assert not await wrong.answers()
        assert isinstance(await wrong.send_user("hello", 5), Refused)
        assert await right.answers()
        await wrong.close()
        await right.close()


async def _listening(port: int) -> None:
    def connects() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    await deferToThread(wait_for, "a listening agent server", connects)
