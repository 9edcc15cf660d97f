"""A server that is killed and started again, asked over plain HTTP, and the processes that it leaves."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil


class NoAnswerError(Exception):
    """The server was not there, or went away before it answered."""


class Server:
    """The server under test, killed and started again on one port and one data directory."""

    def __init__(
        self, directory: Path, agent_server: str, program: str | None = None, store_url: str | None = None
    ) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.directory = directory
        self.program = program or str(Path(sys.executable).parent / "agentproxy")
        self.log = directory / "server.log"
        self.starts: list[float] = []
        self.efforts: list[float] = []
        self.children: list[psutil.Process] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "AGENTPROXY_DATA_DIR": str(directory / "data"),
            "AGENTPROXY_AGENT_SERVER": agent_server,
            "AGENTPROXY_DEFAULT_AGENT": "demo",
            "AGENTPROXY_START_PORT": "23000",
            **({"AGENTPROXY_STORE_URL": store_url} if store_url else {}),
        }

    def begin(self) -> subprocess.Popen[bytes]:
        """Start it."""
        argv = [self.program, "server", "--port", str(self.port)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                argv, cwd=self.directory, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        return self._process

    def start(self) -> bool:
        """Start it and wait until it answers; return whether it does."""
        began = time.monotonic()
        process = self.begin()
        while time.monotonic() < began + 60 and process.poll() is None:
            with contextlib.suppress(NoAnswerError):
                if self.ask("GET", "/health", timeout=5)[0] == 200:
                    self.starts.append(time.monotonic() - began)
                    used = psutil.Process(process.pid).cpu_times()
                    self.efforts.append(used.user + used.system)
                    return True
            time.sleep(0.02)
        return False

    def kill(self) -> None:
        """Kill it, and nothing else."""
        assert self._process is not None
        with contextlib.suppress(psutil.Error):
            self.children += psutil.Process(self._process.pid).children()
        self._process.kill()
        self._process.wait(30)

    def stop(self) -> None:
        """End it politely."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(90)

    def ask(self, method: str, path: str, body: object = None, timeout: float = 30) -> tuple[int, Any]:
        """Send a request and return status and JSON of its answer.

        :raises NoAnswerError: there was none.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, {"Content-Type": "application/json"} if data else {})
            answer = connection.getresponse()
            content = answer.read()
            return answer.status, json.loads(content) if content.startswith((b"{", b"[")) else content
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise NoAnswerError(str(error)) from error
        finally:
            connection.close()


def is_dead(process: psutil.Process) -> bool:
    """Return whether a process has ended, reaped or not."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return True


def inside(directory: Path) -> list[psutil.Process]:
    """Return the living processes that work below a directory."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cwd().startswith(str(directory)) and not is_dead(process):
                found.append(process)
    return found
