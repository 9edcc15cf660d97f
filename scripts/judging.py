"""Compares what clients were told with 2xx with what the server shows afterwards, and counts what does not agree."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections import Counter
from typing import Any

import psutil
from acknowledged import Clients, Told
from mortal_server import Server, inside, is_dead


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
