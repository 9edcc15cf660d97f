"""What the tests of failing starts share: a daemon with a configuration of its own, and what must be true after a failure."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from agentproxy.runtime import cgroups
from tests.daemon import Daemon
from tests.waiting import wait_for
from tests.wire import Reply

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "failures.md"
WRITE = "AGENTPROXY_WRITE_DOCS"
"""Environment variable: set, the tests write the answers into docs/failures.md instead of comparing them."""
_MASKS = (
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "SESSION"),
    (re.compile(r"in PATH \([^)]*\)"), "in PATH (/usr/local/bin:/usr/bin:/bin)"),
    (re.compile(r"\b[23]\d{4}\b"), "PORT"),
    (re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"), "TIME"),
    (re.compile(r"serving python[0-9.]* "), "serving python3 "),
)


def configured(
    directory: Path, kind: str, options: Mapping[str, Any], settings: Mapping[str, str] | None = None
) -> Daemon:
    """Return a running daemon whose configuration file has these options, with these variables."""
    directory.mkdir(exist_ok=True)
    (directory / "agentproxy.yaml").write_text(yaml.safe_dump(dict(options)), encoding="utf-8")
    return Daemon(directory, kind, settings)


def script(path: Path, *lines: str) -> str:
    """Write a start-up script that does this before it becomes the agent server, and return its path."""
    path.write_text("\n".join(["#!/bin/bash", "set -u", *lines, 'exec "${@:2}"', ""]), encoding="utf-8")
    return str(path)


def with_session(session_id: str) -> list[str]:
    """Return the command lines of living processes that carry the session in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if (
                entry.name.isdigit()
                and f"AGENTPROXY_SESSION_ID={session_id}\0".encode() in (entry / "environ").read_bytes()
            ):
                found.append((entry / "cmdline").read_text())
        except OSError:
            continue
    return found


def assert_nothing_left(session_id: str) -> None:
    """Check that no process of a session is left, by its marker and, where there is one, by its cgroup."""
    assert with_session(session_id) == []
    root = cgroups.find_root()
    if root is not None:
        assert list((root / "agentproxy").glob(f"{session_id}-*")) == []


def assert_told_everywhere(daemon: Daemon, body: Mapping[str, Any]) -> None:
    """Check that the session, its last event and one sentence of the log say what the answer of the start said."""
    session_id = body["session_id"]
    facts = {name: body[name] for name in ("reason", "exit_status", "signal", "output") if name in body}
    shown = daemon.client.get(f"/sessions/{session_id}").json()
    assert (shown["phase"], shown["ending"]["message"]) == ("ended", body["details"])
    assert {name: shown["ending"].get(name) for name in facts} == facts
    rows = daemon.client.get(f"/sessions/{session_id}/events?limit=1000").json()["events"]
    [last] = [row for row in rows if row["type"] == "session.ended"]
    assert last["data"]["sentence"] == body["details"]
    assert {name: last["data"].get(name) for name in facts} == facts
    sentences = [line for line in daemon.log.read_text().splitlines() if session_id in line and body["details"] in line]
    assert len(sentences) == 1, sentences
    assert all(line in sentences[0] for line in body.get("output", ()))


def assert_documented(name: str, reply: Reply, directory: Path, *masks: tuple[str, str]) -> None:
    """Check that docs/failures.md shows this answer, but for ids, ports and places.

    :param masks: texts that differ between runs, with what stands for them.
    """
    text = json.dumps(reply.json(), indent=2).replace(str(directory), "/srv")
    for pattern, instead in _MASKS:
        text = pattern.sub(instead, text)
    for found, shown in masks:
        text = text.replace(found, shown)
    again = reply.headers.get("Retry-After")
    head = f"HTTP/1.1 {reply.status}" + (f"\nRetry-After: {again}" if again else "")
    block = f"<!-- answer: {name} -->\n```\n{head}\n\n{text}\n```\n"
    page = DOCUMENT.read_text(encoding="utf-8")
    if os.environ.get(WRITE):
        page = re.sub(rf"<!-- answer: {name} -->\n(```\n.*?```\n)?", lambda _match: block, page, flags=re.DOTALL)
        DOCUMENT.write_text(page, encoding="utf-8")
    assert block in page, f"docs/failures.md does not show\n{block}\nset {WRITE}=1 to write it"


def ended(daemon: Daemon, session_id: str) -> dict[str, Any]:
    """Wait for the end of a session and return it."""

    def look() -> dict[str, Any] | None:
        shown: dict[str, Any] = daemon.client.get(f"/sessions/{session_id}").json()
        return shown if shown["phase"] == "ended" else None

    return wait_for(f"session {session_id} ends", look, 60) or {}
