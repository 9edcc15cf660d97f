"""The reference of the command line, docs/commands.md, made from the commands themselves.

``python -m agentproxy.commands.reference [FILE]`` prints it, or writes it to FILE.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import click

HEAD = """\
# The command line

Made by `python -m agentproxy.commands.reference docs/commands.md`; a test compares. How to begin: [tutorial.md](tutorial.md).

**Which server.** A command talks to `--url`, else to `AGENTPROXY_URL`, else to what `agentproxy login` kept, else to
`http://127.0.0.1:8080`. The key comes from `--key`, `AGENTPROXY_KEY` or `login`; prefer the latter two, because others can
see arguments.

**Sessions** are named by their id or its first characters.

**Output** is for people; `--json` prints JSON for programs. Colours and progress appear on a terminal only.

**Exit statuses**: 0 done; 1 it cannot be done, and the sentence on stderr says why; 2 wrong usage; 130 after Ctrl-C.
`agentproxy server` ends with the status of twistd.
"""


def document() -> str:
    """Return the whole page."""
    from agentproxy.cli import agentproxy

    return HEAD + "".join(_described(("agentproxy",), agentproxy, 2))


def _described(path: Sequence[str], command: click.Command, depth: int) -> Iterator[str]:
    """Yield a command, or for a group the commands in it."""
    context = click.Context(command, info_name=" ".join(path))
    if isinstance(command, click.Group):
        if len(path) > 1:
            yield from _head(path, command, depth)
            yield from _options(command, context)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from _described((*path, name), found, min(depth + 1, 3) if len(path) > 1 else depth)
    elif path[1:] == ("server",):
        yield from _server()
    else:
        yield from _head(path, command, depth)
        yield f"```text\n{' '.join((*path, *command.collect_usage_pieces(context)))}\n```\n\n"
        yield from _options(command, context)
        yield from _lines(command.epilog)


def _head(path: Sequence[str], command: click.Command, depth: int) -> Iterator[str]:
    yield f"\n{'#' * depth} {' '.join(path)}\n\n"
    yield from _lines(command.help)


def _lines(text: str | None) -> Iterator[str]:
    """Yield a help text as Markdown: its paragraphs, each in one line."""
    for paragraph in (text or "").split("\n\n"):
        if paragraph.strip():
            yield " ".join(paragraph.split()).replace("<", "&lt;") + "\n\n"


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    records = [one.get_help_record(context) for one in command.params if isinstance(one, click.Option)]
    yield from _table([record for record in records if record is not None])


def _table(rows: Sequence[tuple[str, str]]) -> Iterator[str]:
    if rows:
        yield "| Option | Meaning |\n|---|---|\n"
        yield from (f"| `{_cell(name)}` | {_cell(meaning)} |\n" for name, meaning in rows)
        yield "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _server() -> Iterator[str]:
    """Yield the one command that reads its own arguments, as twistd's plugin does."""
    from agentproxy import daemon

    options: Any = cast(Any, daemon.Options)
    yield "\n## agentproxy server\n\nRun the server in the foreground; `twistd agentproxy` takes the same options.\n\n"
    yield "```text\nagentproxy server [options]\n```\n\n"
    values = [(f"-{short}, --{name} {name.upper()}", text) for name, short, _default, text in options.optParameters]
    yield from _table([*values, *((f"-{short}, --{name}", text) for name, short, text in options.optFlags)])


def main(arguments: Sequence[str]) -> None:
    """Print the page, or write it to the file that is named."""
    if arguments:
        Path(arguments[0]).write_text(document(), encoding="utf-8")
    else:
        click.echo(document(), nl=False)


if __name__ == "__main__":
    main(sys.argv[1:])
