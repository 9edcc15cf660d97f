#!/usr/bin/env python3
"""``kill -9`` of the server at any moment while messages are queued and typed: doubled, lost, uncertain, by the agents' logs.

``python scripts/chaos_deliveries.py [--rounds 20] [--sessions 4] [--agent-server embedded]``

An uncertain delivery is settled as a person would who looks into the agent: discarded when the agent has it, else sent again.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.daemon import Daemon
from tests.fakes import fake_command
from tests.fakes.log import FakeLog


class Chaos:
    """One data directory through many servers."""

    def __init__(self, directory: Path, sessions: int, agent_server: str, chance: random.Random) -> None:
        self.directory, self.agent_server, self.chance = directory, agent_server, chance
        (directory / "agentproxy").mkdir()
        agents = {"talker": {"command": fake_command("tui"), "marks": {"idle": [r"^> ?\Z"]}}}
        (directory / "agentproxy" / "agentproxy.yaml").write_text(json.dumps({"agents": agents}))
        self.daemon = self.serve()
        self.logs = {self.start(log): FakeLog(log) for log in (directory / f"agent-{n}.log" for n in range(sessions))}
        self.accepted: dict[str, list[str]] = {session_id: [] for session_id in self.logs}
        self.uncertain = 0
        self.sent = 0

    def serve(self) -> Daemon:
        """Start a server on the data."""
        return Daemon(self.directory, self.agent_server, {"XDG_CONFIG_HOME": str(self.directory)})

    def start(self, log: Path) -> str:
        """Start a session whose agent writes its own log."""
        return self.daemon.start(agent="talker", environment={"FAKE_LOG": str(log)})

    def round(self) -> None:
        """Send something to every session, kill the server at some moment, and start the next one."""
        for session_id, accepted in self.accepted.items():
            self.sent += 1
            text = f"message {self.sent}"
            reply = self.daemon.client.post_json(f"/sessions/{session_id}/messages", {"content": text}, timeout=60)
            assert reply.status == 202, reply.body
            accepted.append(text)
        time.sleep(self.chance.uniform(0, 2.5))
        self.daemon.process.send_signal(signal.SIGKILL)
        self.daemon.process.wait(30)
        self.daemon = self.serve()
        self.settle_uncertain()

    def deliveries(self, session_id: str, states: str) -> list[Any]:
        """Return the deliveries of a session in some states."""
        found: list[Any] = self.daemon.client.get(
            f"/sessions/{session_id}/deliveries?limit=1000&state={states}"
        ).json()["deliveries"]
        return found

    def settle_uncertain(self) -> None:
        """Decide, as a person would, about what is uncertain."""
        for session_id, log in self.logs.items():
            for one in self.deliveries(session_id, "uncertain"):
                self.uncertain += 1
                verb = "discard" if one["content"] in log.entered() else "retry"
                self.daemon.client.post_json(f"/sessions/{session_id}/deliveries/{one['delivery_id']}/{verb}", {})

    def finish(self, seconds: float) -> None:
        """Wait until nothing is under way."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.settle_uncertain()
            if not any(self.deliveries(one, "accepted,typing,delivered,uncertain") for one in self.logs):
                return
            time.sleep(1)

    def figures(self, rounds: int) -> dict[str, Any]:
        """Return what the agents' logs say."""
        entered = {session_id: log.entered() for session_id, log in self.logs.items()}
        return {
            "rounds": rounds,
            "messages": self.sent,
            "typed": sum(map(len, entered.values())),
            "doubled": sum(len(one) - len(set(one)) for one in entered.values()),
            "lost": sum(len(set(self.accepted[one]) - set(entered[one])) for one in self.logs),
            "sessions_in_order": sum(entered[one] == self.accepted[one] for one in self.logs),
            "uncertain": self.uncertain,
        }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--sessions", type=int, default=4)
    parser.add_argument("--agent-server", default="embedded", choices=("embedded", "agentapi"))
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        chaos = Chaos(Path(directory), given.sessions, given.agent_server, random.Random(given.seed))
        try:
            for _round in range(given.rounds):
                chaos.round()
            chaos.finish(60 + 5 * given.rounds)
            print(json.dumps(chaos.figures(given.rounds), indent=2))
        finally:
            chaos.daemon.stop()


if __name__ == "__main__":
    main()
