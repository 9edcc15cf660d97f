#!/usr/bin/env python3
"""Measure what a session costs through the fork server, beside an agent server started alone and the real agentapi.

``scripts/bench fork [--rounds N] [--sessions N] [--peer-sessions N] [--seconds N]``; the defaults take about three minutes.
First without a daemon, in turns: the time from asking for an agent server around ``cat`` until ``GET /status`` is answered
with 200, and its private memory when idle. Then through the daemon: as many ``POST /start?wait=stable`` at once as there are
sessions, and the processor time of all of them, agents and daemon included, while they are idle.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
from measured_daemon import MeasuredDaemon

CHECKOUT = Path(__file__).resolve().parents[1]
FLAGS = ["--type=custom", "--term-width=80", "--term-height=100"]
EMBEDDED = [sys.executable, "-P", "-E", "-m", "agentproxy.embedded"]
IDLE = 3.0
AGENT = {"bench": {"command": ["sh", "-c", "printf 'ready> '; exec cat"], "type": "custom", "title": "Bench"}}


class Forks:
    """A fork server, asked over its pipes."""

    def __init__(self) -> None:
        words = [sys.executable, "-P", "-m", "agentproxy.embedded.fork_server", " " * 96]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._number = 0
        self._read()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        (length,) = struct.unpack("!I", self.process.stdout.read(4))
        return dict(json.loads(self.process.stdout.read(length)))

    def start(self, argv: list[str], directory: Path) -> int:
        """Fork an agent server and return its process id."""
        self._number += 1
        where = {"directory": str(directory), "log": str(directory / "log")}
        wish = {"id": self._number, "arguments": argv, "environment": {"PATH": os.environ["PATH"]}, **where}
        body = json.dumps(wish).encode()
        assert self.process.stdin is not None
        self.process.stdin.write(struct.pack("!I", len(body)) + body)
        self.process.stdin.flush()
        return int(self._read()["pid"])

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)


def alone(argv: list[str], directory: Path) -> int:
    """Run a program and return its process id."""
    with (directory / "log").open("ab") as log:
        return subprocess.Popen(
            argv, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        ).pid


def free_port() -> int:
    """Return a free port."""
    with socket.create_server(("", 0)) as probe:
        return int(probe.getsockname()[1])


def until_answering(port: int) -> None:
    """Ask for /status until it is answered with 200."""
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up:
        with contextlib.suppress(OSError), contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as asking:
            asking.request("GET", "/status")
            if asking.getresponse().status == 200:
                return
        time.sleep(0.0005)
    raise SystemExit(f"nobody answers at port {port}")


def private(pid: int) -> float:
    """Return the private memory of a process in MiB."""
    words = Path(f"/proc/{pid}/smaps_rollup").read_text().split()
    return sum(int(words[words.index(name) + 1]) for name in ("Private_Clean:", "Private_Dirty:")) / 1024


SOME = 5
"""Idle agent servers of each way whose memory is looked at."""


def starts(ways: dict[str, Callable[[list[str], Path], int]], rounds: int) -> None:
    """Measure starts, each way in turn and each alone: an idle agentapi is not idle. Then the memory of some that are."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory(prefix="bench-fork-") as name:
        directory = Path(name)
        for _round in range(rounds):
            for kind, way in ways.items():
                begin = time.perf_counter()
                pid = begun(way, directory)
                times[kind].append((time.perf_counter() - begin) * 1000)
                end([pid])
        for kind, way in ways.items():
            pids = [begun(way, directory) for _number in range(SOME)]
            time.sleep(IDLE)
            memory = statistics.median(private(pid) for pid in pids)
            end(pids)
            best, median = min(times[kind]), statistics.median(times[kind])
            print(f"{kind:24} start to the first 200: median {median:.1f} ms, best {best:.1f} ms;"
                  f" private memory {memory:.1f} MiB")  # fmt: skip


def begun(way: Callable[[list[str], Path], int], directory: Path) -> int:
    """Start an agent server around ``cat`` and return its process id when it answers."""
    port = free_port()
    pid = way(["server", f"--port={port}", *FLAGS, "--", "cat"], directory)
    until_answering(port)
    return pid


def end(pids: list[int]) -> None:
    """End agent servers, which are all our children, and wait until they are gone."""
    for pid in pids:
        os.killpg(pid, signal.SIGTERM)
    for pid in pids:
        with contextlib.suppress(ChildProcessError):  # an orphan, where the kernel makes no siblings
            os.waitpid(pid, 0)


def _cpu(process: psutil.Process) -> float:
    try:
        spent = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(spent.user + spent.system)


def cpu(daemon: MeasuredDaemon) -> tuple[float, float]:
    """Return the processor seconds of a daemon and of everything below it so far."""
    own, below = daemon.processes()
    return _cpu(own), sum(_cpu(process) for process in below)


def at_once(kind: str, path: str, count: int, seconds: float) -> None:
    """Start many sessions through a daemon, then leave them alone."""
    with tempfile.TemporaryDirectory(prefix="bench-fork-") as directory:
        daemon = MeasuredDaemon(Path(directory), kind, {"agents": AGENT, "default_agent": "bench"}, path)

        def start(_number: int = 0) -> int:
            return daemon.ask("POST", "/start?wait=stable", {})[0]

        try:
            start()
            with ThreadPoolExecutor(count) as pool:
                begin = time.perf_counter()
                statuses = list(pool.map(start, range(count)))
                taken = time.perf_counter() - begin
            failures = sum(status != 200 for status in statuses)
            spent = cpu(daemon)
            print(f"{kind:24} {count} starts at once: all stable after {taken:.1f} s, {failures} failures; processor time so far:"
                  f" daemon {spent[0]:.1f} s, sessions {spent[1]:.1f} s")  # fmt: skip
            time.sleep(IDLE)
            before = cpu(daemon)
            time.sleep(seconds)
            own, below = (after - start for after, start in zip(cpu(daemon), before, strict=True))
            print(f"{kind:24} {count + 1} idle sessions: {below / seconds * 1000:.1f} ms of processor time per second,"
                  f" and the daemon {own / seconds * 1000:.1f} ms")  # fmt: skip
        finally:
            daemon.stop()


def main() -> None:
    """Measure what is here."""
    parser = argparse.ArgumentParser(prog="scripts/bench fork", description=__doc__)
    for name, default in (("--rounds", 20), ("--sessions", 100), ("--peer-sessions", 100), ("--seconds", 10)):
        parser.add_argument(name, type=int, default=default)
    wanted = parser.parse_args()
    beside = CHECKOUT.parent / "shared" / "bin" / "agentapi"
    agentapi = shutil.which("agentapi") or (str(beside) if beside.exists() else None)
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    forks = Forks()
    ways: dict[str, Callable[[list[str], Path], int]] = {
        "through the fork server": forks.start,
        "alone": lambda argv, directory: alone([*EMBEDDED, *argv], directory),
    }
    if agentapi is None:
        print("agentapi: not on PATH, left out")
    else:
        ways["agentapi"] = lambda argv, directory: alone([agentapi, *argv], directory)
    starts(ways, wanted.rounds)
    forks.close()
    path = os.pathsep.join(filter(None, [os.path.dirname(agentapi or ""), os.environ["PATH"]]))
    at_once("embedded", path, wanted.sessions, wanted.seconds)
    if agentapi is not None and wanted.peer_sessions:
        at_once("agentapi", path, wanted.peer_sessions, wanted.seconds)


if __name__ == "__main__":
    main()
