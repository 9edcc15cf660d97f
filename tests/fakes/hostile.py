"""An agent that tries to get what is not its own, and writes what it got to ``report.json`` where it works.

Its arguments are JSON: ``{"read": {name: path}, "list": {name: path}, "write": {name: path}, "links": {path: target},
"pipes": [path], "kill": pid, "port": number, "open": {name: [host, port]}, "sockets": {name: path}}``.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

KERNEL = (
    "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/fs/binfmt_misc/register", "/proc/sysrq-trigger",
    "/sys/kernel/uevent_helper", "/sys/fs/cgroup/release_agent", "/proc/self/oom_score_adj",
)  # fmt: skip
"""What steers the kernel for everybody; the last one is the agent's own, and shows that the trial works."""


def tried(work: Callable[[], Any]) -> Any:
    """Return what *work* gets, or the name of its failure."""
    try:
        return work()
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__


def environments() -> list[str]:
    """Return the session ids that stand in the environments of processes that can be seen."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            text = tried((entry / "environ").read_bytes)
            if isinstance(text, bytes):
                found |= {part.decode() for part in text.split(b"\0") if part.startswith(b"AGENTPROXY_SESSION_ID=")}
    return sorted(one.partition("=")[2] for one in found)


def asked(port: int, path: str) -> int:
    """Return the status of another session's agent server."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def linked(path: str, target: str) -> str:
    """Put a link in place of what the server writes or reads."""
    Path(path).unlink(missing_ok=True)
    Path(path).symlink_to(target)
    return "linked"


def piped(path: str) -> str:
    """Put a pipe, on which a careless reader waits for ever, in place of what the server reads."""
    Path(path).unlink(missing_ok=True)
    os.mkfifo(path)
    return "piped"


def reached(family: int, address: Any) -> str:
    """Connect to what listens somewhere."""
    with socket.socket(family) as client:
        client.settimeout(5)
        client.connect(address)
        return "open"


def report(wanted: dict[str, Any]) -> dict[str, Any]:
    """Try everything."""
    got: dict[str, Any] = {"environments": environments(), "own": os.environ["AGENTPROXY_SESSION_ID"]}
    got["read"] = {name: tried(Path(path).read_text) for name, path in wanted.get("read", {}).items()}
    got["list"] = {name: tried(lambda: sorted(os.listdir(path))) for name, path in wanted.get("list", {}).items()}  # noqa: B023
    got["write"] = {name: tried(lambda: Path(path).write_text("x")) for name, path in wanted.get("write", {}).items()}  # noqa: B023
    got["steer"] = {path: tried(lambda: os.close(os.open(path, os.O_WRONLY))) for path in KERNEL}  # noqa: B023
    links, pipes, places = wanted.get("links", {}), wanted.get("pipes", []), wanted.get("open", {})
    got["links"] = {path: tried(lambda: linked(path, target)) for path, target in links.items()}  # noqa: B023
    got["pipes"] = {path: tried(lambda: piped(path)) for path in pipes}  # noqa: B023
    got["open"] = {name: tried(lambda: reached(socket.AF_INET, tuple(to))) for name, to in places.items()}  # noqa: B023
    got["sockets"] = {
        name: tried(lambda: reached(socket.AF_UNIX, path.replace("@", "\0")))  # noqa: B023
        for name, path in wanted.get("sockets", {}).items()
    }
    got["kill"] = tried(lambda: os.kill(wanted["kill"], signal.SIGTERM))
    got["ports"] = {path: tried(lambda: asked(wanted["port"], path)) for path in ("/status", "/messages")}  # noqa: B023
    got["home"] = tried(lambda: Path(os.environ["HOME"], "note").write_text(got["own"]))
    got["capabilities"] = [
        line.split()[1] for line in Path("/proc/self/status").read_text().split("\n") if "CapEff" in line
    ]
    return got


if __name__ == "__main__":
    half_made = Path("report.half")
    half_made.write_text(json.dumps(report(json.loads(sys.argv[1]))))
    half_made.rename("report.json")
    print("> ", end="", flush=True)  # noqa: T201 - the agent shows that it is idle
    while True:
        time.sleep(60)
