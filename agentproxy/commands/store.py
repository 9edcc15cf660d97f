"""Commands on the database of this machine, without a server in between. What is wrong ends them with 1."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import click

from agentproxy.commands import output
from agentproxy.config import Config, ConfigError
from agentproxy.store.trouble import StoreError

F = TypeVar("F", bound=Callable[..., Any])


@click.group()
def store() -> None:
    """Check, copy and write out the database; rotate its key."""


def _on_store(command: F) -> Any:
    """Give a command the option ``--config`` and, first, the configuration."""

    @click.option(
        "-c", "--config", "file", metavar="FILE", help="The file; looked for as the server does when missing."
    )
    @output.json_option
    @wraps(command)
    def run(file: str | None, **arguments: Any) -> None:
        from agentproxy.daemon import load_here

        try:
            command(load_here(file).config, **arguments)
        except (ConfigError, StoreError, OSError) as error:
            click.echo(f"agentproxy: {error}", err=True)
            raise SystemExit(1) from error

    return run


@store.command()
@_on_store
def check(config: Config) -> None:
    """Look whether it is whole and can be read.

    It must be of this version, and the keys that are there must open it. A server may be running.
    """
    from agentproxy.store import tending

    with output.progress("reading the database"):
        found = tending.check(config.store.url, config.data_dir)
    lines = found.facts if found.faults else (*found.facts, "everything is well")
    output.show({"facts": found.facts, "faults": found.faults}, lines)
    for fault in found.faults:
        click.echo(f"wrong: {fault}", err=True)
    if found.faults:
        raise SystemExit(1)


@store.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--without-key", is_flag=True, help="Leave secret.key out; without it the copy's secrets cannot be read.")
@_on_store
def backup(config: Config, folder: Path, without_key: bool) -> None:
    """Copy it, with its key, into FOLDER. A server may be running.

    To go back, stop the server and put the files into its data_dir, without agentproxy.db-wal and agentproxy.db-shm.
    """
    from agentproxy.store import tending

    with output.progress("copying the database"):
        files = [str(path) for path in tending.backup(config.store.url, config.data_dir, folder, not without_key)]
    output.show({"files": files}, [f"wrote {path}" for path in files])


@store.command()
@click.argument("to", metavar="[FILE]", default="-")
@_on_store
def export(config: Config, to: str) -> None:
    """Write everything to FILE, or print it, secrets left out.

    Every session, message and event is one JSON object on a line.
    """
    from agentproxy.store import tending

    lines = tending.export(config.store.url, config.data_dir)
    first = next(lines, None)  # a database that cannot be read leaves an older file alone
    with click.open_file(to, "w", encoding="utf-8", errors="replace") as file:
        with output.progress("writing") as say:
            for number, line in enumerate(chain(filter(None, [first]), lines), 1):
                file.write(line + "\n")
                if number % 1000 == 0:
                    say(f"{number} objects are written")


@store.command("rotate-key")
@click.option("--forget-old", is_flag=True, help="Take the old keys out of secret.key; older backup copies need them.")
@_on_store
def rotate_key(config: Config, forget_old: bool) -> None:
    """Make a new key and seal everything with it. The server must be stopped."""
    from agentproxy.store import resealing, tending

    with (
        resealing.alone(config.data_dir),
        tending.opened(config.store.url, config.data_dir, alone=True) as (_url, engine),
        output.progress("sealing everything anew"),
    ):
        count = resealing.rotate(engine, config.data_dir, forget_old)
    key = config.data_dir / "secret.key"
    output.show({"values": count, "key": str(key)}, [f"{count} values are sealed with a new key; back up {key}"])
