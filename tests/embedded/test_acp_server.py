"""The embedded agent server around an agent that speaks the Agent Client Protocol, by its HTTP face."""

from __future__ import annotations

import json
import signal
import sys
from contextlib import AbstractContextManager
from pathlib import Path

from tests.agent_servers import AgentServer, run_agent_server
from tests.fakes import fake_command

ACP = "--experimental-acp"


def run(mode: str, *args: str, flags: tuple[str, ...] = (), **options: object) -> AbstractContextManager[AgentServer]:
    """Run the embedded server around the fake on ACP."""
    return run_agent_server("embedded", fake_command("acp", mode, *args), flags=[ACP, *flags], **options)  # type: ignore[arg-type]


def said(server: AgentServer) -> list[tuple[str, str]]:
    """Return the messages as (role, content)."""
    return [(row["role"], row["content"]) for row in server.client.messages()]


def test_a_turn_is_whole_and_in_order() -> None:
    """Pieces, tool call and the words right before the result are in the message as they came; nothing blocks meanwhile."""
    with run("late") as server:
        server.wait_stable()
        with server.client.events() as events:
            events.until_stable()
            assert server.client.send("one").status == 200
            events.until_message("You said")
            assert server.client.get("/status").json()["status"] == "running"
            assert server.client.send("two").json()["code"] == "busy"
            events.until_stable()
        assert said(server) == [
            ("user", "one"),
            ("agent", "You said\n[Tool: read] List files\n[Tool Status: completed]\none"),
        ]
        assert server.log.entered() == ["one"]


def test_leave_is_asked_for_and_given() -> None:
    """A request is told to readers, old and new; only an offered option answers it, and the agent hears which."""
    with run("perm") as server:
        server.wait_stable()
        with server.client.events() as events:
            events.until_stable()
            assert server.client.send("ls").status == 200
            asked = events.until(lambda event: event.name == "permission_request").data
            assert (asked["title"], [one["id"] for one in asked["options"]]) == ("Run ls", ["reject", "yes-once"])
            assert server.client.get("/permissions").json()["permissions"] == [asked]
            with server.client.events() as later:
                later.until(lambda event: event.name == "permission_request")
            wrong = server.client.post_json("/permissions", {"id": asked["id"], "option": "allow"})
            assert (wrong.status, wrong.json()["errors"][0]["location"]) == (422, "body.option")
            assert server.client.post_json("/permissions", {"id": "x", "option": None}).status == 404
            assert server.client.post_json("/permissions", {"id": 5}).status == 422
            assert server.client.post_json("/permissions", {"id": asked["id"], "option": "yes-once"}).status == 200
            events.until(lambda event: event.name == "permission_answered")
            events.until_stable()
        assert said(server)[-1] == ("agent", "permission: yes-once")
        assert server.client.get("/permissions").json()["permissions"] == []


def test_a_turn_is_cancelled() -> None:
    """``POST /interrupt`` is the protocol's cancel; what was said before stays, and the next turn works."""
    with run("slow", "30") as server:
        server.wait_stable()
        with server.client.events() as events:
            events.until_stable()
            assert server.client.send("much").status == 200
            events.until_message("3 ")
            assert server.client.request("POST", "/interrupt").status == 200
            events.until_stable()
        assert [row["method"] for row in server.log.events("request")][-1] == "session/cancel"
        assert said(server)[-1][1].startswith("0 1 2 3")
        assert server.client.send("more").status == 200
        assert server.client.send("\x1b", "raw").status == 200


def test_what_needs_a_terminal_is_refused() -> None:
    """There is no terminal to attach to or to resize, and no keys but those that cancel."""
    with run("plain") as server:
        server.wait_stable()
        assert server.client.get("/terminal").status == 409
        assert server.client.post_json("/resize", {"width": 80, "height": 24}).status == 409
        keys = server.client.send("ls\r", "raw")
        assert (keys.status, keys.json()["code"]) == (500, "no_terminal")
        assert server.client.get("/status").json()["transport"] == "acp"
    with run_agent_server("embedded", fake_command("tui")) as server:
        assert server.client.get("/permissions").status == 409
        assert server.client.request("PUT", "/permissions").headers["Allow"] == "GET, POST"


def test_an_error_of_the_provider_is_told() -> None:
    """The agent's sentence is the answer, its own message stays, and the status is stable again."""
    with run("error", "no credit left") as server:
        server.wait_stable()
        reply = server.client.send("hi")
        assert (reply.status, reply.json()["delivery"]) == (500, "entered")
        assert reply.json()["errors"] == [{"message": "failed to send message: no credit left"}]
        server.wait_stable()
        assert said(server) == [("user", "hi")]


def test_an_agent_that_exits_in_a_turn(tmp_path: Path) -> None:
    """Who said something is answered, and exit status and end file tell the agent's own code."""
    end = tmp_path / "end"
    with run("die", "5", flags=(f"--end-file={end}",)) as server:
        server.wait_stable()
        reply = server.client.send("hi")
        assert (reply.status, reply.json()["code"]) == (500, "agent_gone")
        assert server.wait() == 5
    assert json.loads(end.read_text())["agent"] == {"code": 5, "signal": None}


def test_a_program_that_does_not_speak_the_protocol(tmp_path: Path) -> None:
    """It is ended, the status is 1, and the sentence is on the error output and in the end file."""
    end = tmp_path / "end"
    flags = [ACP, f"--end-file={end}"]
    with run_agent_server("embedded", fake_command("tui"), flags=flags, answering=False) as server:
        assert server.wait() == 1
        assert "does not speak ACP" in server.stderr()
        assert not server.processes()
    record = json.loads(end.read_text())
    assert record["reason"] == "failed"
    assert "does not speak ACP" in record["output"][0]


CLOSES = """
import json, os, sys, time
for answer in ({"protocolVersion": 1}, {"sessionId": "s"}):
    number = json.loads(sys.stdin.readline())["id"]
    print(json.dumps({"jsonrpc": "2.0", "id": number, "result": answer}), flush=True)
sys.stdin.readline()
os.close(1)
time.sleep(600)
"""


def test_an_agent_that_closes_its_output() -> None:
    """A message to it is answered, and the server ends with a sentence instead of waiting for ever."""
    with run_agent_server("embedded", [sys.executable, "-uc", CLOSES], flags=[ACP]) as server:
        server.wait_stable()
        assert server.client.send("hello").status == 500
        assert server.wait() == 1
        assert "closed its output" in server.stderr()
        assert not server.processes()


def test_a_session_is_loaded_again(tmp_path: Path) -> None:
    """With a file for its id the agent's session goes on in the next server, and its words are there."""
    file = tmp_path / "deep" / "id"
    flags = (f"--acp-session-file={file}",)
    with run("plain", flags=flags) as server:
        server.wait_stable()
        assert file.read_text() == "session-1\n"
        assert said(server) == []
    with run("plain", flags=flags) as server:
        server.wait_stable()
        assert said(server) == [("agent", "loaded earlier words")]
        assert "session/load" in [row["method"] for row in server.log.events("request")]
        with server.client.events() as events:
            events.until_stable()
            assert server.client.send("go on").status == 200
            events.until_message("You said go on")
            events.until_stable()


def test_a_signal_ends_the_agent_too() -> None:
    """A stop in the middle of a turn is in good order: status 0, and nothing is left."""
    with run("silent") as server:
        server.wait_stable()
        with server.client.events() as events:
            events.until_stable()
            assert server.client.post_json("/message", {"content": "\x03", "type": "raw"}).status == 200
        server.signal(signal.SIGTERM)
        assert server.wait(10) == 0
        assert server.processes() == []


def test_the_initial_prompt_begins_the_first_turn() -> None:
    """The prompt of the command line is said when the session is open."""
    with run("plain", flags=("--initial-prompt=begin",)) as server, server.client.events() as events:
        events.until_message("You said begin")
        assert server.client.messages()[0]["content"] == "begin"
