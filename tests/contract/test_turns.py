"""A conversation: what is typed, what is remembered, and the order in which readers are told."""

from __future__ import annotations

from tests.agent_servers import AgentServer
from tests.contract.conftest import Run
from tests.fakes import fake_command


def test_one_turn(server: AgentServer) -> None:
    """A message is pasted, entered and answered; readers hear of it in order, and the history has both."""
    with server.client.events() as events:
        events.until_stable()
        del events.seen[:]
        reply = server.client.send("  one\ntwo \n")
        assert (reply.status, reply.json()["ok"]) == (200, True)
        assert reply.headers["Link"] == '</schemas/MessageResponseBody.json>; rel="describedBy"'
        events.until_message("two", role="user")
        events.until_message("two", role="agent")
        events.until_stable()
    told = [(event.data["status"] if "status" in event.data else event.data["role"]) for event in events.seen]
    assert told[:2] == ["running", "user"]
    assert told[-1] == "stable"
    assert server.log.entered() == ["one\ntwo"]
    assert b"\x1b[200~one\ntwo\x1b[201~" in server.log.typed()
    rows = [(row["id"], row["role"], row["content"]) for row in server.client.messages()]
    assert rows[-2:] == [(1, "user", "one\ntwo"), (2, "agent", "reply: one\ntwo")]


def test_raw_keys_are_typed_as_they_are(run: Run) -> None:
    """Raw content reaches the agent byte for byte and is not remembered."""
    with run(fake_command("yn")) as server:
        server.wait_stable()
        assert server.client.send("y", "raw").status == 200
        server.log.wait("the key", lambda log: log.events("answer"))
        assert server.log.typed() == b"y"
        assert [row["role"] for row in server.client.messages()] == ["agent"]


def test_a_busy_agent_takes_no_message(run: Run) -> None:
    """While the agent works a message is refused and nothing is typed."""
    with run(fake_command("clock", 0.2)) as server:
        reply = server.client.send("hi")
        assert reply.status == 500
        message = "failed to send message: message can only be sent when the agent is waiting for user input"
        assert reply.json()["errors"][0]["message"] == message
        assert server.log.typed() == b""


def test_the_status_of_a_slow_answer(run: Run) -> None:
    """Running while a spinner turns, stable again two seconds after the last change, and the answer without the spinner."""
    with run(fake_command("slow", 1)) as server:
        server.wait_stable()
        with server.client.events() as events:
            events.until_stable()
            del events.seen[:]
            assert server.client.send("work").status == 200
            events.until_message("reply: work", role="agent")
            events.until_stable()
            told = [event.data["status"] for event in events.seen if event.name == "status_change"]
        assert told == ["running", "stable"]
        assert [row["id"] for row in server.client.messages()] == [0, 1, 2]


def test_several_turns_of_any_kind(run: Run) -> None:
    """Programs that draw a box, or everything anew, have their answers told without the rest."""
    for name in ("box", "repaint"):
        with run(fake_command(name)) as server:
            server.wait_stable()
            for text in ("first", "second"):
                with server.client.events() as events:
                    events.until_stable()
                    assert server.client.send(text).status == 200
                    events.until_message(text, role="agent")
                    events.until_stable()
            said = [(row["role"], row["content"].strip()) for row in server.client.messages()]
            assert [role for role, _text in said] == ["agent", "user", "agent", "user", "agent"]
            assert [text for role, text in said if role == "user"] == ["first", "second"]
            assert all("reply" in text for role, text in said[1:] if role == "agent")
