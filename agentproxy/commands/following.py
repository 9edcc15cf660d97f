"""Commands that follow what happens: logs and events."""

from __future__ import annotations

import codecs

import click
import msgspec

from agentproxy.client import Client
from agentproxy.client.results import Event
from agentproxy.commands import output
from agentproxy.commands.connection import find, session_argument, sessions_that_begin, talks


@click.command()
@session_argument
@click.option("-f", "--follow", is_flag=True, help="Go on until the session ends.")
@click.option("--bytes", "size", type=int, default=65_536, show_default=True, help="How much of its end.")
@talks
def log(client: Client, session: str, follow: bool, size: int) -> None:
    """Print what a session's agent server has printed."""
    session_id = find(client, session)
    if not follow:
        text = client.log(session_id, size)
        output.show({"log": text}, [text.removesuffix("\n")])
        return
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for chunk in client.follow_log(session_id, size):
        text = decoder.decode(chunk)
        click.echo(msgspec.json.encode({"log": text}) if output.is_json() else text, nl=output.is_json())


@click.command()
@click.argument("session", required=False, shell_complete=sessions_that_begin)
@click.option("-f", "--follow", is_flag=True, help="Go on with new ones as they come.")
@click.option("--after", type=int, default=0, help="Only those behind this number.")
@click.option("--type", "types", multiple=True, help="Only events of this type.")
@talks
def events(client: Client, session: str | None, follow: bool, after: int, types: tuple[str, ...]) -> None:
    """Print the journal of a session, or of all that you may see."""
    session_id = find(client, session) if session else None
    if follow:
        for event in client.events(session_id, after, types):
            click.echo(_row(event))
        return
    while page := client.events_page(session_id, after=after, limit=1000, types=types):
        for event in page:
            click.echo(_row(event))
        after = page[-1].id


def _row(event: Event) -> str:
    return msgspec.json.encode(event).decode() if output.is_json() else output.event_line(event)
