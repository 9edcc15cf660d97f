"""A daemon that is measured: its own data, its own configuration, a port of its own, and nothing of the caller's environment."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil


class MeasuredDaemon:
    """One daemon, running when it is made.

    :param kind: of its agent servers.
    :param settings: more of its configuration.
    :param path: its ``PATH``.
    """

    def __init__(self, directory: Path, kind: str, settings: dict[str, Any], path: str) -> None:
        self.kind, self.directory = kind, directory
        self._log = directory / "daemon.log"
        configuration = directory / "agentproxy.json"
        own = {"data_dir": str(directory / "data"), "port": 0, "agent_server": kind}
        configuration.write_text(json.dumps({**own, **settings}))
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AGENTAPI_", "AGENTPROXY_"))}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "agentproxy", "-c", str(configuration)],
                cwd=directory, env={**kept, "PATH": path}, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self.port = self._listening()

    def _listening(self) -> int:
        give_up = time.monotonic() + 60
        while time.monotonic() < give_up and self.process.poll() is None:
            if found := re.search(r"listens at \w+://[^\s\"]+:(\d+)", self._log.read_text()):
                return int(found[1])
            time.sleep(0.02)
        raise SystemExit(f"the daemon did not start:\n{self._log.read_text()}")

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Send one request and return status and JSON."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)) as connection:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    def processes(self) -> tuple[psutil.Process, list[psutil.Process]]:
        """Return the daemon and everything below it."""
        own = psutil.Process(self.process.pid)
        return own, own.children(recursive=True)

    def stop(self) -> None:
        """End it and all its sessions."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(90)
        finally:
            self.process.kill()
