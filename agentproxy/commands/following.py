"""Commands and pieces that follow what happens: logs, events, an answer while it is written."""

from __future__ import annotations

import codecs
from collections.abc import Callable

import click
import msgspec

from agentproxy.client import Client
from agentproxy.client.results import Delivery, Event
from agentproxy.commands import output
from agentproxy.commands.connection import find, session_argument, sessions_that_begin, talks

DONE = ("answered", "refused", "expired", "withdrawn", "uncertain")


class Answer:
    """The agent's answer to one delivery, printed while it grows.

    :param decide: told the id of an approval that the agent waits for.
    """

    def __init__(self, client: Client, session_id: str, decide: Callable[[str], None]) -> None:
        self._decide = decide
        self._client = client
        self._session_id = session_id
        self._printed = ""
        last = client.messages(session_id, last=1)
        self._known = last[-1].id if last else -1
        self._cursor = client.cursor(session_id)

    def print_to_end(self, delivery: Delivery) -> None:
        """Print the answer until the delivery has come to its end."""
        for event in self._client.events(self._session_id, after=self._cursor):
            if event.type.startswith("message"):
                self._print_new()
            elif event.type == "approval" and event.data.get("state") == "waiting":
                self._print_new()
                self._decide(str(event.data.get("id")))
            elif event.type == "attention" and event.data.get("wanted") and event.data.get("kind") != "approval":
                said = (str(event.data.get(name) or "") for name in ("line", "action"))
                click.secho(f"\n{event.data.get('kind')}: {' '.join(filter(None, said))}", fg="yellow", err=True)
            if event.type == "session.ended" or _is_over(event, delivery):
                break
        self._print_new()
        click.echo()

    def _print_new(self) -> None:
        found = self._client.messages(self._session_id, after=self._known if self._known >= 0 else None)
        said = [one for one in found if one.role == "agent"]
        text = "\n".join(one.content.rstrip() for one in said)
        if text.startswith(self._printed):
            click.echo(text[len(self._printed) :], nl=False)
        elif text != self._printed:
            click.echo("\n" + text, nl=False)
        self._printed = text


def _is_over(event: Event, delivery: Delivery) -> bool:
    about = event.data.get("id") == delivery.delivery_id
    return event.type == "delivery" and about and str(event.data.get("state")) in DONE


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
