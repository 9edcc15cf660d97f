"""Launching by the fork server: embedded agent servers as its forks, everything else as a program that a fork becomes."""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger

from agentproxy.runtime.fork_server import ForkServer, NotForked, Unavailable
from agentproxy.runtime.launching import Executing, Launch, Launcher, LaunchFailed, check_directory, find_program
from agentproxy.runtime.orphans import MARKER_VARIABLE

log = Logger()


class Forking:
    """Asks the fork server, and does without it when it is not there.

    What begins with the embedded agent server's own command is a fork that shares its imports; where a script or a fence stands in
    front, and for other programs, the fork executes it.

    :param replaced: the first words of an argv that the fork server stands for; none of them when it has nothing imported.
    :param otherwise: launches when there is no fork server.
    """

    def __init__(self, server: ForkServer, replaced: tuple[str, ...] = (), otherwise: Launcher | None = None) -> None:
        self._server = server
        self._replaced = replaced
        self._otherwise: Launcher = otherwise or Executing()

    async def launch(self, wanted: Launch) -> int:
        """Launch a program and return its process id, as :class:`agentproxy.runtime.launching.Launcher` says."""
        check_directory(wanted.directory)
        try:
            return await self._server.ask(self._wish(wanted))
        except NotForked as failed:
            raise LaunchFailed(str(failed)) from None
        except Unavailable as why:
            log.info("An agent server is started without the fork server: {why}", why=why)
            return await self._otherwise.launch(wanted)

    def _wish(self, wanted: Launch) -> dict[str, Any]:
        forked = bool(self._replaced) and wanted.argv[: len(self._replaced)] == self._replaced
        program = None if forked else find_program(wanted.argv, wanted.environment, wanted.directory)
        return {
            "program": program,
            "arguments": wanted.argv[len(self._replaced) :] if forked else wanted.argv,
            "environment": dict(wanted.environment),
            "directory": str(wanted.directory),
            "log": str(wanted.log_path),
            "cgroup": str(wanted.cgroup) if wanted.cgroup is not None else None,
            "limits": wanted.limits.named(),
            "marker": wanted.environment.get(MARKER_VARIABLE, ""),
            "title": wanted.title,
        }
