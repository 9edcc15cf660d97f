#!/usr/bin/env python3
"""Queued messages over many sessions of a fast fake agent: each typed once and in order, and how soon when idle.

``python scripts/bench_deliveries.py [--sessions 10] [--messages 10] [--idle 20]``; the full measure is 100
sessions and 100 messages each.
The agents' own logs decide what was typed. A turn takes at least the two seconds after which an agent server calls its agent quiet.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.daemon import Daemon
from tests.fakes import fake_command
from tests.fakes.log import FakeLog


def start(daemon: Daemon, log: Path) -> str:
    """Start a session whose agent writes its own log."""
    return daemon.start(agent="talker", environment={"FAKE_LOG": str(log)})


def send(daemon: Daemon, session_id: str, text: str, query: str = "") -> Any:
    """Queue a message and return its delivery."""
    reply = daemon.client.post_json(f"/sessions/{session_id}/messages{query}", {"content": text}, timeout=120)
    assert reply.status in (200, 202), reply.body
    return reply.json()


def milliseconds(delivery: Any, begin: str, end: str) -> float:
    """Return the time between two moments of a delivery."""
    return (datetime.fromisoformat(delivery[end]) - datetime.fromisoformat(delivery[begin])).total_seconds() * 1000


def open_count(daemon: Daemon, session_id: str) -> int:
    """Return how many deliveries of a session are not answered yet; uncertain ones count for ever."""
    query = "state=accepted,typing,delivered,uncertain&limit=1000"
    return len(daemon.client.get(f"/sessions/{session_id}/deliveries?{query}").json()["deliveries"])


def wait_until_answered(daemon: Daemon, sessions: list[str], seconds: float) -> None:
    """Wait until nothing is under way, or the time is over."""
    end = time.monotonic() + seconds
    for session_id in sessions:
        while open_count(daemon, session_id) and time.monotonic() < end:
            time.sleep(1)


def measure(directory: Path, sessions_wanted: int, messages: int, idle: int, agent_server: str) -> dict[str, Any]:
    """Run the measure and return its figures."""
    (directory / "agentproxy").mkdir()
    agents = {"talker": {"command": fake_command("tui"), "marks": {"idle": [r"^> ?\Z"]}}}
    (directory / "agentproxy" / "agentproxy.yaml").write_text(json.dumps({"agents": agents}))
    daemon = Daemon(directory, agent_server, {"XDG_CONFIG_HOME": str(directory)})
    logs = [directory / f"agent-{number}.log" for number in range(sessions_wanted)]
    try:
        with ThreadPoolExecutor(8) as pool:
            sessions = list(pool.map(lambda log: start(daemon, log), logs))
            for session_id in sessions:
                send(daemon, session_id, "first", "?wait=answered")
            one_by_one = [send(daemon, sessions[n % len(sessions)], f"idle {n}", "?wait=answered") for n in range(idle)]
            begin = time.monotonic()
            list(pool.map(lambda one: send(daemon, *one), [(s, f"m {n}") for n in range(messages) for s in sessions]))
            accepted = time.monotonic() - begin
            wait_until_answered(daemon, sessions, 60 + 6 * messages)
        wanted = [f"m {number}" for number in range(messages)]
        entered = [[text for text in FakeLog(log).entered() if text.startswith("m ")] for log in logs]
        waits = sorted(milliseconds(one, "created_at", "typed_at") for one in one_by_one)
        typing = sorted(milliseconds(one, "typed_at", "delivered_at") for one in one_by_one)
        return {
            "sessions": sessions_wanted,
            "messages": messages * sessions_wanted,
            "accepted_per_second": round(messages * sessions_wanted / accepted, 1),
            "typed": sum(map(len, entered)),
            "doubled": sum(len(one) - len(set(one)) for one in entered),
            "lost": sum(len(set(wanted) - set(one)) for one in entered),
            "sessions_in_order": sum(sorted(one, key=lambda text: int(text[2:])) == one for one in entered),
            "idle_accepted_to_typing_ms": {
                "p50": round(statistics.median(waits), 2),
                "p99": round(waits[min(len(waits) - 1, int(len(waits) * 0.99))], 2),
            },
            "idle_typing_to_delivered_ms": {"p50": round(statistics.median(typing), 1), "most": round(typing[-1], 1)},
            "seconds": round(time.monotonic() - begin, 1),
        }
    finally:
        daemon.stop()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=10)
    parser.add_argument("--messages", type=int, default=10, help="of each session")
    parser.add_argument("--idle", type=int, default=20, help="messages sent one by one to idle agents")
    parser.add_argument("--agent-server", default="embedded", choices=("embedded", "agentapi"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        found = measure(Path(directory), given.sessions, given.messages, given.idle, given.agent_server)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
