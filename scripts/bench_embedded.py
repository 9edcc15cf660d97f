#!/usr/bin/env python3
"""The embedded agent server beside the real agentapi: ``scripts/bench embedded [--only NAME,...] [--agentapi PATH]``.

Both are measured in turn in one run, so ratios mean something on a shared machine and absolute times do not.

==========  ==========================================================================
idle        CPU of a stable server, ms per second
message     seconds that a user message to an echoing program takes (median of 9)
flood       terminal bytes per second of a program that prints without end, and p99 of ``/status`` meanwhile
spinner     CPU of a 10 Hz spinner with one reader of ``/events``, ms per second
memory      RSS of an idle server alone, MB, and seconds from its exec to the first 200 of ``/status``
sessions    one more session through the fork server, 100 starts at once, 100 idle sessions: what ``scripts/bench fork`` prints
soak        1 000 messages: what the program said and what ``/messages`` holds (ours only, its quiet time shortened)
==========  ==========================================================================
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.agent_servers import find_agentapi, free_port  # noqa: E402
from tests.fakes import fake_command  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Running:
    """One agent server under test."""

    process: subprocess.Popen[bytes]
    port: int
    first_answer: float

    def ask(self, method: str, path: str, body: object = None, timeout: float = 60) -> tuple[int, dict[str, object]]:
        """Send one request; return status and JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {"Content-Type": "application/json"} if data else {})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, json.loads(text or b"{}")

    def until_stable(self, timeout: float = 60) -> None:
        """Wait for the status ``stable``."""
        end = time.monotonic() + timeout
        while self.ask("GET", "/status")[1].get("status") != "stable":
            if time.monotonic() > end:
                raise TimeoutError("not stable")
            time.sleep(0.02)

    def cpu(self) -> float:
        """Return the processor seconds that the server itself has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def cpu_per_second(self, seconds: float) -> float:
        """Return ms of processor time per second over *seconds*."""
        before, began = self.cpu(), time.monotonic()
        time.sleep(seconds)
        return 1000 * (self.cpu() - before) / (time.monotonic() - began)

    def rss(self) -> float:
        """Return the resident memory in MB."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        return 0.0

    @contextmanager
    def reader(self) -> Iterator[None]:
        """Read ``/events`` and throw it away."""
        connection = socket.create_connection(("127.0.0.1", self.port))
        connection.sendall(f"GET /events HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n\r\n".encode())

        def drain() -> None:
            with suppress(OSError):
                while connection.recv(1 << 20):
                    pass

        thread = threading.Thread(target=drain, daemon=True)
        thread.start()
        try:
            yield
        finally:
            connection.shutdown(socket.SHUT_RDWR)
            thread.join(10)
            connection.close()


@contextmanager
def run(program: list[str], height: int, *fake: object) -> Iterator[Running]:
    """Run the agent server *program* around a fake agent."""
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        dropped = ("AGENTAPI_", "COLUMNS", "LINES")
        env = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
        env |= {"TMPDIR": directory, "PYTHONPATH": str(ROOT), "FAKE_LOG": f"{directory}/fake.log"}
        argv = [*program, "server", f"--port={port}", "--type=custom", f"--term-height={height}", "--"]
        argv += fake_command(*map(str, fake)) if not isinstance(fake[0], list) else fake[0]
        began = time.monotonic()
        process = subprocess.Popen(
            argv,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        running = Running(process, port, 0.0)
        try:
            while True:
                with suppress(OSError):
                    if running.ask("GET", "/status")[0] == 200:
                        break
                if time.monotonic() - began > 30:
                    raise TimeoutError(f"{program[0]} does not answer")
                time.sleep(0.002)
            running.first_answer = time.monotonic() - began
            yield running
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(15)


def idle(program: list[str], height: int) -> dict[str, float]:
    """CPU of a stable server."""
    with run(program, height, "tui") as server:
        server.until_stable()
        time.sleep(1)
        return {"idle CPU, ms/s": server.cpu_per_second(10)}


def message(program: list[str], height: int) -> dict[str, float]:
    """How long a user message takes."""
    took = []
    with run(program, height, "tui") as server:
        for number in range(9):
            server.until_stable()
            began = time.monotonic()
            status, answer = server.ask("POST", "/message", {"content": f"message {number}", "type": "user"})
            if status != 200:
                raise RuntimeError(answer)
            took.append(time.monotonic() - began)
    return {"user message, s": statistics.median(took)}


FLOOD = "import sys\nrow='x'*60\nn=0\nwhile True:\n    n+=1\n    sys.stdout.write(f'flood line {n} {row}\\r\\n')\n"


def flood(program: list[str], height: int) -> dict[str, float]:
    """Throughput of a flood, and how ``/status`` is answered in it."""
    seconds = 8.0
    took = []
    with run(program, height, [sys.executable, "-c", FLOOD]) as server, server.reader():
        time.sleep(1)
        first, began = _flooded(server), time.monotonic()
        while time.monotonic() - began < seconds:
            asked = time.monotonic()
            server.ask("GET", "/status")
            took.append(time.monotonic() - asked)
            time.sleep(0.02)
        lines = (_flooded(server) - first) / (time.monotonic() - began)
        rss = server.rss()
    took.sort()
    return {
        "flood, MB/s": lines * 80 / 1e6,
        "/status in a flood, median ms": 1000 * statistics.median(took),
        "/status in a flood, p99 ms": 1000 * took[int(len(took) * 0.99)],
        "RSS in a flood, MB": rss,
    }


def _flooded(server: Running) -> int:
    """Return the number of the last whole line of the flood that the server knows of."""
    said = server.ask("GET", "/messages")[1]["messages"]
    rows = [row.split() for row in str(said[-1]["content"]).split("\n")[-4:]]  # type: ignore[index]
    return max(int(row[2]) for row in rows if len(row) >= 4 and row[0] == "flood")


SPINNER = """
import itertools, time
print("hello")
for n in itertools.count():
    print("\\r" + "|/-*"[n % 4] + f" working {n / 10:.1f}s ", end="", flush=True)
    time.sleep(0.1)
"""


def spinner(program: list[str], height: int) -> dict[str, float]:
    """CPU of a spinner with one reader."""
    with run(program, height, [sys.executable, "-c", SPINNER]) as server, server.reader():
        time.sleep(2)
        return {"10 Hz spinner with one reader, CPU ms/s": server.cpu_per_second(10)}


def memory(program: list[str], height: int) -> dict[str, float]:
    """Memory and start of a server alone."""
    with run(program, height, "tui") as server:
        server.until_stable()
        return {"RSS alone, MB": server.rss(), "start alone, s": server.first_answer}


QUICK = """
import sys
from agentproxy.embedded import quiet
from agentproxy.embedded.__main__ import main
quiet.QUIET, quiet.WORK_WINDOW = 0.1, 0.02
sys.exit(main())
"""


def soak(program: list[str], height: int, count: int = 1000) -> dict[str, float]:
    """Messages, each answered by its own words; returns how many answers differ from what the program said."""
    with run([program[0], "-c", QUICK], height, "tui") as server:
        for number in range(count):
            server.until_stable()
            text = f"message {number}\n{'word ' * (number % 40)}end" if number % 3 == 0 else f"message {number % 7}"
            status, answer = server.ask("POST", "/message", {"content": text, "type": "user"})
            if status != 200:
                raise RuntimeError(answer)
        server.until_stable()
        said = server.ask("GET", "/messages")[1]["messages"]
    wrong = 0
    rows = [(str(row["role"]), str(row["content"])) for row in said][1:]  # type: ignore[index,attr-defined]
    for (role, asked), (other, told) in zip(rows[::2], rows[1::2], strict=True):
        same = "".join(told.split()) == "".join(f"reply: {asked}".split())
        wrong += not (role == "user" and other == "agent" and same)
    return {"soak, messages": len(rows) / 2, "soak, answers that differ": wrong}


PARTS: dict[str, Callable[[list[str], int], dict[str, float]]] = {
    "idle": idle,
    "message": message,
    "flood": flood,
    "spinner": spinner,
    "memory": memory,
    "soak": soak,
}


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*list(PARTS)[:-1], "sessions"]
    parser.add_argument("--only", default=",".join(names), help=f"comma list of {', '.join(PARTS)}, sessions")
    parser.add_argument("--agentapi", default=find_agentapi() or "", help="the real agentapi; empty for none")
    parser.add_argument("--height", type=int, default=1000)
    settings = parser.parse_args()
    ours = [sys.executable, "-m", "agentproxy.embedded"]
    print(f"{'measure':42} {'agentapi':>12} {'ours':>12} {'ours/theirs':>12}")
    for name in settings.only.split(","):
        if name == "sessions":
            subprocess.run([sys.executable, str(ROOT / "scripts" / "bench_fork.py")], check=True)
            continue
        theirs = PARTS[name]([settings.agentapi], settings.height) if settings.agentapi and name != "soak" else {}
        for measure, value in PARTS[name](ours, settings.height).items():
            other = theirs.get(measure)
            ratio = f"{value / other:12.3f}" if other else f"{'':12}"
            print(f"{measure:42} {'' if other is None else f'{other:.3f}':>12} {value:12.3f} {ratio}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
