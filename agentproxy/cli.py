"""The command ``agentproxy``: a list of commands, each imported only when it is used.

Exit statuses: 0 done, 1 what was asked for cannot be done (the sentence is on stderr), 2 wrong usage of the command.
``agentproxy server`` ends with the status of twistd.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import click
from click.shell_completion import CompletionItem

from agentproxy import __version__
from agentproxy.commands import output
from agentproxy.commands.listing import COMMANDS
from agentproxy.config import Config, ConfigError


@dataclass(frozen=True, slots=True)
class Command:
    """A command that reads its own arguments.

    :param summary: one line of ``agentproxy --help``.
    :param run: gets the arguments after the command's name, returns the exit status.
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


@click.command()
@click.argument("action", type=click.Choice(["check", "show", "defaults"]))
@click.option("-c", "--config", "file", metavar="FILE", help="The file; looked for as the server does when missing.")
@output.json_option
def config(action: str, file: str | None) -> None:
    """Look at the configuration.

    check says whether it can be used and what differs from the defaults, show prints the whole effective tree with its
    sources, defaults a file with every option.
    """
    from agentproxy.config.document import yaml_document
    from agentproxy.config.explain import effective, explain
    from agentproxy.daemon import load_here

    if action == "defaults":
        output.show({"yaml": yaml_document()}, [yaml_document().removesuffix("\n")])
        return
    try:
        loaded = load_here(file)
    except ConfigError as error:
        click.echo(f"agentproxy: {error}", err=True)
        raise SystemExit(1) from error
    if action == "check":
        _check_agents(loaded.config)
    for warning in loaded.warnings:
        click.echo(f"warning: {warning}", err=True)
    facts = {
        "file": str(loaded.path) if loaded.path else None,
        "warnings": loaded.warnings,
        "options": effective(loaded, everything=action == "show"),
    }
    output.show(facts, [explain(loaded, everything=action == "show").removesuffix("\n")])
    if action == "check" and not output.is_json():
        click.echo("The configuration can be used.", err=True)


def _check_agents(config: Config) -> None:
    """End with 1 when the agents cannot be used: what they may be is not the configuration's to know."""
    from agentproxy.service.cannot_start import CannotStart
    from agentproxy.service.recipes import catalogue_of

    try:
        catalogue_of(config)
    except CannotStart as error:
        click.echo(f"agentproxy: The configuration cannot be used:\n  {error}", err=True)
        raise SystemExit(1) from error


READING_THEIR_OWN = {"server": Command("Run the server in the foreground.", serve)}


class Commands(click.Group):
    """The commands, found by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's interface
        """Return every name, in the order of the help."""
        return list(COMMANDS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write every name with its summary."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_module, summary) in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the names, and our own options, that begin so."""
        names = [(name, summary) for name, (_module, summary) in COMMANDS.items() if name.startswith(incomplete)]
        offered = [CompletionItem(name, help=summary) for name, summary in names]
        return [*offered, *click.Command.shell_complete(self, ctx, incomplete)]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command; a name that is nearly one of ours is answered with that one."""
        near = get_close_matches(args[0], self.list_commands(ctx), 1) if args else []
        if near and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            ctx.fail(f"No such command {args[0]!r}. Did you mean {near[0]!r}?")
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return one command, or None."""
        if cmd_name in READING_THEIR_OWN:
            return _reading_its_own(cmd_name, READING_THEIR_OWN[cmd_name])
        if cmd_name not in COMMANDS:
            return None
        found = vars(import_module(f"agentproxy.{COMMANDS[cmd_name][0]}"))
        command = found.get(cmd_name + "_") or found[cmd_name]
        assert isinstance(command, click.Command)
        return command


def _reading_its_own(name: str, command: Command) -> click.Command:
    @click.pass_context
    def run(context: click.Context, arguments: tuple[str, ...]) -> None:
        context.exit(command.run(arguments))

    return click.Command(
        name,
        help=command.summary,
        callback=run,
        params=[click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)],
        context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []},
    )


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="agentproxy", message="%(prog)s %(version)s")
def agentproxy() -> None:
    """A multi-user server for coding agents that live in a terminal.

    `agentproxy COMMAND --help` says more about one.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    status = 0
    try:
        agentproxy.main(None if arguments is None else list(arguments), prog_name="agentproxy")
    except SystemExit as ending:
        status = ending.code if isinstance(ending.code, int) else 1
    return status
