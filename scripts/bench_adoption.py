"""How long a server takes to go on with the sessions of the one before it, which was killed.

python scripts/bench_adoption.py --sessions 200
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from mortal_server import Server


def ready(server: Server) -> int:
    """Return how many sessions are ready."""
    _status, body = server.ask("GET", "/search?status=active&limit=1000")
    return sum(one["phase"] == "ready" for one in body["sessions"])


def connected(server: Server, wanted: int) -> float:
    """Return the seconds until the status of so many agents is known again."""
    began = time.monotonic()
    while time.monotonic() < began + 60:
        _status, body = server.ask("GET", "/search?status=active&limit=1000")
        if sum(one["agent_status"] is not None for one in body["sessions"]) >= wanted:
            break
        time.sleep(0.02)
    return time.monotonic() - began


def measure(sessions: int, agent_server: str, directory: Path) -> None:
    """Start sessions, kill the server a few times, and print how long the next one took."""
    server = Server(directory, agent_server)
    try:
        server.start()
        empty = server.starts[0]
        for number in range(sessions):
            server.ask("POST", "/start?wait=none", {"tags": {"number": str(number)}})
            while number - ready(server) > 50:
                time.sleep(0.1)
        while ready(server) < sessions:
            time.sleep(0.2)
        print(f"without sessions: {empty:.2f} s from exec to the first answer, {server.efforts[0]:.2f} s of CPU")
        for _round in range(3):
            time.sleep(random.uniform(0.5, 1))
            server.kill()
            server.start()
            told = server.starts[-1]
            used = server.efforts[-1] - server.efforts[0]
            print(f"{ready(server)} of {sessions} ready {told:.2f} s after exec ({told - empty:+.2f} s; "
                  f"{used:+.2f} s of CPU)")  # fmt: skip
            print(f"  all observed {connected(server, sessions):.2f} s later")
    finally:
        server.stop()


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--sessions", type=int, default=50)
    parser.add_argument("--agent-server", default="embedded", choices=("embedded", "agentapi"))
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="agentproxy-adoption-"))
    try:
        measure(options.sessions, options.agent_server, directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
