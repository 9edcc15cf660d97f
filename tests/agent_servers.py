"""Real agent servers for tests: the real agentapi or the embedded one, around any program, ended whatever happens.

:func:`run_agent_server` starts one and gives back an :class:`AgentServer`; leaving the ``with`` block ends the server, the
program and everything that either of them started. Each gets a private directory, a private TMPDIR, a port of its own
and a log for the fake inside (``FAKE_LOG``).
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.fakes import LOG_VARIABLE
from tests.fakes.log import FakeLog
from tests.waiting import wait_for
from tests.wire import Client, Reply

KINDS = ("agentapi", "embedded")
MARK_VARIABLE = "AGENT_SERVER_TEST_MARK"
"""Environment variable by which a test finds what an agent server has started, children of children included."""

_CHECKOUT = Path(__file__).resolve().parent.parent


def find_agentapi() -> str | None:
    """Return the path of the real ``agentapi``: from PATH, else from ``../shared/bin`` beside the checkout, else None."""
    beside = _CHECKOUT.parent / "shared" / "bin" / "agentapi"
    return shutil.which("agentapi") or (str(beside) if os.access(beside, os.X_OK) else None)


def program_argv(kind: str) -> list[str]:
    """Return the argv that runs the agent server program *kind*, without its subcommand; skip the test when it is missing.

    :param kind: a row of :data:`KINDS`.
    """
    if kind == "agentapi":
        path = find_agentapi()
        if path is None:
            pytest.skip("the real agentapi is neither on PATH nor in ../shared/bin")
        return [path]
    if kind == "embedded":
        return [sys.executable, "-m", "agentproxy.embedded"]
    raise KeyError(kind)


def free_port() -> int:
    """Return a loopback port that nobody listens on, outside the ranges of outgoing connections and of tests that lease ports."""
    for _attempt in range(200):
        port = random.randrange(25000, 32000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("", port))
            return port
    raise OSError("no free port between 25000 and 32000")


def clean_environment(directory: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment without what would leak into an agent server, with a private TMPDIR and HOME.

    :param extra: added last, wins.
    """
    dropped = ("AGENTAPI_", "AGENTPROXY_", "COLUMNS", "LINES", "PYTEST_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    (directory / "tmp").mkdir(exist_ok=True)
    private = {
        "TMPDIR": str(directory / "tmp"),
        "HOME": str(directory),
        LOG_VARIABLE: str(directory / "fake.log"),
        "PYTHONPATH": str(_CHECKOUT),
    }
    return {**kept, **private, **(extra or {})}


def catches_sigterm(pid: int) -> bool:
    """Return whether a process has a handler for SIGTERM by now."""
    found = re.search(r"^SigCgt:\s*([0-9a-f]+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return found is not None and bool(int(found[1], 16) >> (signal.SIGTERM - 1) & 1)


class AgentServer:
    """One running agent server process.

    ``kind``, ``port``, ``url``, ``argv``, ``directory`` (private, the server's working directory), ``process`` (a
    :class:`subprocess.Popen`), ``log`` (the fake's own :class:`FakeLog`), ``client`` (blocking HTTP to it).
    """

    def __init__(
        self, kind: str, argv: Sequence[str], port: int, directory: Path, env: Mapping[str, str], stdin: bytes | None
    ) -> None:
        self.kind = kind
        self.argv = list(argv)
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.directory = directory
        self.log = FakeLog(Path(env[LOG_VARIABLE]))
        self.client = Client("127.0.0.1", port)
        self._mark = env[MARK_VARIABLE]
        with self._output("stdout").open("ab") as out, self._output("stderr").open("ab") as err:
            self.process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                stdout=out,
                stderr=err,
                env=dict(env),
                cwd=directory,
                start_new_session=True,
            )
        if stdin is not None:
            assert self.process.stdin is not None
            self.process.stdin.write(stdin)
            self.process.stdin.close()

    def _output(self, name: str) -> Path:
        return self.directory / name

    def stdout(self) -> str:
        """Return what the server has written to its standard output so far."""
        return self._output("stdout").read_text(encoding="utf-8", errors="replace")

    def stderr(self) -> str:
        """Return what the server has written to its standard error so far."""
        return self._output("stderr").read_text(encoding="utf-8", errors="replace")

    @property
    def outputs(self) -> str:
        """Return both outputs under a heading each, for a failure that a person has to read."""
        return f"--- stdout\n{self.stdout()}\n--- stderr\n{self.stderr()}"

    def wait_answering(self, timeout: float = 30) -> Reply:
        """Wait until ``GET /status`` is answered and return that answer.

        :raises AssertionError: the server ended instead; the text has its outputs.
        """

        def answer() -> Reply | None:
            if self.process.poll() is not None:
                raise AssertionError(f"the agent server ended with {self.process.returncode}\n{self.outputs}")
            try:
                return self.client.get("/status")
            except ConnectionRefusedError:
                return None

        return wait_for(f"an answer on port {self.port}", answer, timeout, interval=0.005)

    def wait_listening(self, timeout: float = 30) -> None:
        """Wait until somebody listens on the port, whoever may ask."""

        def listening() -> bool:
            with contextlib.suppress(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", self.port), timeout).close()
                return True
            return False

        wait_for(f"a listener on port {self.port}", listening, timeout, interval=0.005)

    def wait_stable(self, timeout: float = 30) -> None:
        """Wait until the server says that its agent is stable (by its event stream, not by asking again and again)."""
        with self.client.events(timeout=timeout) as events:
            events.until(lambda event: event.name == "status_change" and event.data["status"] == "stable")

    def signal(self, number: int) -> None:
        """Send the signal *number* to the server process alone."""
        self.process.send_signal(number)

    def wait(self, timeout: float = 30) -> int:
        """Wait until the server process has ended and return its exit status (negative: the signal).

        :raises AssertionError: it still lives after *timeout* seconds.
        """
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the agent server still runs after {timeout} s\n{self.outputs}") from None

    def processes(self) -> list[int]:
        """Return the living processes that belong to this server: itself, and whatever inherited its mark."""
        return [pid for pid in _pids() if self._mark in _environ(pid) and not _is_zombie(pid)]

    def close(self) -> None:
        """End the server and everything it has started, at once; a second call does nothing."""
        self.client.close()
        for _round in range(3):
            for pid in self.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.log.kill_all()
            if self.process.poll() is None:
                self.process.kill()
            self.process.wait(30)
            if not self.processes():
                break


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _environ(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/environ").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _is_zombie(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] in "ZX"


def start_agent_server(
    kind: str,
    command: Sequence[str],
    *,
    directory: Path,
    flags: Sequence[str] = (),
    agent_type: str | None = "custom",
    height: int | None = 50,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    port: int | None = None,
) -> AgentServer:
    """Start the agent server program *kind* around *command* without waiting for anything; the caller closes it.

    :param directory: private to this server; its outputs, the fake's log and TMPDIR are in it.
    :param flags: further flags of the ``server`` subcommand.
    :param agent_type: the ``--type``; None leaves it out.
    :param height: rows of the terminal, small to save the real one's CPU; None leaves the flag out.
    :param env: additions to :func:`clean_environment`.
    :param stdin: what is piped into the server's standard input; None means ``/dev/null``.
    :param port: a free one when None.
    """
    port = free_port() if port is None else port
    argv = [*program_argv(kind), "server", f"--port={port}"]
    if agent_type is not None:
        argv.append(f"--type={agent_type}")
    if height is not None:
        argv.append(f"--term-height={height}")
    marked = {**clean_environment(directory, env), MARK_VARIABLE: uuid.uuid4().hex}
    return AgentServer(kind, [*argv, *flags, "--", *command], port, directory, marked, stdin)


@contextlib.contextmanager
def run_agent_server(
    kind: str, command: Sequence[str], *, answering: bool = True, directory: Path | None = None, **options: object
) -> Iterator[AgentServer]:
    """Run the agent server program *kind* around *command* for the length of a ``with`` block.

    :param answering: wait until it answers first. When its port was snatched meanwhile another one is tried.
    :param directory: a temporary one, removed afterwards, when None.
    :param options: those of :func:`start_agent_server`.
    """
    with contextlib.ExitStack() as stack:
        if directory is None:
            directory = Path(tempfile.mkdtemp(prefix="agent-server-"))
            stack.callback(shutil.rmtree, directory, ignore_errors=True)
        server = start_agent_server(kind, command, directory=directory, **options)  # type: ignore[arg-type]
        stack.callback(server.close)
        if answering:
            server.wait_answering()
        yield server
