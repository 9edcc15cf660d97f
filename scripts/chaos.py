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
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

MOST_SESSIONS = 10
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


@dataclass
class Told:
    """What clients were told of one session with 2xx.

    :param maybe_changed: a change was asked for and its answer never came.
    :param watched: what each reader of its stream got, from the first event on, over the deaths of the server.
    """

    messages: list[str] = field(default_factory=list)
    description: str | None = None
    maybe_changed: bool = False
    deleting: bool = False
    deleted: bool = False
    killed: bool = False
    watched: list[dict[int, str]] = field(default_factory=list)


class NoAnswerError(Exception):
    """The server was not there, or went away before it answered."""


class Server:
    """The server under test, killed and started again on one port and one data directory."""

    def __init__(
        self, directory: Path, agent_server: str, program: str | None = None, store_url: str | None = None
    ) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.directory = directory
        self.program = program or str(Path(sys.executable).parent / "agentproxy")
        self.log = directory / "server.log"
        self.starts: list[float] = []
        self.efforts: list[float] = []
        self.children: list[psutil.Process] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(directory),
            "AGENTPROXY_DATA_DIR": str(directory / "data"),
            "AGENTPROXY_AGENT_SERVER": agent_server,
            "AGENTPROXY_DEFAULT_AGENT": "demo",
            "AGENTPROXY_START_PORT": "23000",
            **({"AGENTPROXY_STORE_URL": store_url} if store_url else {}),
        }

    def begin(self) -> subprocess.Popen[bytes]:
        """Start it."""
        argv = [self.program, "server", "--port", str(self.port)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                argv, cwd=self.directory, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        return self._process

    def start(self) -> bool:
        """Start it and wait until it answers; return whether it does."""
        began = time.monotonic()
        process = self.begin()
        while time.monotonic() < began + 60 and process.poll() is None:
            with contextlib.suppress(NoAnswerError):
                if self.ask("GET", "/health", timeout=5)[0] == 200:
                    self.starts.append(time.monotonic() - began)
                    used = psutil.Process(process.pid).cpu_times()
                    self.efforts.append(used.user + used.system)
                    return True
            time.sleep(0.02)
        return False

    def kill(self) -> None:
        """Kill it, and nothing else."""
        assert self._process is not None
        with contextlib.suppress(psutil.Error):
            self.children += psutil.Process(self._process.pid).children()
        self._process.kill()
        self._process.wait(30)

    def stop(self) -> None:
        """End it politely."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(90)

    def ask(self, method: str, path: str, body: object = None, timeout: float = 30) -> tuple[int, Any]:
        """Send a request and return status and JSON of its answer.

        :raises NoAnswerError: there was none.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, {"Content-Type": "application/json"} if data else {})
            answer = connection.getresponse()
            content = answer.read()
            return answer.status, json.loads(content) if content.startswith((b"{", b"[")) else content
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise NoAnswerError(str(error)) from error
        finally:
            connection.close()


class Clients:
    """The independent clients: what they ask, and the log of what they were told."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.told: dict[str, Told] = {}
        self.asked: Counter[str] = Counter()
        self.resumed = 0
        self.trouble: list[str] = []
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._number = 0
        self._threads = [
            threading.Thread(target=self._run, args=(work,), daemon=True)
            for work in (self._start, self._say, self._say, self._change, self._delete, self._watch, self._watch)
        ]

    def begin(self) -> None:
        """Begin to ask."""
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Ask nothing more, and wait for the answers under way."""
        self._over.set()
        for thread in self._threads:
            thread.join(60)

    def living(self) -> list[str]:
        """Return the sessions that nobody has asked to end."""
        with self._lock:
            return [one for one, told in self.told.items() if not told.deleting and not told.killed]

    def _run(self, work: Callable[[], None]) -> None:
        while not self._over.is_set():
            try:
                work()
            except NoAnswerError:
                time.sleep(0.05)

    def _pick(self) -> str | None:
        ids = self.living()
        if not ids:
            time.sleep(0.05)
        return random.choice(ids) if ids else None

    def _start(self) -> None:
        if len(self.living()) >= MOST_SESSIONS:
            time.sleep(0.1)
            return
        wait = random.choice(("none", "listening"))
        status, body = self.server.ask("POST", f"/start?wait={wait}", {"tags": {"made": "by chaos"}})
        self.asked[f"start {status}"] += 1
        if status == 200:
            with self._lock:
                self.told[body["session_id"]] = Told()

    def _say(self) -> None:
        session_id = self._pick()
        if session_id is None:
            return
        with self._lock:
            self._number += 1
            text = f"word{self._number}"
        status, _body = self.server.ask("POST", f"/{session_id}/message", {"content": text, "type": "user"})
        self.asked[f"message {status}"] += 1
        if status == 200:
            self.told[session_id].messages.append(text)
        else:
            time.sleep(0.1)

    def _change(self) -> None:
        session_id = self._pick()
        if session_id is None:
            return
        told = self.told[session_id]
        with self._lock:
            self._number += 1
            text = f"description {self._number}"
        told.maybe_changed = True
        status, _body = self.server.ask("PATCH", f"/sessions/{session_id}", {"description": text})
        self.asked[f"change {status}"] += 1
        if status == 200:
            told.description, told.maybe_changed = text, False
        time.sleep(0.02)

    def _delete(self) -> None:
        time.sleep(random.uniform(0.2, 1.2))
        session_id = self._stray() or self._pick()
        if session_id is None or (session_id in self.told and len(self.living()) < MOST_SESSIONS // 2):
            return
        self.told.setdefault(session_id, Told()).deleting = True
        status, _body = self.server.ask("DELETE", f"/sessions/{session_id}")
        self.asked[f"delete {status}"] += 1
        self.told[session_id].deleted = status == 200

    def _stray(self) -> str | None:
        """Return a session whose start was never answered: the server has finished it, and nobody knows it."""
        _status, body = self.server.ask("GET", "/search?status=active&limit=1000")
        ready = [one["session_id"] for one in body["sessions"] if one["phase"] == "ready"]
        time.sleep(1)  # an answer may be on its way
        return next((one for one in ready if one not in self.told), None)

    def _watch(self) -> None:
        """Follow one session's events over the deaths of the server, always from the last one seen."""
        session_id = self._pick()
        if session_id is None:
            return
        seen: dict[int, str] = {}
        last, until = 0, time.monotonic() + random.uniform(2, 8)
        broken = False
        while time.monotonic() < until and not self._over.is_set() and not self.told[session_id].deleting:
            try:
                for number, text in self._stream(session_id, last):
                    if number <= last:
                        self.trouble.append(f"stream of {session_id} went back from {last} to {number}")
                    self.resumed += broken
                    broken, last = False, number
                    seen[number] = text
                    if time.monotonic() > until or self._over.is_set():
                        break
            except NoAnswerError:
                broken = True
                time.sleep(0.05)
        with self._lock:
            self.told[session_id].watched.append(seen)

    def _stream(self, session_id: str, after: int) -> Iterator[tuple[int, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=3)
        try:
            headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
            connection.request("GET", f"/sessions/{session_id}/events", headers=headers)
            answer = connection.getresponse()
            if answer.status != 200:
                if not self.told[session_id].deleting:
                    self.trouble.append(f"stream of {session_id} after {after}: {answer.status} {answer.read()!r}")
                raise NoAnswerError(str(answer.status))
            number = 0
            for line in answer:
                if line.startswith(b"id:"):
                    number = int(line[3:])
                elif line.startswith(b"data:") and number:
                    yield number, line[5:].decode().strip()
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise NoAnswerError(str(error)) from error
        finally:
            connection.close()


def settle(server: Server) -> None:
    """Wait until no session is on its way."""
    until = time.monotonic() + 90
    while time.monotonic() < until:
        _status, body = server.ask("GET", "/search?status=active&limit=1000")
        if all(one["phase"] == "ready" and one["agent_status"] == "stable" for one in body["sessions"]):
            return
        time.sleep(0.2)


def journal(server: Server, session_id: str) -> list[dict[str, Any]]:
    """Return all events of a session."""
    found: list[dict[str, Any]] = []
    while True:
        after = found[-1]["id"] if found else 0
        _status, body = server.ask("GET", f"/sessions/{session_id}/events?after={after}&limit=1000")
        if not body["events"]:
            return found
        found += body["events"]


def transcript(server: Server, session_id: str) -> list[str]:
    """Return what was said in a session, as the server has kept it."""
    found: list[dict[str, Any]] = []
    while True:
        after = f"after={found[-1]['id']}&" if found else ""
        _status, body = server.ask("GET", f"/sessions/{session_id}/messages?{after}limit=1000")
        if not body["messages"]:
            return [row["content"].strip() for row in found if row["role"] == "user"]
        found += body["messages"]


def judge_stream(seen: dict[int, str], events: dict[int, Any], counts: Counter[str], notes: list[str]) -> None:
    """Compare what one reader got with the journal: all of it up to its last event, and the same."""
    expected = {number for number in events if number <= max(seen, default=0)}
    if missed := expected - seen.keys():
        counts["streams that could not resume"] += 1
        notes.append(f"a stream missed {sorted(missed)[:5]} of {len(expected)}")
    counts["lost acknowledged events"] += len(seen.keys() - events.keys())
    counts["lost acknowledged events"] += sum(
        json.loads(seen[one]) != events[one] for one in seen.keys() & events.keys()
    )


def judge(server: Server, clients: Clients, counts: Counter[str], notes: list[str]) -> None:
    """Compare what clients were told with what the server shows."""
    for session_id, told in clients.told.items():
        status, shown = server.ask("GET", f"/sessions/{session_id}")
        if told.deleted and status != 404:
            counts["acknowledged deletions undone"] += 1
        if told.deleting:
            continue
        if status != 200:
            counts["lost acknowledged sessions"] += 1
            notes.append(f"{session_id}: {status} {shown}")
            continue
        if shown["phase"] != "ready" and not told.killed:
            counts["wrongly killed"] += 1
            notes.append(f"{session_id}: {shown.get('ending')}")
        if told.description is not None and not told.maybe_changed and shown["description"] != told.description:
            counts["lost acknowledged changes"] += 1
        judge_history(server, session_id, told, counts, notes)


def judge_history(server: Server, session_id: str, told: Told, counts: Counter[str], notes: list[str]) -> None:
    """Compare what was said and seen in one session with its transcript and its journal."""
    said = Counter(transcript(server, session_id))
    missing = [text for text in told.messages if not said[text]]
    if not told.killed:  # what an agent takes with it when it is killed was nobody's to keep
        counts["lost acknowledged messages"] += len(missing)
    counts["doubled messages"] += sum(count - 1 for text, count in said.items() if re.fullmatch(r"word\d+", text))
    if missing and not told.killed:
        notes.append(f"{session_id}: {missing} not among {len(said)} messages")
    events = journal(server, session_id)
    users = Counter(
        (event["data"]["id"], event["data"]["content"])
        for event in events
        if event["type"] == "message" and event["data"]["role"] == "user"
    )
    counts["doubled events"] += sum(count - 1 for count in users.values())
    by_number = {event["id"]: event for event in events}
    for seen in told.watched:
        judge_stream(seen, by_number, counts, notes)


def judge_processes(server: Server, strangers: list[subprocess.Popen[bytes]], counts: Counter[str]) -> None:
    """Delete everything, stop the server, and look what is left."""
    _status, body = server.ask("GET", "/search?limit=1000")
    for one in body["sessions"]:
        server.ask("DELETE", f"/sessions/{one['session_id']}", timeout=60)
    server.stop()
    counts["orphans"] += len(inside(server.directory / "data"))
    _gone, left = psutil.wait_procs([one for one in server.children if not is_dead(one)], timeout=5)
    counts["orphans"] += sum(not is_dead(one) for one in left)
    counts["orphans"] += len(list((server.directory / "data" / "sessions").iterdir()))
    counts["wrongly killed"] += sum(one.poll() is not None for one in strangers)


def is_dead(process: psutil.Process) -> bool:
    """Return whether a process has ended, reaped or not."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.Error:
        return True


def inside(directory: Path) -> list[psutil.Process]:
    """Return the living processes that work below a directory."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cwd().startswith(str(directory)) and not is_dead(process):
                found.append(process)
    return found


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
