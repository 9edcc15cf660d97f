"""How commands print: tables and sentences for people, JSON for programs, colours on a terminal only, refusals on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from agentproxy.client import Refused
from agentproxy.client.results import Event, Session

_JSON: ContextVar[bool] = ContextVar("json", default=False)
COLOURS = {
    "ready": "green",
    "starting": "yellow",
    "queued": "yellow",
    "stopping": "yellow",
    "failed": "red",
    "lost": "red",
}


def as_json(wanted: bool) -> None:
    """Say whether this command prints JSON."""
    _JSON.set(wanted)


json_option = click.option(
    "--json",
    is_flag=True,
    expose_value=False,
    callback=lambda _context, _parameter, wanted: as_json(wanted),
    help="Print JSON for programs.",
)
"""The option that every command has."""


def is_json() -> bool:
    """Return whether this command prints JSON."""
    return _JSON.get()


def show(value: Any, lines: Iterable[str]) -> None:
    """Print *value* as JSON, or *lines* for people."""
    if is_json():
        click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))
    else:
        for line in lines:
            click.echo(line)


def refused(failure: Refused) -> None:
    """Say on stderr why the server refused, with the last lines of output where there are some; as JSON where that is wanted."""
    if is_json():
        said = {
            "code": failure.code,
            "status": failure.status,
            "message": failure.hint,
            "request_id": failure.request_id,
        }
        click.echo(msgspec.json.encode({**failure.facts, **said}), err=True)
        return
    click.secho(f"agentproxy: {failure.hint}", fg="red", err=True)
    if failure.facts.get("step"):
        click.echo(f"  at the step: {failure.facts['step']}", err=True)
    for line in failure.facts.get("output") or ():
        click.echo(f"  | {line}", err=True)
    if failure.status == 401:
        click.echo("  `agentproxy login URL` keeps a key; AGENTPROXY_KEY or --key gives one.", err=True)
    if failure.status >= 500 and failure.request_id:
        click.echo(f"  The server's log has it as request={failure.request_id}.", err=True)


def age(time: datetime | None) -> str:
    """Return how long ago something was, short."""
    if time is None:
        return "-"
    seconds = max(0, int((datetime.now(UTC) - time).total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def state(session: Session) -> str:
    """Return a session's phase, or why it ended, in colour."""
    word = session.ending.reason if session.phase == "ended" and session.ending else session.phase
    return click.style(word, fg=COLOURS.get(word, "bright_black"))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table; colours do not count as width."""
    plain = [[click.unstyle(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in plain) for column in range(len(head))]
    for cells, bare in zip((head, *rows), plain, strict=True):
        padded = (cell + " " * (width - len(text)) for cell, text, width in zip(cells, bare, widths, strict=True))
        yield "  ".join(padded).rstrip()


def event_line(event: Event) -> str:
    """Return one event in one line."""
    time = event.time.astimezone().strftime("%H:%M:%S") if event.time else ""
    facts = " ".join(f"{name}={value!r}" for name, value in event.data.items() if value is not None)
    return f"{event.id:>6}  {time}  {event.type:<20} {facts}"


@contextmanager
def progress(what: str) -> Iterator[Any]:
    """Show what is being done, on stderr, while it takes; on a terminal only. Yields a function that takes a new sentence."""
    if not sys.stderr.isatty() or is_json():
        yield lambda _sentence: None
        return

    def write(sentence: str) -> None:
        click.echo(f"\r\033[K{click.style('…', fg='yellow')} {sentence}", nl=False, err=True)

    write(what)
    try:
        yield write
    finally:
        click.echo("\r\033[K", nl=False, err=True)
