"""The embedded agent server around scripted programs, by its HTTP face."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.agent_servers import AgentServer, free_port, program_argv, run_agent_server
from tests.fakes import fake_command
from tests.waiting import wait_for
from tests.wire import Client


def run(name: str, *args: str, **options: object):  # type: ignore[no-untyped-def]
    """Run the embedded server around the fake *name*."""
    return run_agent_server("embedded", fake_command(name, *args), **options)


def exchange(server: AgentServer, text: str, wanted: str) -> list[dict[str, object]]:
    """Say *text*, wait for *wanted* and for the agent to be stable, and return all messages."""
    count = len(server.client.messages())
    with server.client.events() as events:
        assert server.client.send(text).json()["ok"] is True
        events.until(lambda event: event.data.get("id", 0) > count and wanted in event.data["message"])
        events.until_stable()
    return server.client.messages()


def test_a_message_is_answered() -> None:
    """What the user says is typed and entered, and the answer becomes a message without echo and prompt."""
    with run("tui") as server:
        server.wait_stable()
        found = exchange(server, "hi there", "reply: hi there")
        assert [(m["role"], m["content"]) for m in found] == [
            ("agent", "hello from tui"),
            ("user", "hi there"),
            ("agent", "reply: hi there"),
        ]


def test_a_reply_longer_than_the_screen_is_whole() -> None:
    """What scrolls off the screen stays in the message."""
    with run("nlines") as server:
        server.wait_stable()
        found = exchange(server, "300", "line 300 of 300")
        assert str(found[-1]["content"]).split("\n") == [f"line {n} of 300" for n in range(1, 301)]


def test_an_agent_without_echo_can_be_spoken_to() -> None:
    """A program that shows nothing before Enter gets the message all the same."""
    with run("noecho") as server:
        server.wait_stable()
        assert exchange(server, "quietly", "reply: quietly")[-1]["content"] == "reply: quietly"


def test_nothing_stays_typed_when_a_send_is_refused() -> None:
    """A program that shows no prompt and no echo: the send ends with an error, nothing was entered."""
    with run("mute") as server:
        server.wait_stable()
        reply = server.client.send("hello")
        assert reply.status == 500
        assert "screen to stabilize" in reply.json()["errors"][0]["message"]
        assert server.client.get("/status").json()["prompt"] is False


def test_nobody_enters_without_the_door_secret(tmp_path: Path) -> None:
    """With a door every route asks for its secret, and the agent does not see it."""
    door = tmp_path / "door"
    door.write_text("open sesame\n")
    with run("tui", flags=[f"--door-file={door}"]) as server:
        for path in ("/status", "/health", "/openapi.json", "/nothing"):
            reply = server.client.get(path)
            assert (reply.status, reply.media_type) == (403, "application/problem+json")
        assert server.client.get("/status", X_Agentproxy_Door="wrong").status == 403
        assert server.client.get("/status", X_Agentproxy_Door="open sesame").status == 200


def test_a_door_secret_by_descriptor(tmp_path: Path) -> None:
    """The secret may come on a descriptor: it is in no file, no argument, and the agent has neither it nor the descriptor."""
    reading, writing = os.pipe()
    os.write(writing, b"open sesame\n")
    os.close(writing)
    told = tmp_path / "told"
    argv = [*program_argv("embedded"), "server", f"--port={(port := free_port())}", f"--door-fd={reading}", "--"]
    with subprocess.Popen([*argv, *fake_command("env", told)], pass_fds=[reading], stdin=subprocess.DEVNULL) as process:
        os.close(reading)
        client = Client("127.0.0.1", port)
        try:
            wait_for("the agent", told.exists)
            assert client.get("/status").status == 403
            assert client.get("/status", X_Agentproxy_Door="open sesame").status == 200
        finally:
            process.terminate()
            assert process.wait(30) == 0
    assert "sesame" not in told.read_text()
    assert json.loads(told.read_text())["descriptors"] == [0, 1, 2, 3]


def test_the_end_is_written_down(tmp_path: Path) -> None:
    """An agent that exits tells its last words, its exit code is the server's, and the end file says so."""
    end = tmp_path / "end.json"
    with run("diesaying", "7", flags=[f"--end-file={end}"]) as server:
        server.wait_stable()
        with server.client.events() as events:
            server.client.send("exit")
            event = events.until(lambda event: event.name == "agent_exited")
        assert event.data["code"] == 7
        assert server.wait() == 7
    record = json.loads(end.read_text())
    assert record["reason"] == "agent_exited"
    assert record["agent"] == {"code": 7, "signal": None}
    assert record["exit"] == {"code": 7, "signal": None}
    assert record["pid"] == server.process.pid


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_wrapped_agent_ends_with_its_server(tmp_path: Path, number: int) -> None:
    """A stop reaches an agent below ``sh -c``, and nothing is left."""
    end = tmp_path / "end.json"
    with run("wrapper", "tui", flags=[f"--end-file={end}"]) as server:
        server.wait_stable()
        server.signal(number)
        assert server.wait(4) == 0
        assert server.processes() == []
    assert json.loads(end.read_text())["reason"] == "stopped"


def test_a_saved_conversation_comes_back(tmp_path: Path) -> None:
    """A server with the state file of an earlier one shows its messages."""
    flag = f"--state-file={tmp_path / 'state' / 'file.json'}"
    with run("tui", flags=[flag]) as server:
        server.wait_stable()
        before = exchange(server, "remember", "reply: remember")
        server.signal(signal.SIGTERM)
        server.wait()
    with run("tui", flags=[flag]) as server:
        server.wait_stable()
        assert server.client.messages() == before


def test_the_initial_prompt_is_sent() -> None:
    """The prompt of the command line is the first user message."""
    with run("tui", flags=["-I", "begin"]) as server:
        with server.client.events() as events:
            events.until_message("reply: begin")
        assert server.client.messages()[1]["content"] == "begin"


def test_an_upload_is_kept_for_the_agent() -> None:
    """An uploaded file lies where the answer says."""
    with run("tui") as server:
        body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="../a.txt"\r\n\r\nhello\r\n--b--\r\n'
        reply = server.client.request("POST", "/upload", body, {"Content-Type": "multipart/form-data; boundary=b"})
        path = Path(reply.json()["filePath"])
        assert (path.name, path.read_bytes()) == ("a.txt", b"hello")
