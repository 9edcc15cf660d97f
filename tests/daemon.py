"""A whole daemon as a child process, for tests that use it from outside."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.agent_servers import clean_environment, find_agentapi
from tests.described import DescribedClient
from tests.waiting import wait_for
from tests.wire import Reply


class Daemon:
    """One running daemon on a port of its own; its data is in ``directory / "data"``.

    :param settings: further environment of the daemon, such as ``AGENTPROXY_SESSIONS_MAX_QUEUED``.
    :param program: what Python runs.
    :ivar python: the interpreter that runs it.
    :param below: a command that runs the daemon, such as a tracer.
    :param port: where it listens; 0 is one that is free.
    """

    python = sys.executable

    def __init__(
        self,
        directory: Path,
        agent_server: str = "embedded",
        settings: Mapping[str, str] | None = None,
        program: Sequence[str] = ("-m", "agentproxy"),
        below: Sequence[str] = (),
        port: int = 0,
    ) -> None:
        agentapi = find_agentapi()
        if agent_server == "agentapi" and agentapi is None:
            pytest.skip("the real agentapi is neither on PATH nor in ../shared/bin")
        self.log = directory / "daemon.log"
        path = os.pathsep.join(filter(None, [os.path.dirname(agentapi or ""), os.environ["PATH"]]))
        environment = clean_environment(
            directory,
            {
                "AGENTPROXY_DATA_DIR": str(directory / "data"),
                "AGENTPROXY_AGENT_SERVER": agent_server,
                "AGENTPROXY_DEFAULT_AGENT": "demo",
                "PATH": path,
                **(settings or {}),
            },
        )
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*below, self.python, *program, "--port", str(port)],
                cwd=directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            self.port = wait_for("the daemon listens", self._port, timeout=60)
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise
        self.client = DescribedClient("127.0.0.1", self.port)

    def _port(self) -> int | None:
        assert self.process.poll() is None, self.log.read_text()
        found = re.search(r"listens at \w+://[^\s\"]+:(\d+)", self.log.read_text())
        return int(found[1]) if found else None

    def crash(self) -> None:
        """Kill it as a crash does."""
        self.process.kill()
        self.process.wait(30)
        self.client.close()

    def start(self, **body: Any) -> str:
        """Start a session and return its id."""
        reply = self.client.post_json("/start", body)
        assert reply.status == 200, reply.body
        session_id: str = reply.json()["session_id"]
        return session_id

    def delete(self, session_id: str) -> Reply:
        """Delete a session."""
        return self.client.request("DELETE", f"/sessions/{session_id}")

    def stop(self) -> int:
        """Ask it to end and return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(40)
        finally:
            self.process.kill()
            self.client.close()
