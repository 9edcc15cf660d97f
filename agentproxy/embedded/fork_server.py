"""The fork server: ``python -m agentproxy.embedded.fork_server``, one process that starts all agent servers.

Everything is imported here once, no reactor is made, and each embedded agent server is a fork of it: a process of its own, with
its own session, environment, directory and log, that costs some milliseconds and the memory it writes to. Other programs (a
start-up script, a fence, the real agentapi) a fork executes; with the argument ``--bare`` it imports nothing and does only that.

It is asked on standard input and answers on standard output, each text one JSON object behind its length (4 bytes, network
order); it ends when its input does.

==========================================================================  =============================================
it says first ``{"ready": PID}``                                            everything is imported
``{"id", "arguments", "environment", "directory", "log", "cgroup", "limits",  arguments as of ``python -m agentproxy.embedded``,
"marker", "title", "program"}``                                             the whole environment, limits by ``RLIMIT_`` name;
                                                                            with ``program``, its path, its whole argv
``{"id", "pid"}``                                                           the agent server runs with this process id
``{"id", "error"}``                                                         it does not, and why
==========================================================================  =============================================

A forked process is a sibling: its parent is the daemon, who also learns how it ended. Where the kernel does not allow that, it is
orphaned at once, so that whoever adopts orphans (the daemon as the subreaper, else init) is the parent. It tells its process id
itself and begins its work only then: a write of so few bytes to a pipe is whole or not at all, and until it is made the answers
have no end. So whoever sees their end has been told of everything that runs, whenever this process dies; and when nobody reads
any more, the forked process ends.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import secrets
import signal
import socket
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NoReturn

from agentproxy.embedded.cloning import fork_beside
from agentproxy.embedded.fork_server_identity import Identity
from agentproxy.embedded.lean import leave_out_tls

MOST_BYTES = 4 * 1024 * 1024
"""The longest text that is taken."""
IMPORTED = (
    "agentproxy.embedded.__main__",
    "agentproxy.embedded.server",
    "agentproxy.embedded.terminal_socket",
    "twisted.internet.default",
    "twisted.internet.epollreactor",
    "twisted.internet.process",
    "twisted.internet.tcp",
    "twisted.internet.unix",
    "encodings.ascii",
    "encodings.idna",
)
_LENGTH = struct.Struct("!I")
_IGNORED = (signal.SIGPIPE, signal.SIGXFSZ)
"""What a fresh Python ignores."""


class NotStarted(Exception):  # noqa: N818 - an answer, not a defect
    """The process could not be made; the text says why."""


@dataclass(frozen=True, slots=True)
class Wish:
    """One agent server that is wanted.

    :param arguments: what would stand behind ``python -m agentproxy.embedded``, or the argv of ``program``.
    :param environment: its whole environment.
    :param directory: its working directory.
    :param log: file that its output is appended to.
    :param cgroup: directory of the cgroup that it joins, None for none.
    :param limits: resource limits, name without ``RLIMIT_`` to value.
    :param marker: what ``/proc`` shows as its marker, "" for none.
    :param title: what ``ps`` shows of it.
    :param program: path of another program that it becomes, None for the embedded agent server.
    """

    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    directory: str
    log: str
    cgroup: str | None = None
    limits: Mapping[str, int] | None = None
    marker: str = ""
    title: str = "agentproxy"
    program: str | None = None


def read_text(descriptor: int) -> dict[str, Any] | None:
    """Return the next text of a descriptor, None at its end.

    :raises ValueError: it is too long or no JSON object.
    """
    head = _read_exactly(descriptor, _LENGTH.size)
    if head is None:
        return None
    (length,) = _LENGTH.unpack(head)
    if length > MOST_BYTES:
        raise ValueError(f"a text of {length} bytes is too long")
    body = _read_exactly(descriptor, length)
    if body is None:
        return None
    text = json.loads(body)
    if not isinstance(text, dict):
        raise ValueError("a text that is no object")
    return text


def _read_exactly(descriptor: int, length: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < length:
        part = os.read(descriptor, length - len(parts))
        if not part:
            return None
        parts += part
    return bytes(parts)


def write_text(descriptor: int, text: Mapping[str, Any]) -> None:
    """Write one text.

    :raises OSError: nobody reads any more.
    """
    body = json.dumps(text).encode("ascii")
    rest = memoryview(_LENGTH.pack(len(body)) + body)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


class ForkServer:
    """Forks one agent server for each text that asks for one.

    :param asked: descriptor that it is asked on.
    :param answers: descriptor that it answers on.
    """

    def __init__(self, asked: int, answers: int) -> None:
        self._asked, self._answers = asked, answers
        self._identity = Identity.find()

    def serve(self) -> None:
        """Answer until the input ends."""
        write_text(self._answers, {"ready": os.getpid()})
        while (text := read_text(self._asked)) is not None:
            number = text.pop("id")
            try:
                self._start(number, Wish(**{**text, "arguments": tuple(text["arguments"])}))
            except (OSError, TypeError, KeyError) as wrong:
                self._fail(number, str(wrong))

    def _start(self, number: int, wish: Wish) -> None:
        try:
            pid = fork_beside(wish.cgroup)
        except (
            OSError
        ):  # an old kernel, one that forbids it, or a cgroup that cannot be used: who joins it then says why
            self._start_orphan(number, wish)
            return
        if pid == 0:
            self._agent_server(number, wish, True)

    def _start_orphan(self, number: int, wish: Wish) -> None:
        between = os.fork()
        if between == 0:
            self._in_between(number, wish)
        os.waitpid(between, 0)

    def _in_between(self, number: int, wish: Wish) -> NoReturn:
        """Fork once more and end, so that whoever adopts orphans is the parent."""
        parent = os.getpid()
        try:
            if os.fork() == 0:
                while os.getppid() == parent:  # who adopts orphans shall learn how it ended, however soon that is
                    time.sleep(0.0002)
                self._agent_server(number, wish, False)
        except OSError as wrong:
            self._fail(number, f"no further process: {wrong.strerror}")
        finally:
            os._exit(0)

    def _agent_server(self, number: int, wish: Wish, placed: bool) -> NoReturn:
        status = 125
        try:
            log = settle(wish, placed)
            self._identity.show(wish.title, wish.marker)
            write_text(self._answers, {"id": number, "pid": os.getpid()})
        except BaseException as wrong:
            self._fail(number, str(wrong))
            os._exit(status)
        try:
            take_descriptors(log)
            status = execute(wish.program, wish) if wish.program else become(wish)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
        except BaseException:
            traceback.print_exc()
            status = 1
        finally:
            _leave(status)

    def _fail(self, number: int, why: str) -> None:
        with contextlib.suppress(OSError):
            write_text(self._answers, {"id": number, "error": why[:1000]})


def settle(wish: Wish, placed: bool) -> int:
    """Take the process to its place (session, cgroup, directory, limits) and return the descriptor of its log.

    :param placed: whether it is in its cgroup.
    :raises NotStarted: one of them cannot be used.
    """
    os.setsid()
    if wish.cgroup and not placed:
        with _saying(f"the cgroup {wish.cgroup} cannot be joined"):
            join(wish.cgroup)
    with _saying(f"the directory {wish.directory} cannot be entered"):
        os.chdir(wish.directory)
    with _saying(f"the log {wish.log} cannot be written"):
        log = os.open(wish.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    for name, value in (wish.limits or {}).items():
        with _saying(f"the limit {name} cannot be {value}"):
            resource.setrlimit(getattr(resource, f"RLIMIT_{name.upper()}"), (value, value))
    return log


@contextlib.contextmanager
def _saying(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, AttributeError) as wrong:
        raise NotStarted(f"{what}: {getattr(wrong, 'strerror', None) or wrong}") from None


def join(cgroup: str) -> None:
    """Move this process into a cgroup."""
    with open(f"{cgroup}/cgroup.procs", "w", encoding="ascii") as file:
        file.write("0")


def take_descriptors(log: int) -> None:
    """Make the log standard output and error, ``/dev/null`` standard input, and close everything else."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            with contextlib.suppress(OSError):  # the descriptor of the listing itself
                os.close(int(name))


def _reset_signals(ignored: Collection[signal.Signals]) -> None:
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if number < signal.SIGRTMIN:
            signal.signal(number, signal.SIG_IGN if number in ignored else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def execute(program: str, wish: Wish) -> NoReturn:
    """Become another program, with the signals and the environment that it shall have.

    :raises SystemExit: it cannot be executed; the log says why.
    """
    _reset_signals(())
    try:
        os.execve(program, wish.arguments, dict(wish.environment))
    except (OSError, ValueError) as wrong:
        sys.stderr.write(f"{program} could not be run: {getattr(wrong, 'strerror', None) or wrong}\n")
        raise SystemExit(126) from None


def become(wish: Wish) -> int:
    """Be the agent server until it ends, with the signals, the environment and the arguments of a fresh process."""
    _reset_signals(_IGNORED)
    os.environ.clear()
    os.environ.update(wish.environment)
    time.tzset()
    tempfile.tempdir = None
    sys.argv = ["agentproxy.embedded", *wish.arguments]
    gc.enable()
    status: int = import_module("agentproxy.embedded.__main__").main(list(wish.arguments))
    return status


def _leave(status: int) -> NoReturn:
    """End without unwinding what belongs to the fork server."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status & 0xFF)


def load() -> None:
    """Import everything that an agent server uses; memory that is shared from then on is not looked through again.

    :raises RuntimeError: one of them has made a reactor, which a fork must not share.
    """
    leave_out_tls()  # a fork copies the page tables of all that is imported
    for name in IMPORTED:
        import_module(name)
    _warm_up()
    if "twisted.internet.reactor" in sys.modules:
        raise RuntimeError("a reactor exists before the fork")
    gc.disable()
    gc.collect()
    gc.freeze()


def _warm_up() -> None:
    """Do once what every agent server does first, so that its forks share what that leaves in memory."""
    parse = import_module("agentproxy.embedded.flags").parse
    screen = import_module("agentproxy.embedded.screen").Screen
    for _turn in range(16):
        parse(["server", "--port=1", "--type=custom", "--end-file", "x", "--", "true"], {})
        parse(["server", "--unix-socket=x", "--door-file=x", "true"], {})
        screen(80, 24).feed(b"\x1b[1mhello\r\n")
    with contextlib.suppress(OSError):  # without a loopback device it starts a little slower
        for _turn in range(4):
            _answer_once(parse(["server", "--port=0", "--type=custom", "true"], {}))


def _answer_once(settings: Any) -> None:
    """Answer one request, of our own, in a reactor that is thrown away."""
    reactor: Any = import_module("twisted.internet.epollreactor").EPollReactor()
    door = secrets.token_hex()
    server = import_module("agentproxy.embedded.server").Server(reactor, settings, door, "")
    port = reactor.listenTCP(0, server.site, interface="127.0.0.1")
    try:
        with socket.create_connection(("127.0.0.1", port.getHost().port), 5) as asking:
            head = f"GET /status HTTP/1.1\r\nHost: localhost\r\nX-Agentproxy-Door: {door}\r\nConnection: close\r\n\r\n"
            asking.sendall(head.encode())
            for _turn in range(10):
                reactor.iterate(0.001)
    finally:
        port.stopListening()
        reactor.iterate(0)
        for reader in reactor.removeAll():
            reader.connectionLost(None)
        reactor.waker.connectionLost(None)
        reactor._poller.close()
        reserve: Any = import_module("twisted.internet.tcp")._reservedFD
        if reserve.available():
            reserve.__enter__()  # gives back the descriptor that a listening port has in reserve


def main() -> int:
    """Run the fork server and return its exit status."""
    with contextlib.suppress(PermissionError):  # it leads its group already
        os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if "--bare" not in sys.argv:
        load()
    with contextlib.suppress(BrokenPipeError):  # the daemon has gone
        ForkServer(0, 1).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
