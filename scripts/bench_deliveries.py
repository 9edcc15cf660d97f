#!/usr/bin/env python3
"""Queued messages over many sessions of a fast fake agent: each typed once and in order, and how soon when the agent is idle.

    scripts/bench deliveries                                        100 messages over 10 sessions
    scripts/bench deliveries --sessions 100 --messages 50           half of the measure of a release; run it twice
    scripts/bench deliveries --sessions 2 --messages 1 --idle 100 --agent-server agentapi

What the agents themselves have logged decides. A turn takes at least the two seconds after which an agent server calls its
agent quiet. ``idle`` compares the time from the request to the first key that reaches an idle agent: of a delivery through the
server, and of a ``POST /message`` to an agent server that stands alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.agent_servers import run_agent_server
from tests.daemon import Daemon
from tests.fakes import fake_command
from tests.fakes.log import FakeLog
from tests.waiting import wait_for
from tests.wire import Client

AT_ONCE = 50
"""Requests under way at a time."""


class Bench:
    """One daemon and its sessions, each with the log of its agent."""

    def __init__(self, directory: Path, sessions: int, agent_server: str) -> None:
        (directory / "agentproxy").mkdir()
        agents = {"talker": {"command": fake_command("tui"), "marks": {"idle": [r"^> ?\Z"]}}}
        given = {"agents": agents, "sessions": {"terminal_height": 50}}
        (directory / "agentproxy" / "agentproxy.yaml").write_text(json.dumps(given))
        self.daemon = Daemon(directory, agent_server, {"XDG_CONFIG_HOME": str(directory)})
        self.pool = ThreadPoolExecutor(AT_ONCE)
        logs = [FakeLog(directory / f"agent-{number}.log") for number in range(sessions)]
        try:
            self.logs = dict(zip(self.pool.map(self.start, logs), logs, strict=True))
            list(self.pool.map(lambda one: self.send(one, "first", "?wait=answered&timeout=120"), self.logs))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End everything."""
        self.pool.shutdown(cancel_futures=True)
        self.daemon.stop()

    def start(self, log: FakeLog) -> str:
        """Start a session whose agent writes its own log."""
        body = {"agent": "talker", "environment": {"FAKE_LOG": str(log.path)}}
        reply = Client("127.0.0.1", self.daemon.port).request(
            "POST", "/start", json.dumps(body), {"content-type": "application/json"}, timeout=120
        )
        assert reply.status == 200, reply.body
        return str(reply.json()["session_id"])

    def send(self, session_id: str, text: str, query: str = "") -> Any:
        """Queue a message and return its delivery."""
        reply = Client("127.0.0.1", self.daemon.port).request(
            "POST",
            f"/sessions/{session_id}/messages{query}",
            json.dumps({"content": text}),
            {"content-type": "application/json"},
            timeout=150,
        )
        assert reply.status in (200, 202), reply.body
        return reply.json()

    # the two measures

    def idle(self, count: int) -> list[float]:
        """Send messages one by one to idle agents; return the milliseconds to the first key of each."""
        found, sessions = [], list(self.logs)
        for number in range(count):
            session_id = sessions[number % len(sessions)]
            self.wait_quiet(session_id)
            # no two are alike: agentapi never calls an agent quiet again that answers the same twice
            send = partial(self.send, session_id, f"idle {number}")
            found.append(until_first_key(self.logs[session_id], send))
        return found

    def wait_quiet(self, session_id: str) -> None:
        """Wait until nothing of a session is under way."""
        wait_for("its turn is over", lambda: not self.open_count(session_id), 60, 0.05)

    def open_count(self, session_id: str) -> int:
        """Return how many deliveries of a session are not answered yet; uncertain ones count for ever."""
        query = "state=accepted,typing,delivered,uncertain&limit=1000"
        return len(self.daemon.client.get(f"/sessions/{session_id}/deliveries?{query}").json()["deliveries"])

    def queue(self, messages: int, seconds: float) -> dict[str, Any]:
        """Queue *messages* for each session at once, wait until all are answered, and return what the agents have logged."""
        begin = time.monotonic()
        wanted = [(session_id, f"m {number}") for number in range(messages) for session_id in self.logs]
        for done in [self.pool.submit(self.send, *one) for one in wanted]:
            done.result()
        accepted = time.monotonic() - begin
        while any(map(self.open_count, self.logs)) and time.monotonic() < begin + seconds:
            time.sleep(1)
        entered = [[text for text in log.entered() if text.startswith("m ")] for log in self.logs.values()]
        every = {f"m {number}" for number in range(messages)}
        return {
            "messages": len(wanted),
            "accepted_per_second": round(len(wanted) / accepted, 1),
            "typed": sum(map(len, entered)),
            "doubled": sum(len(one) - len(set(one)) for one in entered),
            "lost": sum(len(every - set(one)) for one in entered),
            # requests that are under way at once have no order: what counts is the one in which they were accepted
            "sessions_in_order": sum(
                one == self.accepted_order(session_id) for one, session_id in zip(entered, self.logs, strict=True)
            ),
            "seconds": round(time.monotonic() - begin, 1),
        }

    def accepted_order(self, session_id: str) -> list[str]:
        """Return the texts of a session's queue in the order in which they were accepted."""
        found = self.daemon.client.get(f"/sessions/{session_id}/deliveries?limit=1000").json()["deliveries"]
        return [one["content"] for one in found if one["content"].startswith("m ")]


def until_first_key(log: FakeLog, send: Any) -> float:
    """Return the milliseconds from before *send* to the first key that reaches the agent."""
    known = len(log.events("bytes"))
    begin = time.monotonic()
    send()
    wait_for("a key", lambda: len(log.events("bytes")) > known, 30, 0.01)
    return float(log.events("bytes")[known]["at"] - begin) * 1000


def alone(count: int, agent_server: str) -> list[float]:
    """Return the same milliseconds for an agent server that stands alone."""
    found = []
    with run_agent_server(agent_server, fake_command("tui")) as server, ThreadPoolExecutor(1) as pool:
        server.wait_stable()
        for number in range(count):
            post = partial(pool.submit, server.client.send, f"idle {number}")
            found.append(until_first_key(server.log, post))
            wait_for("the answer", lambda: len(server.log.said()) == len(server.log.entered()), 30, 0.05)
            wait_for("quiet", lambda: server.client.get("/status").json()["status"] == "stable", 30, 0.05)
    return found


def spread(found: list[float]) -> dict[str, float]:
    """Return the middle and the end of some times."""
    ordered = sorted(found)
    return {
        "p50": round(statistics.median(ordered), 1),
        "p99": round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))], 1),
    }


def measure(directory: Path, given: argparse.Namespace) -> dict[str, Any]:
    """Run the measures and return their figures."""
    begin = time.monotonic()
    bench = Bench(directory, given.sessions, given.agent_server)
    try:
        figures: dict[str, Any] = {"agent_server": given.agent_server, "sessions": given.sessions}
        figures["started_in_seconds"] = round(time.monotonic() - begin, 1)
        if given.idle:
            figures["idle_ms_to_first_key"] = {"delivery": spread(bench.idle(given.idle))}
        if given.messages:
            figures["queued"] = bench.queue(given.messages, given.seconds)
    finally:
        bench.close()
    if given.idle:
        figures["idle_ms_to_first_key"]["agent_server_alone"] = spread(alone(given.idle, given.agent_server))
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=10)
    parser.add_argument("--messages", type=int, default=10, help="queued for each session")
    parser.add_argument("--idle", type=int, default=0, help="messages sent one by one to idle agents")
    parser.add_argument("--seconds", type=float, default=300, help="the longest time for the queues")
    parser.add_argument("--agent-server", default="embedded", choices=("embedded", "agentapi"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        print(json.dumps(measure(Path(directory), given), indent=2))


if __name__ == "__main__":
    main()
