"""The agent servers that the contract is judged on: every test of this folder runs against each, and cannot tell which."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import cache, partial

import pytest

from tests.agent_servers import KINDS, AgentServer, program_argv, run_agent_server
from tests.fakes import fake_command

Run = Callable[..., AbstractContextManager[AgentServer]]


@cache
def why_not(kind: str) -> str | None:
    """Return why the agent server program *kind* cannot serve here, None when it can."""
    done = subprocess.run([*program_argv(kind), "server", "--help"], capture_output=True, text=True, timeout=60)
    return None if done.returncode == 0 else (done.stderr or done.stdout).strip().splitlines()[-1]


@pytest.fixture(scope="module", params=KINDS)
def run(request: pytest.FixtureRequest) -> Run:
    """Run an agent server around a command: :func:`tests.agent_servers.run_agent_server` with its kind chosen."""
    reason = why_not(request.param)
    if reason is not None:
        pytest.skip(f"this agent server cannot serve: {reason}")
    return partial(run_agent_server, request.param)


@pytest.fixture(scope="module")
def server(run: Run) -> Iterator[AgentServer]:
    """One agent server around the well-behaved fake, stable, shared by the tests of a module."""
    with run(fake_command("tui")) as running:
        running.wait_stable()
        yield running


@pytest.fixture
def argv(run: Run) -> list[str]:
    """The argv of the agent server program, without a subcommand."""
    return program_argv(run.args[0])  # type: ignore[attr-defined]
