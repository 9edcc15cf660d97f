#!/usr/bin/env python3
"""Measure starts: POST /start beside the same agent server spawned by hand, and many starts at the same time.

``scripts/bench start [ROUNDS] [AT_ONCE]``; the defaults (20 and 100) take about a minute. Both kinds of agent servers are
measured in turns with the demo agent, in one run, so that a busy machine slows both sides. By hand means: the argv that the
daemon itself used, started with ``subprocess`` and asked for ``GET /status`` on one connection after the other until it
answers 200.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
from measured_daemon import MeasuredDaemon

CHECKOUT = Path(__file__).resolve().parents[1]
KINDS = ("embedded", "agentapi")
DOOR = "X-Agentproxy-Door"


def daemon_of(directory: Path, kind: str, agentapi: str | None) -> MeasuredDaemon:
    """Return a daemon that runs the demo agent in one kind of agent server."""
    path = os.pathsep.join(filter(None, [os.path.dirname(agentapi or ""), os.environ["PATH"]]))
    return MeasuredDaemon(directory, kind, {"default_agent": "demo"}, path)


def memory(daemon: MeasuredDaemon) -> tuple[float, float]:
    """Return the proportional memory of a daemon and of everything below it, in MiB."""
    own, below = daemon.processes()
    return _pss([own]), _pss(below)


def _pss(processes: list[psutil.Process]) -> float:
    total = 0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            total += process.memory_full_info().pss
    return total / 2**20


def by_hand(argv: list[str], environment: dict[str, str], directory: Path) -> float:
    """Return the seconds from spawning an agent server until it answers, as somebody without a daemon would do it."""
    port = _free_port()
    argv = [f"--port={port}" if part.startswith("--port=") else part for part in argv]
    environment = {**environment, "HOME": str(directory), "TMPDIR": str(directory)}
    door = _door(argv, directory)
    begin = time.perf_counter()
    with (directory / "by-hand.log").open("ab") as log:
        process = subprocess.Popen(argv, cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=log,
                                   stderr=log, start_new_session=True)  # fmt: skip
    try:
        while not _answers(port, door):
            if process.poll() is not None:
                raise SystemExit(f"{argv} ended with {process.returncode}: {(directory / 'by-hand.log').read_text()}")
            time.sleep(0.002)
        return time.perf_counter() - begin
    finally:
        process.terminate()
        process.wait(30)


def _door(argv: list[str], directory: Path) -> str | None:
    """Give an embedded agent server a door of our own; return its secret."""
    for option in ("--door-file", "--end-file"):
        if option in argv:
            argv[argv.index(option) + 1] = str(directory / option.strip("-"))
    if "--door-file" not in argv:
        return None
    (directory / "door-file").write_text("by-hand", encoding="ascii")
    return "by-hand"


def _answers(port: int, door: str | None) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/status", headers={DOOR: door} if door else {})
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _free_port() -> int:
    with socket.create_server(("", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def _spawned(daemon: MeasuredDaemon, session_id: str) -> tuple[list[str], dict[str, str]]:
    """Return argv and environment of a session's agent server, read from the running process."""
    for process in psutil.Process(daemon.process.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            argv, environment = process.cmdline(), process.environ()
            if environment.get("AGENTPROXY_SESSION_ID") == session_id and any(
                part.startswith("--port=") for part in argv
            ):
                return argv, environment
    raise SystemExit("the agent server of the session is not in the process table with its own argv")


def _command(daemon: MeasuredDaemon, session_id: str) -> tuple[list[str], dict[str, str]]:
    """Return what starts the same agent server by hand; a forked one has no argv of its own, so it is made."""
    try:
        return _spawned(daemon, session_id)
    except SystemExit:
        agent = [sys.executable, "-m", "agentproxy.demo"]
        flags = ["--port=0", "--type=custom", "--term-width=80", "--term-height=100"]
        files = ["--door-file", "x", "--end-file", "x"]
        return [sys.executable, "-m", "agentproxy.embedded", "server", *flags, *files, "--", *agent], dict(os.environ)


def compare(daemon: MeasuredDaemon, rounds: int) -> None:
    """Start by POST /start and by hand, in turns."""
    _status, first = daemon.ask("POST", "/start", {})
    argv, environment = _command(daemon, first["session_id"])
    daemon.ask("DELETE", f"/sessions/{first['session_id']}")
    by_us: list[float] = []
    by_them: list[float] = []
    for _round in range(rounds):
        begin = time.perf_counter()
        status, body = daemon.ask("POST", "/start", {})
        by_us.append(time.perf_counter() - begin)
        if status != 200:
            raise SystemExit(f"a start failed: {body}")
        daemon.ask("DELETE", f"/sessions/{body['session_id']}")
        by_them.append(by_hand(argv, environment, daemon.directory))
    ours, theirs = (statistics.median(times) * 1000 for times in (by_us, by_them))
    goal = 1.05 * theirs + 20
    print(
        f"{daemon.kind}: POST /start {ours:.0f} ms, by hand {theirs:.0f} ms (medians of {rounds}): {ours / theirs:.2f} times;"
        f" goal at most 1.05 times plus 20 ms = {goal:.0f} ms: {'met' if ours <= goal else 'missed'}"
    )


@contextlib.contextmanager
def _peak(daemon: MeasuredDaemon) -> Iterator[list[float]]:
    """Note the highest memory of the daemon itself meanwhile, in MiB of resident memory."""
    peak, over = [0.0], threading.Event()

    def watch() -> None:
        own = psutil.Process(daemon.process.pid)
        while not over.wait(0.05):
            peak[0] = max(peak[0], own.memory_info().rss / 2**20)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield peak
    finally:
        over.set()
        watching.join()


def at_once(daemon: MeasuredDaemon, count: int) -> None:
    """Start many sessions at the same time."""
    before = memory(daemon)

    def start(_number: int) -> tuple[float, int, Any]:
        begin = time.perf_counter()
        status, body = daemon.ask("POST", "/start", {})
        return time.perf_counter() - begin, status, body

    with ThreadPoolExecutor(count) as pool, _peak(daemon) as peak:
        begin = time.perf_counter()
        answers = list(pool.map(start, range(count)))
        taken = time.perf_counter() - begin
    failures = [body for _time, status, body in answers if status != 200]
    after = memory(daemon)
    times = sorted(each for each, _status, _body in answers)
    each = (after[1] - before[1]) / max(1, count - len(failures))
    print(
        f"{daemon.kind}: {count} starts at once: {len(failures)} failures, {taken:.1f} s in all ({count / taken:.1f}/s),"
        f" one answer p50 {times[count // 2]:.1f} s, slowest {times[-1]:.1f} s; daemon {before[0]:.0f} to {after[0]:.0f} MiB"
        f" (peak resident {peak[0]:.0f}), each session {each:.1f} MiB with its demo agent"
    )
    for body in failures[:3]:
        print(f"  {body}")
    with ThreadPoolExecutor(16) as pool:
        begin = time.perf_counter()
        list(pool.map(lambda one: daemon.ask("DELETE", f"/sessions/{one[2].get('session_id')}"), answers))
    left = len(psutil.Process(daemon.process.pid).children(recursive=True))
    print(
        f"{daemon.kind}: all deleted in {time.perf_counter() - begin:.1f} s, {left} child processes of the daemon left"
    )


def main() -> None:
    """Measure each kind of agent server that is here."""
    signal.signal(signal.SIGTERM, lambda *_arguments: sys.exit(143))  # so that what was started is ended
    rounds, count = [*(int(word) for word in sys.argv[1:]), *(20, 100)[len(sys.argv[1:]) :]][:2]
    beside = CHECKOUT.parent / "shared" / "bin" / "agentapi"
    agentapi = shutil.which("agentapi") or (str(beside) if beside.exists() else None)
    print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    for kind in KINDS:
        if kind == "agentapi" and agentapi is None:
            print("agentapi: not on PATH, left out")
            continue
        with tempfile.TemporaryDirectory(prefix="bench-start-") as name:
            daemon = daemon_of(Path(name), kind, agentapi)
            try:
                compare(daemon, rounds)
                at_once(daemon, count)
            finally:
                daemon.stop()


if __name__ == "__main__":
    main()
