"""Launching embedded agent servers by the fork server, and everything else by exec."""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger

from agentproxy.runtime.fork_server import ForkServer, NotForked, Unavailable
from agentproxy.runtime.launching import Executing, Launch, Launcher, LaunchFailed, check_directory
from agentproxy.runtime.orphans import MARKER_VARIABLE

log = Logger()


class Forking:
    """Asks the fork server for what begins with the embedded agent server's own command; a script or a fence in front of
    it, or a fork server that is not there, means exec.

    :param replaced: the first words of an argv that the fork server stands for.
    :param otherwise: launches all else.
    """

    def __init__(self, server: ForkServer, replaced: tuple[str, ...], otherwise: Launcher | None = None) -> None:
        self._server = server
        self._replaced = replaced
        self._otherwise: Launcher = otherwise or Executing()

    async def launch(self, wanted: Launch) -> int:
        """Launch a program and return its process id, as :class:`agentproxy.runtime.launching.Launcher` says."""
        if wanted.argv[: len(self._replaced)] != self._replaced:
            return await self._otherwise.launch(wanted)
        check_directory(wanted.directory)
        try:
            return await self._server.ask(self._wish(wanted))
        except NotForked as failed:
            raise LaunchFailed(str(failed)) from None
        except Unavailable as why:
            log.info("An agent server is started without the fork server: {why}", why=why)
            return await self._otherwise.launch(wanted)

    def _wish(self, wanted: Launch) -> dict[str, Any]:
        return {
            "arguments": wanted.argv[len(self._replaced) :],
            "environment": dict(wanted.environment),
            "directory": str(wanted.directory),
            "log": str(wanted.log_path),
            "cgroup": str(wanted.cgroup) if wanted.cgroup is not None else None,
            "limits": wanted.limits.named(),
            "marker": wanted.environment.get(MARKER_VARIABLE, ""),
            "title": wanted.title,
        }
