"""The command ``agentproxy``: a table of subcommands, each with its own arguments.

Exit statuses: 0 done, 1 what was asked for cannot be done (the sentence is on stderr), 2 wrong usage of the command.
``agentproxy server`` ends with the status of twistd.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from agentproxy import __version__
from agentproxy.config import ConfigError


@dataclass(frozen=True, slots=True)
class Command:
    """One subcommand.

    :param summary: one line of ``agentproxy --help``.
    :param run: gets the arguments after the subcommand's name, returns the exit status.
    """

    summary: str
    run: Callable[[Sequence[str]], int]


def serve(arguments: Sequence[str]) -> int:
    """Run the daemon in the foreground, in this process; ends with twistd's own exit status."""
    from twisted.python import usage

    from agentproxy import daemon

    try:
        options: Any = cast(Any, daemon.Options)()
        options.synopsis = "Usage: agentproxy server [options]"
        options.parseOptions(list(arguments))
    except usage.UsageError as error:
        print(f"agentproxy: {error}", file=sys.stderr)
        return 1
    from twisted.scripts import twistd

    find_plugin()
    sys.argv = ["twistd", "--nodaemon", "--pidfile=", "agentproxy", *arguments]
    cast(Any, twistd).run()
    return 0


def find_plugin() -> None:
    """Make the plugin known in a bare checkout, where Twisted does not look for it."""
    import twisted.plugins

    places = twisted.plugins.__path__
    beside = Path(__file__).resolve().parent.parent / "twisted_plugins"
    if not any((Path(place) / "agentproxy_plugin.py").is_file() for place in places):
        places.append(str(beside))


def configure(arguments: Sequence[str]) -> int:
    """Check, show or print the configuration."""
    parser = argparse.ArgumentParser(prog="agentproxy config", description="Look at the configuration.")
    parser.add_argument(
        "action",
        choices=("check", "show", "defaults"),
        help="check: say whether it can be used, and what differs from the defaults; show: the whole effective tree"
        " with its sources; defaults: a file with every option",
    )
    parser.add_argument("-c", "--config", metavar="FILE", help="the file; looked for as the server does when missing")
    parsed = parser.parse_args(arguments)
    from agentproxy.config.document import yaml_document
    from agentproxy.config.explain import explain
    from agentproxy.daemon import load_here

    if parsed.action == "defaults":
        print(yaml_document(), end="")
        return 0
    try:
        loaded = load_here(parsed.config)
    except ConfigError as error:
        print(f"agentproxy: {error}", file=sys.stderr)
        return 1
    for warning in loaded.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(explain(loaded, everything=parsed.action == "show"), end="")
    return 0


COMMANDS = {
    "server": Command("run the server in the foreground", serve),
    "config": Command("check the configuration, show it, or print the defaults", configure),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    listed = "\n".join(f"  {name:10} {command.summary}" for name, command in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="agentproxy",
        description="A multi-user server for coding agents that live in a terminal.",
        epilog=f"commands:\n{listed}\n\n`agentproxy COMMAND --help` says more about one.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="agentproxy [-h] [--version] COMMAND ...",
    )
    parser.add_argument("--version", action="version", version=f"agentproxy {__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of the commands below")
    parsed = parser.parse_args(arguments[:1])
    return COMMANDS[parsed.command].run(arguments[1:])
