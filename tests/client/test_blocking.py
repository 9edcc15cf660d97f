"""The blocking client against a whole daemon: what a script or a notebook does."""

from __future__ import annotations

import asyncio
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentproxy.client import Client, Refused, Retries, Unreachable
from agentproxy.client.results import Event
from tests.daemon import Daemon


@pytest.fixture
def client(daemon: Daemon) -> Client:
    """Return a client of the daemon."""
    return Client(f"http://127.0.0.1:{daemon.port}")


@pytest.fixture
def session(client: Client) -> Iterator[str]:
    """Return the id of a running session; deleted afterwards."""
    found = client.start(tags={"for": "tests"}, wait="stable").session_id
    yield found
    try:
        client.delete(found)
    except Refused as refused:
        assert refused.status == 404


def test_a_question_is_answered_in_one_call(client: Client, session: str) -> None:
    """ask sends, waits and returns the agent's own words; the transcript has both."""
    assert "You said: what is up" in client.ask(session, "what is up")
    said = client.messages(session)
    assert [one.role for one in said][-2:] == ["user", "agent"]
    assert client.messages(session, q="what is up")
    assert b"what is up" in client.export(session)
    assert client.export(session, "markdown").startswith(b"# Session")


def test_sessions_are_found_changed_stopped_and_restarted(client: Client, session: str) -> None:
    """Every verb of a session's life, with typed results."""
    [listed] = client.search(tags={"for": "tests"}, status="active").sessions
    assert (listed.session_id, listed.phase) == (session, "ready")
    assert client.change(session, description="a title", annotations={"x": "y"}).description == "a title"
    stopped = client.stop(session)
    assert stopped.ending is not None
    assert (stopped.phase, stopped.ending.reason) == ("ended", "stopped")
    again = client.restart(session)
    assert (again.phase, again.incarnation) == ("ready", 2)
    client.interrupt(session)
    assert isinstance(client.log(session), str)


def test_progress_is_told_step_by_step(client: Client) -> None:
    """A start can be watched while it goes on."""
    steps: list[Event] = []
    session = client.start(steps.append)
    kinds = [one.type for one in steps]
    assert kinds[0] == "session.queued"
    assert kinds[-1] == "session.ready"
    assert session.phase == "ready"
    client.delete(session.session_id)


def test_a_start_that_fails_is_an_exception_with_the_reason(client: Client) -> None:
    """Code, hint and what was wrong, whichever way it was started."""
    with pytest.raises(Refused) as caught:
        client.start(agent="no-such-agent")
    assert (caught.value.status, caught.value.code) == (400, "invalid_request")
    assert "no-such-agent" in caught.value.hint


def test_a_message_sent_twice_with_one_key_is_one_message(client: Client, session: str) -> None:
    """The idempotency key is what makes a repeated call harmless."""
    first = client.send(session, "once", idempotency_key="k1")
    second = client.send(session, "once", idempotency_key="k1", wait="answered")
    assert first.delivery_id == second.delivery_id
    assert [one.content for one in client.messages(session)].count("once") == 1


def test_events_go_on_where_a_reader_stopped(client: Client, session: str) -> None:
    """The number of the last event is a cursor: nothing twice, nothing lost, and it ends with the session."""
    seen = []
    for event in client.events(session):
        seen.append(event)
        if event.type == "session.ready":
            break
    waiting = threading.Timer(0.0, client.delete, [session])
    waiting.start()
    rest = list(client.events(session, after=seen[-1].id))
    waiting.join()
    numbers = [one.id for one in (*seen, *rest)]
    assert numbers == sorted(set(numbers))
    assert rest[-1].type in ("session.ended", "session.deleted")


def test_an_unknown_session_is_a_refusal_with_a_code(client: Client) -> None:
    """Errors are the server's own, by their stable code."""
    with pytest.raises(Refused) as caught:
        client.get("00000000-0000-4000-8000-000000000000")
    assert (caught.value.status, caught.value.code) == (404, "session_not_found")


def test_a_server_that_is_not_there_is_unreachable() -> None:
    """After the attempts that are allowed, and with a sentence."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Unreachable, match="does not answer"):
            Client(url, retries=Retries(attempts=2, first=0.01)).health()


def test_it_works_inside_an_asyncio_program(client: Client) -> None:
    """No event loop of ours gets in the way of another's."""

    async def program() -> tuple[str, str]:
        plain = client.health()  # as a cell of a notebook does, whose loop runs in this very thread
        found = await asyncio.to_thread(client.health)
        return str(plain["status"]), str(found["status"])

    assert asyncio.run(program()) == ("ready", "ready")


def test_it_needs_no_twisted() -> None:
    """A script that imports the blocking client does not load Twisted, nor a reactor."""
    code = "import sys; from agentproxy.client import Client; sys.exit('twisted' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_a_refusal_names_its_request(client: Client) -> None:
    """With the id, the operator finds the request in the log."""
    with pytest.raises(Refused) as caught:
        client.get("00000000-0000-4000-8000-000000000000")
    assert caught.value.request_id


def test_events_go_on_over_a_restart_of_the_server(tmp_path: Path) -> None:
    """A reader does not notice that the server was away: nothing twice, nothing lost."""
    settings = {"AGENTPROXY_SESSIONS_ON_SHUTDOWN": "keep"}
    first = Daemon(tmp_path, settings=settings)
    client = Client(f"http://127.0.0.1:{first.port}")
    session = client.start(wait="stable").session_id
    seen: queue.Queue[Event] = queue.Queue()

    def read() -> None:
        for event in client.events(session):
            seen.put(event)
            if event.type == "delivery" and event.data["state"] == "answered":
                return

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    assert seen.get(timeout=40).type == "session.queued"
    first.stop()
    second = Daemon(tmp_path, settings={**settings, "AGENTPROXY_SESSIONS_ON_SHUTDOWN": "stop"}, port=first.port)
    try:
        client.send(session, "are you still there?")
        reader.join(60)
        assert not reader.is_alive()
        numbers = [one.id for one in seen.queue]
        assert numbers == sorted(set(numbers))
    finally:
        second.stop()


def test_tokens_and_links_are_made_and_taken_back(client: Client, session: str) -> None:
    """A link opens the session without a key until it is revoked."""
    link = client.share(session)
    assert client.share(session).token == link.token
    client.unshare(session)
    assert isinstance(client.tokens(), tuple)
    assert client.approvals() == ()
    assert client.whoami() == "local"
