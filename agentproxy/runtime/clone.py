"""Cloning a repository into the working directory of a session: ``git clone`` as a child in its own process group.

The token goes to git through GIT_ASKPASS, which reads it from its environment and answers the configured hosts only; so it
is in no argument, URL, log or ``.git/config``. Nothing of the operator's is used: no configuration, credentials or SSH keys.
Only for a local repository the machine's ``/etc/gitconfig`` counts: there stands, as ``safe.directory``, which repositories of
other UNIX users git may read.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorProcess, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from agentproxy.errors import INVALID_REQUEST, Refusal
from agentproxy.model.repository import Repository, Transport
from agentproxy.model.session import ExitStatus
from agentproxy.runtime.orphans import MARKER_VARIABLE
from agentproxy.runtime.ssh_files import SshFiles
from agentproxy.runtime.steps import StepFailed

KEPT = 65_536
"""Bytes of git's output that are kept."""
LINES = 50
_ADVICE = "; give it to the server's UNIX user, or name it as safe.directory in /etc/gitconfig"

ASKPASS = """#!/bin/sh
case "$1" in
"Username for 'https://$AGENTPROXY_GIT_HOST'"*) printf '%s\\n' x-access-token ;;
"Password for 'https://x-access-token@$AGENTPROXY_GIT_HOST'"*) printf '%s\\n' "$AGENTPROXY_GIT_TOKEN" ;;
*) exit 1 ;;
esac
"""

SETTINGS = ("protocol.ext.allow=never", "core.hooksPath=/dev/null", "submodule.recurse=false", "credential.helper=")


@dataclass(frozen=True, slots=True)
class CloneRules:
    """What the configuration says about cloning.

    :param roots: directories below which local repositories may be cloned.
    :param token_hosts: hosts, with their port, that may get the token; lower case.
    :param timeout: seconds for the whole clone.
    """

    roots: tuple[Path, ...] = ()
    token_hosts: Collection[str] = ("github.com",)
    timeout: float = 300.0


class _Git(ProcessProtocol):
    """Keeps the end of the output. ``exited`` may be cancelled, ``gone`` always comes."""

    def __init__(self) -> None:
        self.exited: Deferred[None] = Deferred()
        self.gone: Deferred[None] = Deferred()
        self.expired = False
        self.status = ExitStatus()
        self._kept = b""
        self._cut = False
        self._group: int | None = None

    def connectionMade(self) -> None:
        self._group = getattr(self.transport, "pid", None)

    def childDataReceived(self, childFD: int, data: bytes) -> None:  # noqa: ARG002 - the interface of Twisted
        together = self._kept + data
        self._cut = self._cut or len(together) > KEPT
        self._kept = together[-KEPT:]

    def processEnded(self, reason: Failure) -> None:
        code, number = getattr(reason.value, "exitCode", None), getattr(reason.value, "signal", None)
        self.status = ExitStatus(code=code, signal=signal.Signals(number).name if number else None)
        self.gone.callback(None)
        self.exited.callback(None)

    def kill(self) -> None:
        """End git and what it started."""
        if self._group is None:
            return
        try:
            # The group is there as long as one of its processes is, also when git itself has been reaped.
            os.killpg(self._group, signal.SIGKILL)
        except ProcessLookupError:
            if getattr(self.transport, "pid", None) is not None:
                # Too early: it has no group of its own yet.
                os.kill(self._group, signal.SIGKILL)

    def expire(self) -> None:
        """End git because its time is over."""
        self.expired = True
        self.kill()

    def lines(self, secret: str | None) -> tuple[str, ...]:
        """Return the last lines without the secret; a line that was cut at its beginning is left out."""
        text = self._kept.decode("utf-8", "replace")
        if secret:
            text = text.replace(secret, "***")
        lines = text.replace("\r", "\n").split("\n")
        return tuple(line for line in lines[1 if self._cut else 0 :] if line.strip())[-LINES:]


def _outside(path: str) -> Refusal:
    sentence = f"{path}: local repositories must lie under a configured root (sessions.local_repository_roots)"
    return Refusal(INVALID_REQUEST, sentence)


def clone_marker(target: Path) -> str:
    """Return the marker in the environment of the git that clones into *target*, so that a later server can end it."""
    return f"clone:{target}"


class Cloner:
    """Clones repositories.

    :param processes: the reactor.
    :param git: ``setsid`` and the git program, as found on PATH.
    :param environment: the clean environment that git gets, PATH at least; no secrets.
    """

    def __init__(
        self,
        processes: IReactorProcess,
        clock: IReactorTime,
        git: Sequence[str],
        rules: CloneRules,
        environment: Mapping[str, str],
    ) -> None:
        self._processes = processes
        self._clock = clock
        self._git = tuple(git)
        self._rules = rules
        self._environment = dict(environment)
        self._roots = (*rules.roots, *(Path(os.path.realpath(root)) for root in rules.roots))

    def check(self, repository: Repository, path: str) -> None:
        """Check that a local repository is asked for below a configured root; links are followed when it is cloned.

        :param path: where the repository stood in the request.
        :raises Refusal: INVALID_REQUEST.
        """
        if repository.transport is Transport.LOCAL:
            asked = Path(repository.url)
            if not any(asked.is_relative_to(root) for root in self._roots):
                raise _outside(path)

    async def clone(
        self,
        repository: Repository,
        target: Path,
        home: Path,
        token: str | None = None,
        path: str = "$.tags.repository",
    ) -> None:
        """Clone into an empty directory; one that is a repository already is left as it is (a session started again).

        When the waiting Deferred is cancelled, git is ended first.

        :param home: the HOME of the user, whose ``.ssh`` an SSH clone uses.
        :param path: where the repository stood in the request.
        :raises StepFailed: ``clone``; also where the directory belongs to another user by now, for git runs what it finds there.
        :raises Refusal: INVALID_REQUEST, a local repository that is not below a configured root.
        """
        source = await deferToThread(self._source, repository, target, path)
        if source is None:
            return
        askpass = target.parent / "askpass"
        given = (
            token if repository.transport is Transport.HTTPS and repository.host in self._rules.token_hosts else None
        )
        if given:
            await deferToThread(_write_askpass, askpass)
        keys = SshFiles(home, target.parent / "ssh")
        if repository.transport is Transport.SSH:
            try:
                await deferToThread(keys.take)
            except OSError as error:
                raise StepFailed("clone", f"the SSH keys cannot be copied: {error}", unavailable=True) from None
        try:
            environment = {
                **self._variables(repository, home, askpass, given),
                "GIT_SSH_COMMAND": keys.command(),
                MARKER_VARIABLE: clone_marker(target),
            }
            await self._run(self._argv(repository, source, target), target, environment, token)
            if repository.transport is Transport.SSH:
                await deferToThread(keys.give_back)
        finally:
            keys.remove()
            askpass.unlink(missing_ok=True)

    def _source(self, repository: Repository, target: Path, path: str) -> str | None:
        if (target / ".git").exists():
            return None
        if target.exists() and target.stat().st_uid != os.geteuid():
            raise StepFailed("clone", "the repository is gone from the working directory, which is the agent's by now")
        if repository.transport is not Transport.LOCAL:
            return repository.url
        found = Path(os.path.realpath(repository.url))
        if not any(found.is_relative_to(os.path.realpath(root)) for root in self._rules.roots):
            raise _outside(path)
        return str(found)

    def _argv(self, repository: Repository, source: str, target: Path) -> tuple[str, ...]:
        settings = [part for setting in SETTINGS for part in ("-c", setting)]
        branch = ["--branch", repository.branch] if repository.branch else []
        return (*self._git, *settings, "clone", "--template=", "--no-hardlinks", *branch, "--", source, str(target))

    def _variables(self, repository: Repository, home: Path, askpass: Path, token: str | None) -> dict[str, str]:
        allowed = "file" if repository.transport is Transport.LOCAL else repository.transport.value
        secret = {"GIT_ASKPASS": str(askpass), "AGENTPROXY_GIT_TOKEN": token, "AGENTPROXY_GIT_HOST": repository.host}
        system = {} if repository.transport is Transport.LOCAL else {"GIT_CONFIG_NOSYSTEM": "1"}
        return {
            **self._environment,
            **system,
            "HOME": str(home),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": allowed,
            **({name: value for name, value in secret.items() if value} if token else {}),
        }

    async def _run(self, argv: Sequence[str], target: Path, environment: dict[str, str], token: str | None) -> None:
        git = _Git()
        try:
            self._processes.spawnProcess(git, argv[0], argv, env=environment, path=str(target.parent))
        except OSError as error:
            raise StepFailed("clone", f"git cannot be started: {error.strerror}", unavailable=True) from error
        deadline = self._clock.callLater(self._rules.timeout, git.expire)
        try:
            await git.exited
        except CancelledError:
            git.kill()
            await git.gone
            raise
        finally:
            if deadline.active():
                deadline.cancel()
        if git.status.code != 0:
            raise self._failed(git, token)

    def _failed(self, git: _Git, token: str | None) -> StepFailed:
        lines = git.lines(token)
        if git.expired:
            sentence = f"git clone was not done within {self._rules.timeout:g} s"
        else:
            said = next((line for line in lines if line.startswith("fatal:")), lines[-1] if lines else "")
            advice = _ADVICE if "dubious ownership" in said else ""
            sentence = f"git clone ended with {git.status.sentence()}" + (f": {said}{advice}" if said else "")
        return StepFailed("clone", sentence, git.status, lines)


def _write_askpass(path: Path) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o700)
    with os.fdopen(descriptor, "w") as file:
        file.write(ASKPASS)
