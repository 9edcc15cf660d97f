"""A daemon with authentication, and the people who use it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.daemon import Daemon
from tests.wire import Reply

KEYS = {name: f"{name}-key-0123456789abcdef0123456789" for name in ("alice", "bob", "carl", "view", "root")}
PEERS = ["session:create", "session:list", "session:delete", "session:access"]
ROWS = [
    {"key": KEYS["alice"], "user_id": "alice", "role": "user", "permissions": PEERS},
    {"key": KEYS["bob"], "user_id": "bob", "role": "user", "permissions": PEERS},
    {"key": KEYS["carl"], "user_id": "carl", "teams": ["o/t"]},
    {"key": KEYS["view"], "user_id": "view", "role": "viewer"},
    {"key": KEYS["root"], "user_id": "root", "role": "admin", "permissions": ["*"]},
]


def write_configuration(
    directory: Path, rows: list[dict[str, Any]] | None = None, top: Mapping[str, Any] | None = None, **more: Any
) -> None:
    """Write the configuration with the seeds' ``auth.static`` block; *more* stands below ``auth``, *top* beside it."""
    static = {"enabled": True, "header_name": "X-API-Key", "api_keys": ROWS if rows is None else rows}
    auth = {"enabled": True, "static": static, **more}
    half_made = directory / "half.json"
    half_made.touch(mode=0o600)
    owner = directory.stat()
    os.chown(half_made, owner.st_uid, owner.st_gid)
    half_made.write_text(json.dumps({"auth": auth, **(top or {})}))
    half_made.replace(directory / "config.json")


class GuardedDaemon(Daemon):
    """A daemon with :data:`ROWS` as its keys."""

    program: tuple[str, ...] = ("-m", "agentproxy")

    def __init__(self, directory: Path, settings: Mapping[str, str] | None = None, **auth: Any) -> None:
        write_configuration(directory, **auth)
        first_port = str(20_000 + os.getpid() * 37 % 20_000)  # servers of other test runs search theirs elsewhere
        settings = {"AGENTPROXY_START_PORT": first_port, **(settings or {})}
        super().__init__(directory, "embedded", settings, self.program)

    def ask(self, name: str | None, method: str, target: str, body: object = None, **headers: str) -> Reply:
        """Send a request as somebody of :data:`KEYS`, as nobody (None), or with a secret."""
        given = {header.replace("_", "-"): value for header, value in headers.items()}
        if name is not None:
            given["X-API-Key"] = KEYS.get(name, name)
        data = None if body is None else json.dumps(body)
        return self.client.request(method, target, data, given)

    def started(self, name: str, **body: Any) -> str:
        """Start a session as somebody and return its id."""
        reply = self.ask(name, "POST", "/start", body)
        assert reply.status == 200, reply.body
        session_id: str = reply.json()["session_id"]
        return session_id
