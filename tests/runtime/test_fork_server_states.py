"""How a fork server is kept alive: pauses, what is asked meanwhile, and its end. No process and no time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from agentproxy.runtime.fork_server import FAREWELL, LONGEST_PAUSE, SILENCE, ForkServer, NotForked, Unavailable
from agentproxy.runtime.fork_server_process import encode, own_environment, split


class Transport:
    """A process that does what the test says."""

    pid = 4711

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol
        self.sent = b""
        self.done: list[str] = []

    def write(self, data: bytes) -> None:
        self.sent += data

    def closeStdin(self) -> None:
        self.done.append("end")

    def signalProcess(self, name: str) -> None:
        self.done.append(name)

    def loseConnection(self) -> None:
        self.done.append("abandon")

    def says(self, text: Mapping[str, Any]) -> None:
        self.protocol.outReceived(encode(text))

    def ends(self) -> None:
        self.protocol.processEnded(Failure(ProcessTerminated(1)))

    def asked(self) -> list[dict[str, Any]]:
        return split(self.sent)[0]


class Reactor(Clock):
    """A clock that makes such processes."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[Transport] = []
        self.refuses = False

    def spawnProcess(self, protocol: Any, *_how: Any) -> Transport:
        if self.refuses:
            raise OSError(11, "Resource temporarily unavailable")
        transport = Transport(protocol)
        protocol.makeConnection(transport)
        self.made.append(transport)
        return transport


def _ask(server: ForkServer, **wish: Any) -> Deferred[int]:
    return Deferred.fromCoroutine(server.ask(wish))


def _result(asked: Deferred[int]) -> Any:
    found: list[Any] = []
    asked.addBoth(found.append)
    assert found, "there is no answer yet"
    return found[0].value if isinstance(found[0], Failure) else found[0]


def _running() -> tuple[Reactor, ForkServer]:
    reactor = Reactor()
    server = ForkServer(reactor, {}, ["python"])
    server.start()
    return reactor, server


def test_what_is_asked_before_it_is_ready_waits() -> None:
    """The first starts of a daemon wait for the imports, and get their answers in any order."""
    reactor, server = _running()
    one, two = _ask(server, title="one"), _ask(server, title="two")
    [process] = reactor.made
    assert process.asked() == []
    process.says({"ready": 4711})
    assert [text["title"] for text in process.asked()] == ["one", "two"]
    process.says({"id": 2, "error": "no room"})
    process.says({"id": 1, "pid": 99})
    assert _result(one) == 99
    assert isinstance(_result(two), NotForked)
    assert reactor.getDelayedCalls() == []


def test_an_end_is_told_to_all_who_wait_and_the_pauses_grow() -> None:
    """One that dies at once is not started in a busy loop, and asking it meanwhile has an answer at once."""
    reactor, server = _running()
    pauses = []
    for round_ in range(12):
        asked = _ask(server)
        reactor.made[-1].ends()
        assert isinstance(_result(asked), Unavailable)
        assert isinstance(_result(_ask(server)), Unavailable)
        [call] = reactor.getDelayedCalls()
        pauses.append(call.getTime() - reactor.seconds())
        reactor.advance(pauses[-1])
        assert len(reactor.made) == round_ + 2
    assert pauses[:3] == [0.25, 0.5, 1.0]
    assert pauses[-1] == LONGEST_PAUSE


def test_one_that_lasted_comes_back_at_once() -> None:
    """A rare death costs a short pause only."""
    reactor, _server = _running()
    for _round in range(4):
        reactor.made[-1].says({"ready": 1})
        reactor.advance(3600)
        reactor.made[-1].ends()
        [call] = reactor.getDelayedCalls()
        assert call.getTime() - reactor.seconds() == 0.25
        reactor.advance(0.25)


def test_silence_while_an_answer_is_owed_ends_it() -> None:
    """One that does not answer is killed, and left alone when even that does not end it; silence without a debt is fine."""
    reactor, server = _running()
    [process] = reactor.made
    process.says({"ready": 1})
    reactor.advance(SILENCE * 10)
    asked = _ask(server)
    reactor.advance(SILENCE - 1)
    assert process.done == []
    reactor.advance(1)
    assert process.done == ["KILL"]
    reactor.advance(FAREWELL)
    assert process.done == ["KILL", "abandon"]
    process.ends()
    assert isinstance(_result(asked), Unavailable)


def test_one_that_never_gets_ready_is_killed() -> None:
    """Starts do not wait for ever for imports that hang."""
    reactor, _server = _running()
    reactor.advance(SILENCE)
    assert reactor.made[0].done == ["KILL"]


def test_a_start_cannot_be_cancelled_halfway() -> None:
    """Whoever asked hears of the process that exists, so that it can be ended."""
    reactor, server = _running()
    reactor.made[0].says({"ready": 1})
    asked = _ask(server)
    asked.cancel()
    reactor.made[0].says({"id": 1, "pid": 5})
    assert _result(asked) == 5


def test_a_process_that_cannot_be_made_is_tried_again() -> None:
    """A machine without room for a process gets another try later."""
    reactor = Reactor()
    reactor.refuses = True
    server = ForkServer(reactor, {}, ["python"])
    server.start()
    asked = _ask(server)
    reactor.advance(0)
    assert isinstance(_result(asked), Unavailable)
    reactor.refuses = False
    reactor.advance(0.25)
    assert len(reactor.made) == 1


@pytest.mark.parametrize("when", ["new", "starting", "serving", "resting"])
def test_closing_leaves_no_call_and_no_start(when: str) -> None:
    """Wherever it is, it ends for good; closing again changes nothing; what is asked then is told."""
    reactor = Reactor()
    server = ForkServer(reactor, {}, ["python"])
    if when != "new":
        server.start()
    if when in ("serving", "resting"):
        reactor.made[0].says({"ready": 1})
    if when == "resting":
        reactor.made[0].ends()
    asked = _ask(server)
    closed = [server.close(), server.close()]
    if when in ("starting", "serving"):
        assert reactor.made[0].done == ["end"]
        assert not closed[0].called
        reactor.made[0].ends()
    assert [one.called for one in closed] == [True, True]
    assert isinstance(_result(asked), Unavailable)
    assert isinstance(_result(_ask(server)), Unavailable)
    assert reactor.getDelayedCalls() == []


def test_what_is_no_text_ends_it() -> None:
    """Bytes that cannot be read are not guessed at."""
    reactor, _server = _running()
    reactor.made[0].protocol.outReceived(b"Traceback (most recent call last)")
    assert reactor.made[0].done == ["KILL"]


def test_texts_come_in_pieces() -> None:
    """A text is read however it is cut."""
    data = encode({"id": 1, "pid": 2}) + encode({"ready": 3})
    rest, texts = b"", []
    for index in range(len(data)):
        found, rest = split(rest + data[index : index + 1])
        texts += found
    assert texts == [{"id": 1, "pid": 2}, {"ready": 3}]
    with pytest.raises(ValueError, match="too long"):
        encode({"environment": {"A": "x" * 5_000_000}})
    assert json.loads(encode({"a": "\udcff"})[4:]) == {"a": "\udcff"}


def test_no_secret_of_ours_reaches_it() -> None:
    """Its environment has what Python needs, and nothing else."""
    ours = {"PATH": "/bin", "PYTHONPATH": "/x", "AGENTPROXY_AUTH_KEY": "k", "GITHUB_TOKEN": "t", "AWS_SECRET": "s"}
    shown = own_environment(ours)
    assert {name for name in shown if name in ours} == {"PATH", "PYTHONPATH"}
