"""What a loss of power leaves: the tracer shows what is on the disk before a client hears that it is."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.daemon import Daemon
from tests.waiting import wait_for

CALLS = "recvfrom,read,sendto,sendmsg,write,writev,fsync,fdatasync"


def traced(directory: Path, synchronous: str) -> tuple[Daemon, Path]:
    """Start a server below the tracer; skip the test where nobody may trace."""
    program = shutil.which("strace")
    if program is None:
        pytest.skip("there is no strace")
    if subprocess.run([program, "-o", "/dev/null", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this process may trace nobody")
    trace = directory / "trace"
    below = [program, "-D", "-f", "-y", "-s", "4096", "-e", f"trace={CALLS}", "-o", str(trace)]
    return Daemon(directory, settings={"AGENTPROXY_STORE_SYNCHRONOUS": synchronous}, below=below), trace


def between(trace: str, asked: str, answered: str) -> str:
    """Return what the server did between reading a request and writing its answer; both are known by a text in them."""
    lines = trace.splitlines()
    first = next(n for n, line in enumerate(lines) if asked in line and re.search(r"\b(recvfrom|read)\b|resumed", line))
    last = next(n for n in range(first + 1, len(lines)) if answered in lines[n] and "HTTP/1.1 200" in lines[n])
    return "\n".join(lines[first : last + 1])


def flushed(part: str) -> list[str]:
    """Return the files that were on the disk, flushed and answered so, at the end of a part of a trace."""
    done: list[str] = []
    begun: dict[str, str] = {}
    for line in part.splitlines():
        process = line.split(" ", 1)[0]
        if found := re.search(r"\b(?:fsync|fdatasync)\(\d+<([^>]*)>(.*)", line):
            if "unfinished" in found[2]:
                begun[process] = found[1]
            elif found[2].rstrip().endswith("= 0"):
                done.append(found[1])
        elif re.search(r"<\.\.\. (?:fsync|fdatasync) resumed>.*= 0$", line) and process in begun:
            done.append(begun.pop(process))
    return done


@pytest.mark.parametrize("synchronous", ["full", "normal"])
def test_the_disk_has_it_before_the_client_hears(tmp_path: Path, synchronous: str) -> None:
    """With `store.synchronous: full` the log of the database is flushed between a request and its 2xx; with `normal` it is not."""
    daemon, trace = traced(tmp_path, synchronous)
    try:
        session_id = daemon.start(description="first-of-all")
        body = '{"description": "second-of-all"}'
        assert daemon.client.request("PATCH", f"/sessions/{session_id}", body).status == 200
        assert daemon.client.request("DELETE", f"/sessions/{session_id}").status == 200
    finally:
        daemon.stop()
    text = wait_for(
        "the trace is whole", lambda: (now := trace.read_text(errors="replace")).count("DELETE /sess") and now
    )
    for asked, answered in (
        ("POST /start", "first-of-all"),
        (f"PATCH /sessions/{session_id}", "second-of-all"),
        (f"DELETE /sessions/{session_id}", "terminated"),
    ):
        logs = [name for name in flushed(between(text, asked, answered)) if name.endswith("agentproxy.db-wal")]
        if synchronous == "full" or asked.startswith("PATCH"):  # the first frame of a new log is flushed always
            assert bool(logs) is (synchronous == "full"), (asked, logs)
