"""Kill the server at random moments under load, and count what that lost. An independent client's log is the judge.

The server runs as a child process with a data directory of its own. Clients start, talk to, change, watch and delete
sessions and write down every 2xx answer; the server is killed with SIGKILL and started again, round after round. At the
end what was answered with 2xx is compared with what the server shows. The exit status is 1 when anything is not as
it was promised.

    scripts/chaos                            20 rounds
    scripts/chaos --rounds 200               the figures of a release
    scripts/chaos --program /x/agentproxy    those of an installed server; else the one of this environment
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from acknowledged import Clients
from judging import judge, judge_processes, settle
from mortal_server import NoAnswerError, Server, inside

COUNTS = (
    "lost acknowledged sessions",
    "lost acknowledged changes",
    "lost acknowledged messages",
    "lost acknowledged events",
    "acknowledged deletions undone",
    "doubled messages",
    "doubled events",
    "streams that could not resume",
    "orphans",
    "wrongly killed",
    "dead agents reported late",
    "servers that did not start",
)


def kill_an_agent(server: Server, clients: Clients, counts: Counter[str], delays: list[float]) -> None:
    """Kill one agent server, or the agent in it, and take the time until its end is shown."""
    ids = clients.living()
    if not ids:
        return
    session_id = random.choice(ids)
    wanted = server.directory / "data" / "sessions" / session_id
    leaders = [one for one in inside(wanted) if os.getsid(one.pid) == one.pid]
    if not leaders:
        return
    clients.told[session_id].killed = True
    began = time.monotonic()
    random.choice(leaders).kill()
    with contextlib.suppress(NoAnswerError):
        while time.monotonic() < began + 10:
            if server.ask("GET", f"/sessions/{session_id}")[1].get("phase") in ("stopping", "ended"):
                delays.append(time.monotonic() - began)
                break
            time.sleep(0.02)
        else:
            delays.append(10)
        counts["dead agents reported late"] += delays[-1] > 1


def run(rounds: int, within: float, server: Server) -> int:
    """Run the rounds and print the counts; return the exit status.

    :param within: seconds after which no further round begins.
    """
    counts: Counter[str] = Counter()
    delays: list[float] = []
    notes: list[str] = []
    directory = server.directory
    strangers = [subprocess.Popen(["sleep", "100000"], cwd=directory, start_new_session=True) for _number in range(3)]
    try:
        if not server.start():
            print(f"the server does not start; see {server.log}")
            return 1
        clients = Clients(server)
        clients.begin()
        until, done = time.monotonic() + within, 0
        for number in range(rounds):
            if time.monotonic() > until:
                break
            done += 1
            time.sleep(random.uniform(0.3, 2.5))
            if number % 4 == 3:
                kill_an_agent(server, clients, counts, delays)
            server.kill()
            if number % 5 == 4:  # the next one dies, too, while it takes over
                server.begin()
                time.sleep(random.uniform(0.2, 1.5))
                server.kill()
            counts["servers that did not start"] += not server.start()
        clients.end()
        settle(server)
        judge(server, clients, counts, notes)
        counts["streams that could not resume"] += len(clients.trouble)
        judge_processes(server, strangers, counts)
    finally:
        for one in [*strangers, *([server._process] if server._process else [])]:
            one.kill()
            one.wait(30)
        for process in inside(directory / "data"):
            process.kill()
    report(done, server, clients, counts, delays, [*notes, *clients.trouble])
    return 1 if any(counts[name] for name in COUNTS) else 0


def report(
    rounds: int, server: Server, clients: Clients, counts: Counter[str], delays: list[float], notes: list[str]
) -> None:
    """Print what was done and what it cost."""
    seen = sum(len(one) for told in clients.told.values() for one in told.watched)
    print(f"{rounds} deaths of {server.program}, and {rounds // 5} of one that was taking over")
    print(f"{len(clients.told)} sessions, {seen} events seen, {clients.resumed} streams resumed")
    print("answers:", ", ".join(f"{name}: {count}" for name, count in sorted(clients.asked.items())))
    print(f"from start to answering: median {sorted(server.starts)[len(server.starts) // 2]:.2f} s, "
          f"longest {max(server.starts):.2f} s")  # fmt: skip
    if delays:
        print(f"{len(delays)} agents and agent servers killed, shown as ended after {max(delays):.2f} s at most")
    for name in COUNTS:
        print(f"{counts[name]:6}  {name}")
    for note in notes[:20]:
        print("  ", note)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=20, help="deaths of the server (20)")
    parser.add_argument("--agent-server", default="embedded", choices=("embedded", "agentapi"))
    parser.add_argument("--program", help="the server to kill; the agentproxy of this environment")
    parser.add_argument("--within", type=float, default=3600, help="seconds after which no further round begins (3600)")
    parser.add_argument("--store-url", help="an empty database; a file without it")
    parser.add_argument("--seed", type=int, help="of the random moments")
    parser.add_argument("--keep", action="store_true", help="leave the directory with the log and the store")
    options = parser.parse_args()
    random.seed(options.seed)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended all the same
    directory = Path(tempfile.mkdtemp(prefix="agentproxy-chaos-"))
    try:
        return run(
            options.rounds, options.within, Server(directory, options.agent_server, options.program, options.store_url)
        )
    finally:
        if options.keep:
            print("kept:", directory)
        else:
            shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
