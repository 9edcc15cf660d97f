"""What nobody should do to an agent server, and what it does not mind."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent_servers import AgentServer, catches_sigterm, run_agent_server
from tests.fakes import fake_command
from tests.waiting import wait_for


@pytest.fixture(scope="module")
def server() -> Iterator[AgentServer]:
    """One embedded agent server around the well-behaved fake."""
    with run_agent_server("embedded", fake_command("tui")) as running:
        running.wait_stable()
        yield running


def test_a_body_that_stops_coming(server: AgentServer) -> None:
    """A body that does not come on is answered with 408 after five seconds, and nothing is typed."""
    answer = server.client.raw(b"POST /message HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["detail"] == "request body read timeout"


def test_a_body_that_is_far_too_large(server: AgentServer) -> None:
    """A body that no route takes is refused before it is sent."""
    answer = server.client.raw(b"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999999\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_body_without_a_length_that_does_not_end(server: AgentServer) -> None:
    """A body in chunks is refused as soon as it is larger than any route takes."""
    head = b"POST /upload HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), 20) as connection:
        connection.sendall(head)
        try:
            for _ in range(12):
                connection.sendall(b"100000\r\n" + b"x" * 0x100000 + b"\r\n")
        except OSError:
            pass
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")
    assert server.client.get("/status").status == 200


def test_two_lengths_are_none(server: AgentServer) -> None:
    """A request whose end could be read in two ways is refused."""
    head = b"POST /message HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert server.client.raw(head + b"0\r\n\r\n").startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("content", ["a\x1bb", "nul\0", "\x03", "bell\x07", "\x9b31m"])
def test_control_characters_are_no_message(server: AgentServer, content: str) -> None:
    """What a terminal takes for keys is refused as a message; tabs and newlines are text."""
    reply = server.client.send(content)
    assert (reply.status, reply.json()["errors"][0]["location"]) == (422, "body.content")
    assert content.encode() not in server.log.typed()


@pytest.mark.parametrize(
    "head",
    [
        b"GET /status\r\n\r\n",
        b"GET /status HTTP/9.9\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\r\n\r\n",
        b"GET /status HTTP/1.1\r\nHost localhost\r\n\r\n",
        b"POST /message HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
        b"GET /status HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 40000 + b"\r\n\r\n",
    ],
)
def test_malformed_requests(server: AgentServer, head: bytes) -> None:
    """Nonsense is refused or dropped, and the server goes on."""
    with socket.create_connection(("127.0.0.1", server.port), 20) as connection:
        connection.sendall(head)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while data := connection.recv(4096):
                answer += data
        except ConnectionResetError:
            pass
    assert not answer or answer.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4", b"HTTP/1.1 5"))
    assert server.client.get("/status").status == 200


CLOSES = """
import os, signal, time
signal.signal(signal.SIGHUP, signal.SIG_IGN)
print("bye > ", end="", flush=True)
time.sleep(4)
for number in range(3):
    os.close(number)
time.sleep(600)
"""


def test_an_agent_that_closes_its_terminal() -> None:
    """An agent that lives on without its terminal cannot be typed to, and that is said."""
    with run_agent_server("embedded", [sys.executable, "-c", CLOSES]) as server:
        server.wait_stable()
        end = time.monotonic() + 30
        while (reply := server.client.send("k", "raw")).status == 200 and time.monotonic() < end:
            pass
        assert (reply.status, reply.json()["code"]) == (500, "agent_gone")
        said = server.client.send("hello")
        assert (said.status, said.media_type) == (500, "application/problem+json")
        assert server.client.get("/status").status == 200


FLOOD = """
import sys
row = "x" * 60
for number in range(1_000_000):
    sys.stdout.write(f"{number:8d} {row}\\n")
print("over > ", end="", flush=True)
sys.stdin.read()
"""


def test_a_flood() -> None:
    """Many megabytes of output (100 with FLOOD_LINES=1_450_000) leave memory bounded, requests answered, and the end known."""
    flood = FLOOD.replace("1_000_000", os.environ.get("FLOOD_LINES", "150_000"))
    with run_agent_server("embedded", [sys.executable, "-c", flood], height=1000) as server:
        server.wait_answering()
        most, asked = 0, 0
        with server.client.events(timeout=100) as events:
            while "over >" not in server.client.get("/screen").json()["text"]:
                text = Path(f"/proc/{server.process.pid}/status").read_text()
                most = max(most, next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS:")))
                asked += 1
            events.until_stable()
        assert most < 200_000
        assert asked > 3
        last = server.client.messages()[-1]["content"].split("\n")
        assert last[-1].split()[0] == str(int(os.environ.get("FLOOD_LINES", "150_000").replace("_", "")) - 1)
        assert len(last) <= 21_000


REPAINTS = """
import itertools, sys
for number in itertools.count():
    sys.stdout.write("\\x1b[H" + "".join(f"row {row} frame {number}\\x1b[K\\r\\n" for row in range(40)))
"""


def test_a_repaint_at_full_speed() -> None:
    """A program that repaints as fast as it can is shown, and every other request is answered meanwhile."""
    with run_agent_server("embedded", [sys.executable, "-c", REPAINTS]) as server:
        with server.client.events("/internal/screen") as events:
            for _round in range(5):
                events.until(lambda event: "frame" in event.data["screen"])
                assert server.client.get("/status").json()["status"] == "running"
                assert "row 39 frame" in server.client.get("/screen").json()["text"]


def test_a_thousand_readers_leave_nothing(server: AgentServer) -> None:
    """Event streams that come and go leave no descriptor."""

    def descriptors() -> int:
        return len(os.listdir(f"/proc/{server.process.pid}/fd"))

    before = descriptors()
    for _round in range(10):
        streams = [server.client.events() for _ in range(50)]
        for stream in streams:
            stream.close()
    end = time.monotonic() + 30
    while descriptors() > before + 2 and time.monotonic() < end:
        server.client.get("/status")
    assert descriptors() <= before + 2


@pytest.mark.parametrize("stopped", [False, True])
def test_a_full_disk_under_the_log_keeps_no_agent(stopped: bool, tmp_path: Path) -> None:
    """What cannot be written into the log is lost; that an agent has ended, or that it must, is not."""
    place, end = tmp_path / "s", tmp_path / "end"
    agent = ["sh", "-c", "exec sleep 600" if stopped else "sleep 0.3; exit 3"]
    flags = ["server", f"--unix-socket={place}", f"--end-file={end}", "--stop-grace=100", "--", *agent]
    with open("/dev/full", "wb") as full:
        server = subprocess.Popen([sys.executable, "-m", "agentproxy.embedded", *flags], stderr=full)
        try:
            wait_for("it listens", place.exists)
            wait_for("it hears signals", lambda: catches_sigterm(server.pid) or server.poll() is not None)
            if stopped:
                server.terminate()
            server.wait(20)
            ended = json.loads(end.read_text())
        finally:
            server.kill()
            server.wait()
    assert (ended["reason"], ended["agent"]["code"]) == (("stopped", None) if stopped else ("agent_exited", 3))
