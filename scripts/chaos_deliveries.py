#!/usr/bin/env python3
"""``kill -9`` of the server between any two steps of its deliveries: doubled, lost, uncertain, by the agents' own logs.

    python scripts/chaos_deliveries.py                         20 rounds
    python scripts/chaos_deliveries.py --rounds 100            half of the figures of a release; run it with two seeds
    python scripts/chaos_deliveries.py --agent-server agentapi

Each round queues a message for every session that has none under way, all at a time, and the server dies at a step that is
drawn by lot: a commit, a message to the agent server, or the instant before or behind it (``dying_server.py``). Whoever had no
answer asks again with the same Idempotency-Key. An uncertain delivery is settled as a person would who looks into the agent:
discarded when the agent has it, else sent again.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.daemon import Daemon
from tests.fakes import fake_command
from tests.fakes.log import FakeLog
from tests.wire import Client

DYING = str(Path(__file__).with_name("dying_server.py"))
OPEN = "accepted,typing,delivered,uncertain"
STEPS_OF_ONE = 13
"""About as many steps as one message takes."""
ROUND = 8.0
"""Seconds after which a round without a death ends with one all the same."""


class Chaos:
    """One data directory through many servers."""

    def __init__(self, directory: Path, sessions: int, agent_server: str, chance: random.Random) -> None:
        self.directory, self.agent_server, self.chance = directory, agent_server, chance
        (directory / "agentproxy").mkdir()
        agents = {"talker": {"command": fake_command("tui"), "marks": {"idle": [r"^> ?\Z"]}}}
        given = {"agents": agents, "sessions": {"terminal_height": 50}}
        (directory / "agentproxy" / "agentproxy.yaml").write_text(json.dumps(given))
        self.died = directory / "died"
        self.daemon = self.serve()
        self.logs = {self.start(log): FakeLog(log) for log in (directory / f"agent-{n}.log" for n in range(sessions))}
        self.wanted: dict[str, list[str]] = {session_id: [] for session_id in self.logs}
        self.unanswered: dict[str, list[str]] = {session_id: [] for session_id in self.logs}
        self.deaths: Counter[str] = Counter()
        self.uncertain: dict[str, str] = {}
        self.sent = 0

    def serve(self, last_step: int = 0) -> Daemon:
        """Start a server on the data; one with a *last_step* may die before it listens."""
        settings = {"XDG_CONFIG_HOME": str(self.directory), "DIE_AT": str(last_step), "DIED": str(self.died)}
        return Daemon(self.directory, self.agent_server, settings, program=(DYING,))

    def start(self, log: Path) -> str:
        """Start a session whose agent writes its own log."""
        return self.daemon.start(agent="talker", environment={"FAKE_LOG": str(log)})

    def round(self, number: int) -> None:
        """Have a server die at some step of one message to each session, then let the next one go on."""
        self.daemon.crash()
        try:
            self.daemon = self.serve(self.chance.randint(1, STEPS_OF_ONE * len(self.logs)))
        except (AssertionError, TimeoutError):
            self.note_death()
            self.daemon = self.serve(self.chance.randint(1, STEPS_OF_ONE * len(self.logs)))
        for session_id in self.logs:
            if not self.unanswered[session_id] and not self.deliveries(session_id, OPEN):
                self.wanted[session_id].append(f"message {number}")
                self.unanswered[session_id].append(f"message {number}")
        with ThreadPoolExecutor(len(self.logs)) as pool:
            list(pool.map(self.say_all, self.logs))
        end = time.monotonic() + ROUND
        while time.monotonic() < end and self.daemon.process.poll() is None and self.open_ones():
            self.settle_uncertain()
            time.sleep(0.05)
        self.note_death()

    def note_death(self) -> None:
        """Note where a server has died."""
        self.deaths[self.died.read_text() if self.died.exists() else "at its end"] += 1
        self.died.unlink(missing_ok=True)

    def say_all(self, session_id: str) -> None:
        """Send what was not answered yet, in order, each with its key."""
        client = Client("127.0.0.1", self.daemon.port)
        while self.unanswered[session_id]:
            text = self.unanswered[session_id][0]
            try:
                reply = client.post_json(
                    f"/sessions/{session_id}/messages", {"content": text}, headers={"Idempotency-Key": text}, timeout=30
                )
            except (OSError, HTTPException):
                return
            assert reply.status == 202, reply.body
            self.unanswered[session_id].pop(0)

    def deliveries(self, session_id: str, states: str) -> list[Any]:
        """Return the deliveries of a session in some states; those of a dead server are none."""
        target = f"/sessions/{session_id}/deliveries?limit=1000&state={states}"
        try:
            found: list[Any] = Client("127.0.0.1", self.daemon.port).get(target).json()["deliveries"]
        except (OSError, HTTPException):
            return []
        return found

    def open_ones(self) -> list[Any]:
        """Return what is under way."""
        return [one for each in self.logs for one in self.deliveries(each, OPEN)]

    def settle_uncertain(self) -> None:
        """Decide, as a person would, about what is uncertain."""
        for session_id, log in self.logs.items():
            for one in self.deliveries(session_id, "uncertain"):
                self.uncertain[one["delivery_id"]] = one["reason"]
                verb = "discard" if one["content"] in log.entered() else "retry"
                target = f"/sessions/{session_id}/deliveries/{one['delivery_id']}/{verb}"
                try:
                    Client("127.0.0.1", self.daemon.port).post_json(target, {})
                except (OSError, HTTPException):
                    return

    def finish(self, seconds: float) -> None:
        """Let a server that does not die finish everything."""
        self.daemon.crash()
        self.daemon = self.serve()
        for session_id in self.logs:
            self.say_all(session_id)
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.open_ones():
            self.settle_uncertain()
            time.sleep(0.2)

    def close(self) -> None:
        """End everything: a server that died has left its agents to the next one."""
        if self.daemon.process.poll() is not None:
            self.daemon = self.serve()
        self.daemon.stop()

    def figures(self) -> dict[str, Any]:
        """Return what the agents' logs say."""
        entered = {session_id: log.entered() for session_id, log in self.logs.items()}
        return {
            "deaths": sum(self.deaths.values()),
            "died": dict(self.deaths.most_common()),
            "messages": sum(map(len, self.wanted.values())),
            "typed": sum(map(len, entered.values())),
            "doubled": sum(len(one) - len(set(one)) for one in entered.values()),
            "lost": sum(len(set(self.wanted[one]) - set(entered[one])) for one in self.logs),
            "sessions_in_order": sum(entered[one] == self.wanted[one] for one in self.logs),
            "uncertain": len(self.uncertain),
            "why": dict(Counter(self.uncertain.values())),
        }


def main() -> None:
    """Measure and print; the exit status is 1 when anything was doubled or lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--sessions", type=int, default=3)
    parser.add_argument("--agent-server", default="embedded", choices=("embedded", "agentapi"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=200, help="no round begins later")
    given = parser.parse_args()
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        chaos = Chaos(Path(directory), given.sessions, given.agent_server, random.Random(given.seed))
        try:
            for number in range(given.rounds):
                if time.monotonic() - begin < given.seconds:
                    chaos.round(number)
                    print(f"round {number + 1}: {dict(chaos.deaths)}", file=sys.stderr, flush=True)
            chaos.finish(60)
            figures = chaos.figures()
            print(json.dumps({**figures, "seconds": round(time.monotonic() - begin, 1)}, indent=2))
        finally:
            chaos.close()
    sys.exit(bool(figures["doubled"] or figures["lost"]))


if __name__ == "__main__":
    main()
