"""One agent server from its settings to its end: bind, start the agent, serve, stop, and write down how it ended.

The end file is one JSON object ``{"pid", "start_ticks", "exit": {"code", "signal"}, "at", "reason": "agent_exited" | "stopped" |
"failed", "agent": {"code", "signal"}, "output": [last lines]}``, so that whoever is not the parent learns how it went.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import stat
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from agentproxy.embedded.agent_process import family
from agentproxy.embedded.conversation import load_state, save_state, write_private
from agentproxy.embedded.formats import FORMATS, canonical_type
from agentproxy.embedded.http import Rules, Site
from agentproxy.embedded.orphanage import adopt_orphans, reap_orphans
from agentproxy.embedded.record import Recorder
from agentproxy.embedded.session import Session
from agentproxy.embedded.talk import SendError
from agentproxy.embedded.terminal import Terminal
from agentproxy.embedded.uploads import Uploads

LINGER = 0.3
"""Seconds that answers in flight have when the server ends."""
ENDED_LINES = 50
"""Lines of the screen that are told of an agent that has ended, as many as a failed start shows."""


class StartError(Exception):
    """The server cannot start; the text says why."""


class Server:
    """One agent server.

    :param settings: what :func:`agentproxy.embedded.flags.parse` returned.
    :param door: the secret that requests must carry, None for no door.
    :param prompt: the initial prompt, "" for none.
    """

    _log = Logger()

    def __init__(self, reactor: Any, settings: argparse.Namespace, door: str | None, prompt: str) -> None:
        self._reactor, self._settings = reactor, settings
        self.exit_status = 0
        self._prompt, self._prompt_sent, self._tried = prompt.strip(" \t\n\r\f\v"), False, False
        self._reason, self._descendants = "agent_exited", [0][:0]
        self._port: Any = None
        self._kill: Any = None
        self._finished = False
        self._why = ""
        self._recorder: Recorder | None = None
        self._session, self._terminal = self._talk(canonical_type(settings.type, settings.command[0]))
        self._uploads = Uploads()
        hosts, origins = settings.allowed_hosts.split(","), settings.allowed_origins.split(",")
        rules = Rules(door, tuple(hosts), tuple(origins), "/" + settings.chat_base_path.strip("/"))
        self.site = Site(self._session, rules, self._uploads, reactor)

    def _talk(self, kind: str) -> tuple[Any, Any]:
        """Return what is talked to, a terminal or an agent on ACP, and its process."""
        settings = self._settings
        if settings.experimental_acp:
            from agentproxy.embedded.acp import AcpSession  # only who speaks it pays for it
            from agentproxy.embedded.pipes import Pipes

            asked = AcpSession(self._reactor, kind, settings.term_width, settings.term_height, self._give_up)
            return asked, Pipes(asked.drawn, self._agent_ended, asked.closed)
        session = Session(self._reactor, kind, settings.term_width, settings.term_height, settings.emulator)
        return session, Terminal(session.drawn, self._agent_ended)

    def start(self, environment: Mapping[str, str]) -> None:
        """Bind, then start the agent with *environment*.

        :raises StartError: the address is taken, another server lives by the pid file, or the program is missing.
        """
        settings = self._settings
        program = shutil.which(settings.command[0], path=environment.get("PATH"))
        if program is None:
            raise StartError(
                f'Error starting process: exec: "{settings.command[0]}": executable file not found in $PATH'
            )
        self._claim_pid_file()
        try:
            if settings.unix_socket:
                drop_dead_socket(settings.unix_socket)
                self._port = self._reactor.listenUNIX(settings.unix_socket, self.site, mode=0o600, wantPID=False)
            else:
                self._port = self._reactor.listenTCP(settings.port, self.site, interface=settings.host, backlog=128)
        except (CannotListenError, OSError) as error:
            self._drop_pid_file()
            raise StartError(f"failed to start server: {error}") from error
        adopt_orphans()
        self._record()
        self._session.on_ready = self._ready
        self._session.on_stable = reap_orphans
        self._session.terminal = self._terminal
        env = {name: value for name, value in environment.items() if name not in ("COLUMNS", "LINES")}
        argv = [program, *settings.command[1:]]
        env["TERM"] = "xterm-256color"
        try:
            self._terminal.start(self._reactor, argv, env, settings.term_width, settings.term_height)
        except OSError as error:
            self._drop_pid_file()
            raise StartError(f"Error starting process: {error}") from error
        if settings.experimental_acp:
            self._session.begin(os.getcwd(), self._earlier())
        elif before := FORMATS[self._session.agent_type].before_start:
            self._terminal.write(before)
        where = settings.unix_socket or f"{settings.host}:{settings.port}"
        say(f"serving {Path(program).name} ({self._session.agent_type}) at {where}")

    def _earlier(self) -> str | None:
        """Return the id of the agent's earlier session, None when none is known."""
        if not self._settings.acp_session_file:
            return None
        with suppress(FileNotFoundError):
            return Path(self._settings.acp_session_file).read_text(encoding="utf-8").strip() or None
        return None

    def _record(self) -> None:
        settings, screen = self._settings, self._session.screen
        if not settings.record:
            return
        try:
            self._recorder = Recorder(
                settings.record,
                self._reactor,
                lambda: (screen.width, screen.height),
                screen.picture,
                settings.record_size,
                settings.record_keep,
            )
        except OSError as error:
            self._close_door()
            self._drop_pid_file()
            raise StartError(f"the recording cannot be written: {error}") from error
        self._session.taps.add(self._recorder.tap)
        self._session.on_resize = self._recorder.resized

    # state and initial prompt

    def _ready(self) -> None:
        settings = self._settings
        if settings.state_file and settings.load_state is not False:
            self._load(Path(settings.state_file))
        if settings.acp_session_file:
            self._keep_session_id(Path(settings.acp_session_file))
        if self._prompt and not self._prompt_sent and not self._tried:
            self._tried = True
            done = Deferred.fromCoroutine(self._send_prompt())
            done.addErrback(lambda failure: self._log.failure("The initial prompt could not be sent.", failure))

    def _keep_session_id(self, path: Path) -> None:
        try:
            write_private(path, f"{self._session.acp_id}\n")
        except OSError as error:
            self._session.warn(f"The session cannot be loaded again, its id could not be written: {error}")

    def _load(self, path: Path) -> None:
        try:
            messages, prompt, sent = load_state(path)
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            self._session.warn(f"Failed to restore previous session: {error}")
            return
        if not self._prompt or self._prompt == prompt:
            self._prompt, self._prompt_sent = prompt, sent
        self._session.restored(messages)

    async def _send_prompt(self) -> None:
        try:
            await self._session.deliver(self._prompt)
            self._prompt_sent = True
        except SendError as refused:
            self._session.warn(f"The initial prompt was not sent: {refused}")

    def save(self) -> None:
        """Save the state when there is a state file and something has changed."""
        settings, conversation = self._settings, self._session.conversation
        if not settings.state_file or settings.save_state is False or not conversation.dirty:
            return
        try:
            save_state(Path(settings.state_file), conversation.messages, self._prompt, self._prompt_sent)
            conversation.dirty = False
        except OSError as error:
            self._log.error("The state could not be saved: {error}", error=error)

    # the end

    def stop(self) -> None:
        """Stop in good order: state saved, streams ended, the agent interrupted and, after a while, killed."""
        if self._reason == "stopped" or self._finished:
            return
        self._reason = "stopped"
        say("told to stop: ending the agent")
        self.save()
        self._close_door()
        self._descendants = family(os.getpid())
        self._terminal.signal(signal.SIGINT)
        self._kill = self._reactor.callLater(self._settings.stop_grace / 2, self._insist)

    def _insist(self) -> None:
        """Ask an agent that the interrupt did not end more plainly; kill it when that does not help either."""
        self._terminal.signal(signal.SIGTERM)
        self._terminal.signal(signal.SIGHUP)
        self._kill = self._reactor.callLater(self._settings.stop_grace / 2, self._terminal.kill_all, self._descendants)

    def _give_up(self, why: str) -> None:
        """End an agent that cannot be talked to."""
        if self._finished or self._why or self._reason == "stopped":
            return
        self._reason, self._why, self.exit_status = "failed", why, 1
        write_log(f"{why}\n")
        self._session.warn(why)
        self._terminal.kill_all(family(os.getpid()))

    def _close_door(self) -> None:
        if self._port is not None:
            self._port.stopListening()
            self._port = None
        self.site.end_streams()

    def _agent_ended(self, code: int | None, number: int | None) -> None:
        if self._kill is not None and self._kill.active():
            self._kill.cancel()
        self._terminal.kill_all({*self._descendants, *family(os.getpid())})
        self._session.ended(code, number)
        if self._recorder is not None:
            self._recorder.close()
        self.save()
        self._close_door()
        self._uploads.remove()
        if self._reason == "agent_exited":
            self.exit_status = code if code is not None else 128 + (number or 0)
            if self.exit_status:
                self._print_last_words()
            else:
                say("the agent has left with exit status 0")
        self._finished = True
        self._drop_pid_file()
        self.write_end(self._last_lines(), {"code": code, "signal": number})
        self._reactor.callLater(0.01 if self._reason == "stopped" else LINGER, self._reactor.stop)

    def _last_lines(self) -> list[str]:
        return [self._why] if self._why else self._session.screen.text.split("\n")[-ENDED_LINES:]

    def _print_last_words(self) -> None:
        rows = "".join(f"    {row}\n" for row in self._last_lines())
        write_log(f"agent exited with error:\n  - ========\n{rows}    ========:\n  - exit status {self.exit_status}\n")

    def write_end(self, output: list[str], agent: dict[str, int | None]) -> None:
        """Write the end file, when one is wanted and there is room for it."""
        with suppress(OSError):
            write_end(self._settings.end_file, self._reason, self.exit_status, agent, output)

    def _claim_pid_file(self) -> None:
        if not self._settings.pid_file:
            return
        path = Path(self._settings.pid_file)
        with suppress(OSError, ValueError):
            other = int(path.read_text())
            os.kill(other, 0)
            raise StartError(f"another instance is already running with PID {other} (PID file: {path})")
        write_private(path, f"{os.getpid()}\n")

    def _drop_pid_file(self) -> None:
        if self._settings.pid_file:
            path = Path(self._settings.pid_file)
            with suppress(OSError, ValueError):
                if int(path.read_text()) == os.getpid():
                    path.unlink()


def write_log(text: str) -> None:
    """Write into the log, which is our standard error; what has no room there is lost, and nothing else is."""
    with suppress(OSError):
        sys.stderr.write(text)


def say(sentence: str) -> None:
    """Write a sentence with its time into the log."""
    write_log(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {sentence}\n")


def drop_dead_socket(path: str) -> None:
    """Remove the UNIX socket at *path* when nobody listens there any more: a server that was killed leaves it behind."""
    with suppress(OSError):
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as asking:
            try:
                asking.connect(path)
            except ConnectionRefusedError:
                os.unlink(path)


def write_end(path: str, reason: str, status: int, agent: dict[str, int | None], output: list[str]) -> None:
    """Write the end file at *path* ("" for none)."""
    if not path:
        return
    own = Path("/proc/self/stat").read_text(encoding="ascii", errors="replace")
    end = {
        "pid": os.getpid(),
        "start_ticks": int(own.rpartition(")")[2].split()[19]),
        "exit": {"code": status, "signal": None},
        "at": time.time(),
        "reason": reason,
        "agent": agent,
        "output": output,
    }
    write_private(Path(path), json.dumps(end, ensure_ascii=False) + "\n")
