"""Independent clients of a server that dies, and their log: what they were told with 2xx."""

from __future__ import annotations

import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from mortal_server import NoAnswerError, Server

MOST_SESSIONS = 10


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
