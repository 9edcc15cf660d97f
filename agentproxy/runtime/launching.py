"""Launching a program that can outlive us: own session, nothing inherited, output appended to a file.

``posix_spawn`` costs well under a millisecond in the reactor thread, where a fork of a large server does not. What it
cannot do (the directory, the cgroup) a shell of a few hundred microseconds does before it becomes the program.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from agentproxy.runtime.limits import Limits
from agentproxy.runtime.plain_files import open_plain

_SHELL = "/bin/sh"
_SCRIPT = """\
if [ -n "$1" ]; then echo "$$" > "$1/cgroup.procs" || exit 125; fi
cd -- "$2" || exit 125
shift 2
exec "$@"
"""
_SIGNALS = sorted(set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP})


@dataclass(frozen=True, slots=True)
class Launch:
    """What is launched.

    :param argv: the program and its arguments; a name without a slash is looked up in the environment's ``PATH``.
    :param environment: the whole environment, nothing is added.
    :param directory: working directory, absolute.
    :param log_path: file that standard output and error are appended to.
    :param cgroup: directory of the cgroup that the process joins before it runs the program.
    :param limits: what the process and its children may use.
    :param title: what ``ps`` shows, where that can be chosen.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    directory: Path
    log_path: Path
    cgroup: Path | None = None
    limits: Limits = field(default_factory=Limits)
    title: str = "agentproxy"


class Launcher(Protocol):
    """Launches agent servers, each way of it in its own time."""

    async def launch(self, wanted: Launch) -> int:
        """Launch a program and return its process id, which is its session's and its process group's too.

        It cannot be cancelled: whoever waits hears of the process, and has to end it.

        :raises LaunchFailed: directory, program or log file cannot be used.
        :raises Refusal: START_UNAVAILABLE when a program that it needs is not installed.
        """


class LaunchFailed(Exception):  # noqa: N818 - a result that is expected and shown to a user
    """The program could not be run; the text says why in one sentence."""


def find_program(argv: tuple[str, ...], environment: Mapping[str, str], directory: Path) -> str:
    """Return the path of the program.

    :raises LaunchFailed: it does not exist or may not be executed.
    """
    name = argv[0]
    path = str(directory / name) if "/" in name else shutil.which(name, path=environment.get("PATH", os.defpath))
    if path is None:
        raise LaunchFailed(f"{name} was not found in PATH ({environment.get('PATH', os.defpath)})")
    if not os.path.exists(path):
        raise LaunchFailed(f"{path} does not exist")
    if os.path.isdir(path) or not os.access(path, os.X_OK):
        raise LaunchFailed(f"{path} is not executable")
    return path


class Executing:
    """Launches by exec: any program."""

    async def launch(self, wanted: Launch) -> int:
        """Launch a program and return its process id."""
        return launch(replace(wanted, argv=wanted.limits.wrap(wanted.argv), limits=Limits()))


def check_directory(directory: Path) -> None:
    """Check that there is such a directory.

    :raises LaunchFailed: there is none.
    """
    if not directory.is_dir():
        raise LaunchFailed(f"the directory {directory} does not exist")


def launch(wanted: Launch) -> int:
    """Launch a program, without its limits, and return its process id, which is its session's and its group's too.

    :raises LaunchFailed: directory, program or log file cannot be used.
    """
    check_directory(wanted.directory)
    program = find_program(wanted.argv, wanted.environment, wanted.directory)
    cgroup = str(wanted.cgroup) if wanted.cgroup is not None else ""
    argv = [_SHELL, "-c", _SCRIPT, "agentproxy-launch", cgroup, str(wanted.directory), program, *wanted.argv[1:]]
    try:
        output = open_plain(wanted.log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    except OSError as error:
        raise LaunchFailed(f"the log {wanted.log_path} cannot be written: {error.strerror}") from None
    try:
        return os.posix_spawn(
            _SHELL,
            argv,
            dict(wanted.environment),
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, output, 1),
                (os.POSIX_SPAWN_DUP2, output, 2),
                *((os.POSIX_SPAWN_CLOSE, descriptor) for descriptor in _inheritable()),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=_SIGNALS,
        )
    except (OSError, ValueError) as error:
        raise LaunchFailed(f"{program} could not be run: {error}") from None
    finally:
        os.close(output)


def _inheritable() -> list[int]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        try:
            if descriptor > 2 and os.get_inheritable(descriptor):
                found.append(descriptor)
        except OSError:
            continue  # the descriptor of the listing itself
    return found
