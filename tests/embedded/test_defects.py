"""Where agentapi is defective the embedded agent server is right: one test for each of the observed defects."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.agent_servers import AgentServer, run_agent_server
from tests.fakes import fake_command
from tests.waiting import wait_for
from tests.wire import Reply


def run(name: str, *args: str, **options: object) -> AbstractContextManager[AgentServer]:
    """Run the embedded server around the fake *name*."""
    return run_agent_server("embedded", fake_command(name, *args), **options)  # type: ignore[arg-type]


def script(text: str, **options: object) -> AbstractContextManager[AgentServer]:
    """Run the embedded server around a Python program."""
    return run_agent_server("embedded", [sys.executable, "-uc", text], **options)  # type: ignore[arg-type]


def meanwhile(act: Callable[[], Reply]) -> tuple[threading.Thread, list[Reply]]:
    """Do *act* in a thread; its answer will be in the list."""
    found: list[Reply] = []
    thread = threading.Thread(target=lambda: found.append(act()))
    thread.start()
    return thread, found


def test_reads_and_raw_keys_never_wait_for_a_send() -> None:
    """While a message is on its way to an agent that ignores it, everything else is answered; then the send fails and says how."""
    with run("deaf") as server:
        server.wait_stable()
        with server.client.events() as events:
            events.until_stable()
            thread, found = meanwhile(lambda: server.client.send("anybody"))
            events.until(lambda event: event.data.get("status") == "running")
            server.log.wait("Enter", lambda log: log.entered())
            assert server.client.get("/status").json()["status"] == "running"
            assert len(server.client.messages()) == 1
            assert server.client.send("k", "raw").status == 200
            server.log.wait("the key", lambda log: log.typed().endswith(b"k"))
            busy = server.client.send("again")
            assert not found, "the send was over before the rest was asked"
        thread.join(60)
        assert server.log.entered() == ["anybody"], "Enter is pressed once"
    assert (busy.status, busy.json()["code"], busy.json()["delivery"]) == (500, "busy", "nothing_typed")
    assert (found[0].status, found[0].json()["code"], found[0].json()["delivery"]) == (500, "no_reaction", "entered")
    assert "processing to start" in found[0].json()["errors"][0]["message"]


TAKES_BACK = """
import os, sys, termios, tty
tty.setraw(0)
sys.stdout.write("no mark here\\r\\n"); sys.stdout.flush()
typed = b""
while True:
    for key in os.read(0, 4096):
        typed = typed[:-1] if key == 0x7f else typed + bytes([key])
    typed = typed.replace(b"\x1b[200~", b"").replace(b"\x1b[201~", b"")
    open("typed", "ab").write(typed + b"|")
"""


def test_nothing_stays_half_typed() -> None:
    """A program that shows neither prompt nor echo: the send fails in a few seconds and what was typed is taken back."""
    with script(TAKES_BACK) as server:
        server.wait_stable()
        reply = server.client.send("hello")
        assert (reply.status, reply.json()["code"], reply.json()["delivery"]) == (500, "not_entered", "taken_back")
        assert "screen to stabilize" in reply.json()["errors"][0]["message"]

        def typed() -> bytes:
            return (server.directory / "typed").read_bytes()

        wait_for("the text to be erased", lambda: typed().endswith(b"hello||"))
        assert len(server.client.messages()) == 1


FALLS_BEHIND = """
import os, sys, time, tty
tty.setraw(0)
text = ""
while True:
    sys.stdout.write("\\x1b[2J\\x1b[H" + "\\r\\n".join(["hello", "> " + text])); sys.stdout.flush()
    data, at = os.read(0, 65536).decode(), len(text)
    time.sleep(0.4)
    while data:
        if data.startswith(("\\x1b[200~", "\\x1b[201~")):
            data = data[6:]
        elif data[0] == "\\r":
            open("entered", "a").write(repr(text) + "\\n")
            text, at, data = "", 0, data[1:]
        elif data[0] in "\\x7f\\x08":
            text, data = text[:at - 1] + text[at:] if at else text, data[1:]
        else:
            run = data.split("\\x1b")[0].split("\\x08")[0].split("\\r")[0]
            text, data = text[:at] + run + text[at:], data[len(run):]
"""


def test_what_is_typed_is_the_message_and_nothing_else() -> None:
    """A program that takes what comes at once as if the cursor had not moved between the keys enters just the message."""
    with script(FALLS_BEHIND) as server:
        for text in ("hello there", "second"):
            server.wait_stable()
            assert server.client.send(text).status == 200
        entered = (server.directory / "entered").read_text().splitlines()
        assert entered == ["'hello there'", "'second'"]


DOES_NOT_READ = """
import time, tty
tty.setraw(0)
print("never reads > ", end="", flush=True)
time.sleep(600)
"""


def test_an_agent_that_does_not_read_its_terminal() -> None:
    """Nothing waits for an agent that does not read: keys are taken up to a bound, a message fails with a reason."""
    with script(DOES_NOT_READ) as server:
        server.wait_stable()
        reply = server.client.send("x" * 100_000)
        assert (reply.status, reply.json()["code"]) == (500, "not_entered")
        answers = [server.client.send("y" * 500_000, "raw") for _ in range(12)]
        assert answers[0].status == 200
        assert (answers[-1].status, answers[-1].json()["code"]) == (500, "not_reading")
        assert server.client.get("/status").status == 200


SILENT_WORK = """
import subprocess, sys
print("hello")
while True:
    sys.stdout.write("> "); sys.stdout.flush()
    line = sys.stdin.readline()
    print("working silently")
    subprocess.run([sys.executable, "-c", "import time\\nend = time.monotonic() + 4\\nwhile time.monotonic() < end: pass"])
    print("answer to", line.strip())
"""


def test_silent_work_of_children_is_not_stable() -> None:
    """As long as a child of the agent computes, the status is running, although the screen stands still."""
    with script(SILENT_WORK) as server:
        server.wait_stable()
        with server.client.events() as events:
            events.until_stable()
            del events.seen[:]
            assert server.client.send("do it").status == 200
            events.until_message("answer to do it")
            told = [event.data["status"] for event in events.seen if event.name == "status_change"]
            assert told == ["running"]
            events.until_stable()
        assert server.client.messages()[-1]["content"] == "working silently\nanswer to do it"


THINKS = """
import time
print("* Thinking (esc to interrupt)\\n> ", end="", flush=True)
time.sleep(4)
print("\\r\\x1b[A\\x1b[2Kdone\\n> ", end="", flush=True)
time.sleep(600)
"""


def test_a_line_that_offers_to_interrupt_is_a_sign_of_work() -> None:
    """An agent whose screen stands still, and says how to interrupt it, is not stable."""
    with script(THINKS) as server, server.client.events() as events:
        events.until_message("Thinking")
        events.until_stable()
        assert "done" in server.client.get("/screen").json()["text"]


def test_stable_without_a_prompt_says_so() -> None:
    """A quiet screen without an input line is stable, and both status and event say that no prompt was seen."""
    with run("noprompt") as server:
        with server.client.events() as events:
            event = events.until_stable()
        assert event.data["prompt"] is False
        status = server.client.get("/status").json()
        assert (status["status"], status["prompt"]) == ("stable", False)
    with run("tui") as server:
        server.wait_stable()
        assert server.client.get("/status").json()["prompt"] is True


def test_the_first_words_of_the_next_prompt_are_no_message() -> None:
    """A program that reads lines gets the line as it is: no paste marks, no key in front."""
    with run("echo") as server:
        server.wait_stable()
        with server.client.events() as events:
            assert server.client.send("plain words").status == 200
            events.until_message("you said plain words")
        assert server.log.entered() == ["plain words"]


@pytest.mark.parametrize(("fake", "args", "code", "number"), [("die", ["3"], 3, None), ("diesig", ["9", "1"], None, 9)])
def test_the_last_words_and_the_real_end(
    fake: str, args: list[str], code: int | None, number: int | None, tmp_path: Path
) -> None:
    """How an agent ended is in the exit status and the end file, with what stood on its screen."""
    end = tmp_path / "end"
    with run(fake, *args, flags=[f"--end-file={end}"], answering=False) as server:
        assert server.wait() == (code if code is not None else 128 + (number or 0))
    record = json.loads(end.read_text())
    assert record["agent"] == {"code": code, "signal": number}
    assert [line for line in record["output"] if line.strip()]


def test_readers_hear_the_end() -> None:
    """The last words are a message, then ``agent_exited`` tells the code, then the stream ends."""
    with run("diesaying", "7") as server:
        server.wait_stable()
        with server.client.events() as events:
            events.until_stable()
            server.client.send("exit")
            names = [(event.name, event.data.get("code"), event.data.get("message", "")) for event in events]
        assert names[-1][:2] == ("agent_exited", 7)
        assert any(name == "message_update" and text for name, _code, text in names)
        assert server.wait() == 7


@pytest.mark.parametrize("kind", ["same", "group", "session"])
def test_grandchildren_end_with_the_server(kind: str) -> None:
    """Children of the agent end with it, in whatever group or session they are."""
    with run("grand", kind) as server:
        server.log.wait("the children", lambda log: len(log.living()) >= 2)
        server.wait_stable()
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        wait_for("the end of all", lambda: not server.log.living())


def test_an_agent_that_ignores_the_interrupt_is_killed() -> None:
    """An agent that ignores every polite signal is killed when the grace is over."""
    with run("stubborn", flags=["--stop-grace=1"]) as server:
        server.wait_stable()
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        wait_for("the end of the agent", lambda: not server.log.living())


def test_uploads_leak_nothing() -> None:
    """After a graceful end nothing of an upload is left in the temporary directory."""
    with run("tui") as server:
        server.wait_answering()
        part = (
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="big"\r\n\r\n'
            + b"x" * 300_000
            + b"\r\n--b--\r\n"
        )
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        path = Path(server.client.request("POST", "/upload", part, headers).json()["filePath"])
        kept = [file for file in (server.directory / "tmp").rglob("*") if file.is_file()]
        assert kept == [path]
        server.log.wait("the agent", lambda log: log.events("started"))
        server.signal(signal.SIGTERM)
        server.wait()
        assert list((server.directory / "tmp").iterdir()) == []


def test_output_stays_small_for_who_does_not_read() -> None:
    """Readers that stop reading in a flood cost bounded memory, and everybody else is served."""
    with run("flood") as server:
        lazy = [server.client.events() for _ in range(3)]
        with server.client.events("/internal/screen") as events:
            events.until(lambda event: "flood line" in event.data["screen"])

        def resident() -> int:
            text = Path(f"/proc/{server.process.pid}/status").read_text()
            return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS:"))

        def shown() -> int:
            return sum(map(len, server.client.get("/screen").json()["text"].split()))

        end = time.monotonic() + 4
        most = 0
        while time.monotonic() < end:
            assert shown() > 0
            most = max(most, resident())
        assert most < 150_000
        for stream in lazy:
            stream.close()


def test_an_enter_that_is_lost_is_pressed_again() -> None:
    """An agent that still works at a paste lets Enter fall: the text stands in its box, and Enter is pressed once more."""
    with run("box", "1", agent_type="claude") as server:
        server.wait_stable()
        with server.client.events() as events:
            events.until_stable()
            assert server.client.send("hello").status == 200
            events.until_message("reply hello")
        assert (server.log.entered(), len(server.log.events("dropped"))) == (["hello"], 1)


def test_a_text_that_is_never_entered_is_taken_back() -> None:
    """An agent that takes no Enter at all: the send fails, says that nothing was entered, and the box is empty again."""
    with run("box", "99", agent_type="claude") as server:
        server.wait_stable()
        reply = server.client.send("hello")
        assert (reply.status, reply.json()["code"], reply.json()["delivery"]) == (500, "not_entered", "taken_back")
        assert "hello" not in server.client.get("/screen").json()["text"].replace("hello from box", "")
        assert [row["role"] for row in server.client.messages()] == ["agent"]


LEAVES = """
import os, tty
tty.setraw(0)
os.write(1, b"hello > ")
os.read(0, 4096)
os.write(1, b"\\r\\nlast words\\r\\n")
os._exit(5)
"""


def test_a_message_to_an_agent_that_exits_is_answered() -> None:
    """Who sends a message gets an answer although the agent exits over it, and the server ends with the agent's code."""
    with script(LEAVES) as server:
        server.wait_stable()
        with server.client.events() as events:
            events.until_stable()
            reply = server.client.send("goodbye")
            assert (reply.status, reply.json()["code"]) == (500, "agent_gone")
            events.until(lambda event: event.name == "agent_exited")
            said = [event.data["message"] for event in events.seen if event.name == "message_update"]
        assert "last words" in said[-1]
        assert server.wait() == 5


def test_the_other_emulator_serves_too() -> None:
    """Where there is no wheel of the first emulator the other one stands in."""
    with run("tui", flags=["--emulator=pyte"]) as server:
        server.wait_stable()
        with server.client.events() as events:
            assert server.client.send("hello\nthere").status == 200
            events.until_message("there")
        assert server.client.messages()[-1]["content"] == "reply: hello\nthere"
