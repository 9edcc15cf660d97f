"""A command line that talks to one daemon."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from agentproxy.cli import agentproxy
from tests.daemon import Daemon

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with the demo agent below the embedded server; ended afterwards."""
    running = Daemon(tmp_path_factory.mktemp("daemon"))
    yield running
    running.stop()


@pytest.fixture
def run(daemon: Daemon, tmp_path: Path) -> Run:
    """Return a function that runs a command against the daemon; ``text`` is its stdin."""
    environment = {
        "AGENTPROXY_URL": f"http://127.0.0.1:{daemon.port}",
        "XDG_CONFIG_HOME": str(tmp_path),
        "HOME": str(tmp_path),
    }

    def call(*arguments: str, text: str = "", **more: str | None) -> Result:
        return CliRunner().invoke(agentproxy, list(arguments), input=text, env={**environment, **more})

    return call
