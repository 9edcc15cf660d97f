"""The daemon as ``twistd agentproxy`` and ``twist agentproxy`` know it: its options, and the way to its service."""

from __future__ import annotations

import gc
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from twisted.application.service import IService
from twisted.python import usage

from agentproxy import __version__
from agentproxy.config import ConfigError, Loaded, load


def load_here(path: str | None, overrides: dict[str, object] | None = None) -> Loaded:
    """Return the configuration as this process sees it: its environment, working directory and user.

    :param path: the file, or None to look for one.
    :raises ConfigError: with everything that is wrong.
    """
    return load(
        Path(path) if path else None,
        os.environ,
        overrides or {},
        cwd=Path.cwd(),
        home=Path(os.path.expanduser("~")),
        root=os.geteuid() == 0,
    )


class Options(usage.Options):
    """Options of the command line; :attr:`loaded` is the configuration once they are parsed."""

    synopsis: str = "[options]"
    longdesc = """A multi-user server for coding agents that live in a terminal. It starts one agent for each
session, on demand, and routes HTTP, Server-Sent Events and WebSocket traffic to it.
Without a configuration file it listens on http://127.0.0.1:8080 for this machine only.
Every option of the file can be set by a variable
too: AGENTPROXY_DATA_DIR for data_dir, AGENTPROXY_SESSIONS_MAX_QUEUED for sessions.max_queued.
`agentproxy config defaults` prints a file with all of them."""
    examples = """
Examples:
  agentproxy server                              the defaults, in the foreground
  agentproxy server --port 9090 --verbose        another port, everything logged
  twistd -n agentproxy -c agentproxy.yaml        the same server under twistd
  agentproxy config check -c agentproxy.yaml     is this file right?
"""
    optParameters = [  # noqa: N815, RUF012 - the form that usage.Options reads
        [
            "config",
            "c",
            None,
            "Configuration file, YAML or JSON [default: agentproxy.yaml or config.json here, then the user's, then /etc].",
        ],
        ["port", "p", None, "Port to listen at [default: 8080]."],
    ]
    optFlags = [["verbose", "v", "Log everything, for looking into a problem."]]  # noqa: N815, RUF012

    loaded: Loaded

    def getUsage(self, width: int | None = None) -> str:
        """Return the help text, with examples at its end."""
        text: str = super().getUsage(width)
        return text.rstrip() + "\n" + self.examples

    def opt_version(self) -> NoReturn:
        """Display the version and exit."""
        sys.stdout.write(f"agentproxy {__version__}\n")
        sys.exit(0)

    def postOptions(self) -> None:
        """Load the configuration.

        :raises usage.UsageError: with every sentence about what is wrong with it.
        """
        try:
            self.loaded = self.load()
        except ConfigError as error:
            raise usage.UsageError(str(error)) from error

    def load(self) -> Loaded:
        """Return the configuration as it is written now. Blocking.

        :raises ConfigError: with everything that is wrong with it.
        """
        overrides: dict[str, object] = {}
        if self["port"] is not None:
            overrides["port"] = self["port"]
        if self["verbose"]:
            overrides["log.level"] = "debug"
        return load_here(self["config"], overrides)


def makeService(options: Options) -> IService:
    """Return the service that the options describe; nothing is opened or started before it is.

    The process is the server's from here on. Almost all that is made until it runs is there to stay, so Python looks for garbage
    again when the service has been started (``service/memory.py``).
    """
    gc.disable()
    service: IService = import_module("agentproxy.service").makeService(options)
    return service
