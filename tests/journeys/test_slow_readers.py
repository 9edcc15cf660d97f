"""A client that reads slowly, or not at all, costs the server no memory, and gets everything when it reads."""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from tests.daemon import Daemon
from tests.waiting import wait_for

EVENTS = 12_000
TEXT = "x" * 4000
MEBIBYTE = 1024 * 1024
MOST = 24 * MEBIBYTE
"""What a server may grow while 46 MiB wait for a reader; the WebSocket library alone takes 14."""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon with the demo agent; ended afterwards."""
    running = Daemon(tmp_path)
    yield running
    running.stop()


def fill(directory: Path, session_id: str) -> int:
    """Put many long events into the journal of a session and return the number of the last one."""
    data = json.dumps({"message": TEXT, "level": "error"})
    with closing(sqlite3.connect(directory / "data" / "agentproxy.db", timeout=20)) as database, database:
        database.execute("BEGIN IMMEDIATE")
        first = int(database.execute("SELECT value FROM counters WHERE name = 'event'").fetchone()[0]) + 1
        rows = ((first + n, session_id, "agent.error", 1_700_000_000_000_000 + n, data) for n in range(EVENTS))
        database.executemany("INSERT INTO events (number, session_id, kind, time, data) VALUES (?, ?, ?, ?, ?)", rows)
        database.execute("UPDATE counters SET value = value + ? WHERE name = 'event'", (EVENTS,))
    return first + EVENTS - 1


def rest(connection: socket.socket, last: int) -> bytes:
    """Read until the event with the number *last* has come whole."""
    found, tail, mark = [], b"", f'"id":{last},'.encode()
    while b"}}" not in tail.partition(mark)[2]:
        data = connection.recv(1 << 20)
        assert data, "the stream ended"
        found.append(data)
        tail = (tail + data)[-9000:]
    return b"".join(found)


HANDSHAKE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n"
)


@pytest.mark.parametrize("form", ["Accept: text/event-stream\r\n", HANDSHAKE], ids=["stream", "websocket"])
def test_a_reader_that_does_not_read(daemon: Daemon, tmp_path: Path, form: str) -> None:
    """Tens of megabytes wait in the store, not in the server; afterwards all come, in order, none twice."""
    session_id = daemon.start()
    with daemon.client.events(f"/{session_id}/events") as events:
        events.until_stable()
    last = fill(tmp_path, session_id)
    process = psutil.Process(daemon.process.pid)
    with socket.create_connection((daemon.client.host, daemon.client.port), 30) as connection:
        before = process.memory_info().rss
        connection.sendall(
            f"GET /sessions/{session_id}/events?types=agent.error HTTP/1.1\r\nHost: x\r\n{form}\r\n".encode()
        )
        used = [process.cpu_times()]
        for _answer in range(30):  # others are served meanwhile
            assert daemon.client.get("/search").status == 200
            used.append(process.cpu_times())
        wait_for("the server rests", lambda: _rests(process, used))
        assert process.memory_info().rss - before < MOST
        data = rest(connection, last)
        assert process.memory_info().rss - before < MOST
    numbers = [int(number) for number in re.findall(rb'\{"id":(\d+),', data)]
    assert numbers == list(range(last - EVENTS + 1, last + 1))


def _rests(process: psutil.Process, used: list[object]) -> bool:
    """Return whether the server did nothing since the last look."""
    used.append(process.cpu_times())
    return used[-1] == used[-2]
