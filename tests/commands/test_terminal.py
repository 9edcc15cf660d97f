"""The commands that a person uses in a terminal: chat, attach, watch, follow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agentproxy.client import Client
from tests.commands.terminal import Terminal
from tests.daemon import Daemon

Open = Callable[..., Terminal]


@pytest.fixture
def client(daemon: Daemon) -> Client:
    """Return a client of the daemon."""
    return Client(f"http://127.0.0.1:{daemon.port}")


@pytest.fixture
def session(client: Client) -> Iterator[str]:
    """Return the id of a session that takes messages; deleted afterwards."""
    found = client.start(wait="stable").session_id
    yield found
    client.delete(found)


@pytest.fixture
def opened(daemon: Daemon, tmp_path: Path) -> Open:
    """Return a function that runs a command in a terminal."""
    environment = {"AGENTPROXY_URL": f"http://127.0.0.1:{daemon.port}", "HOME": str(tmp_path)}
    return lambda *arguments: Terminal(*arguments, environment=environment)


def test_ctrl_c_interrupts_the_agent_and_ctrl_d_leaves(opened: Open, session: str, client: Client) -> None:
    """The answer is shown while it grows; Ctrl-C stops the agent, not the chat; the session goes on behind it."""
    with opened("chat", session[:8]) as terminal:
        terminal.see("you> ")
        terminal.press("think 600\r")
        terminal.see("thinking")
        terminal.press("\x03")
        terminal.see("(interrupted)")
        terminal.see("you> ")
        terminal.press("still there?\r")
        terminal.see("You said: still there?")
        terminal.see("you> ")
        terminal.press("\x04")
        assert terminal.end() == 0
    assert client.get(session).phase == "ready"


def test_an_answer_grows_in_its_place(opened: Open, session: str) -> None:
    """What the agent writes anew while it works is written anew here, not below."""
    with opened("chat", session) as terminal:
        terminal.see("you> ")
        terminal.press("think 600\r")
        terminal.see("thinking 0.")
        for second in "12":
            assert "\n" not in terminal.see(f"thinking {second}.")
        terminal.press("\x03")
        terminal.see("you> ")
        terminal.press("long 60\r")
        terminal.see("line 60 of 60")
        terminal.see("you> ")
        terminal.press("fail 3\r")
        terminal.see("The session has ended: the agent server ended by itself: exit status 3")
        assert terminal.end() == 0
    with opened("chat", session) as terminal:
        assert terminal.end() == 1
        assert "agentproxy restart" in terminal.seen.decode()


def test_a_chat_goes_on_when_the_server_comes_back(tmp_path: Path) -> None:
    """While it is away a message is refused with a sentence; afterwards the next one is answered in the same chat."""
    keep = {"AGENTPROXY_SESSIONS_ON_SHUTDOWN": "keep"}
    daemon = Daemon(tmp_path, settings=keep)
    url = f"http://127.0.0.1:{daemon.port}"
    session = Client(url).start(wait="stable").session_id
    with Terminal("chat", session, environment={"AGENTPROXY_URL": url, "HOME": str(tmp_path)}) as terminal:
        terminal.see("you> ")
        daemon.stop()
        terminal.press("hello?\r")
        terminal.see("does not answer")
        terminal.see("you> ")
        daemon = Daemon(tmp_path, settings={}, port=daemon.port)
        try:
            terminal.press("and now?\r")
            terminal.see("You said: and now?")
            terminal.see("you> ")
            Client(url).delete(session)
            terminal.press("and now?\r")
            terminal.see("Session not found")
            assert terminal.end() == 0
        finally:
            daemon.stop()


def test_ctrl_c_ends_the_peer_s_events(opened: Open, session: str, client: Client) -> None:
    """As everywhere: without a word, and with its status."""
    with opened("client", "-e", client.url, "-s", session, "events") as terminal:
        terminal.see("[EVENT]")
        terminal.press("\x03")
        assert terminal.end() == 130
        assert "Aborted" not in terminal.seen.decode()


def test_a_chat_asks_what_the_agent_asks(opened: Open, session: str) -> None:
    """An approval is shown with its choices and answered at once."""
    with opened("chat", session) as terminal:
        terminal.see("you> ")
        terminal.press("approve rm -r x\r")
        terminal.see("The agent asks leave: rm -r x")
        terminal.see("answer (")
        terminal.press("allow\r")
        terminal.see("Approved: rm -r x")
        terminal.see("you> ")


def test_attach_is_the_agent_s_own_terminal(opened: Open, session: str, client: Client) -> None:
    """What is typed goes to the agent, what it draws comes here, and one key leaves it running."""
    with opened("attach", session[:8]) as terminal:
        terminal.see("demo agent")
        terminal.press("by hand\r")
        terminal.see("You said: by hand")
        terminal.press("\x1d")
        terminal.see("detached")
        assert terminal.end() == 0
    assert client.get(session).phase == "ready"
    client.stop(session)
    with opened("attach", session) as terminal:
        assert terminal.end() == 1
        assert "stopped by local" in terminal.seen.decode()


def test_a_list_is_watched(opened: Open, session: str, client: Client) -> None:
    """The table comes again when something changes; Ctrl-C ends it without a word."""
    with opened("list", "--watch") as terminal:
        terminal.see(session[:8])
        client.change(session, description="a new title")
        terminal.see("a new title")
        terminal.press("\x03")
        assert terminal.end() == 130
        assert "Aborted" not in terminal.seen.decode()


def test_colours_and_progress_are_for_terminals(opened: Open, session: str) -> None:
    """A terminal gets both; the same command into a file gets neither, as the other tests show."""
    with opened("list") as terminal:
        assert terminal.end() == 0
        assert "\x1b[32mready" in terminal.seen.decode()
    with opened("ask", session, "think 2") as terminal:
        terminal.see("waiting for the answer")
        assert terminal.end() == 0


def test_events_are_followed(opened: Open, session: str, client: Client) -> None:
    """What happens is printed as it happens."""
    with opened("events", "-f", session) as terminal:
        terminal.see("session.ready")
        client.send(session, "hello")
        terminal.see("'answered'")
        client.stop(session)
        terminal.see("session.ended")
        terminal.press("\x03")
        assert terminal.end() == 130


def test_an_agent_server_without_a_terminal_shows_its_screen(tmp_path: Path) -> None:
    """agentapi has no terminal to offer: its screen is shown as it changes."""
    daemon = Daemon(tmp_path, "agentapi")
    try:
        url = f"http://127.0.0.1:{daemon.port}"
        session = Client(url).start(wait="stable").session_id
        with Terminal("attach", session, environment={"AGENTPROXY_URL": url, "HOME": str(tmp_path)}) as terminal:
            terminal.see("this is its screen")
            terminal.see("demo agent")
            Client(url).send(session, "hello")
            terminal.see("You said: hello")
            terminal.press("\x03")
            assert terminal.end() == 0, terminal.seen[-500:]
    finally:
        daemon.stop()
