"""Commands that start, list, show and end sessions."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

import click
import msgspec

from agentproxy.client import Client
from agentproxy.client.results import Page, Session
from agentproxy.commands import output
from agentproxy.commands.connection import find, session_argument, sessions_that_begin, talks


def pairs(_context: click.Context, parameter: click.Parameter, values: Iterable[str]) -> dict[str, str]:
    """Return ``NAME=VALUE`` texts as a dictionary."""
    found = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"expected NAME=VALUE, got {value!r}", param=parameter)
        found[name] = text
    return found


def agents_that_begin(_context: click.Context, _parameter: click.Parameter, start: str) -> list[str]:
    """Return the names that a shell may offer: the agents of this version's catalogue."""
    from agentproxy.runtime import catalogue

    return [name for name in catalogue.load({}).agents if name.startswith(start) and name != "custom"]


def described(session: Session) -> Iterator[str]:
    """Yield a session in lines for people."""
    yield f"{session.session_id}  {output.state(session)}"
    facts: dict[str, Any] = {
        "agent": session.agent,
        "user": session.user_id,
        "agent is": session.agent_status,
        "attention": session.attention.kind if session.attention else None,
        "description": session.description,
        "tags": " ".join(f"{name}={value}" for name, value in session.tags.items()),
        "started": f"{output.age(session.started_at)} ago",
        "incarnation": session.incarnation if session.incarnation > 1 else None,
        "queue": session.queue_position,
    }
    yield from (f"  {name:12} {value}" for name, value in facts.items() if value not in (None, ""))
    if session.ending is not None:
        yield f"  {'ended':12} {session.ending.message}"
        if session.ending.step:
            yield f"  {'at the step':12} {session.ending.step}"
        yield from (f"  | {line}" for line in session.ending.output)


@click.command()
@click.argument("message", required=False)
@click.option(
    "-a",
    "--agent",
    shell_complete=agents_that_begin,
    help="Agent from the catalogue; the server's default when missing.",
)
@click.option("-r", "--repository", help="Repository to clone: owner/name or a URL, #branch behind it.")
@click.option(
    "-e", "--env", "environment", multiple=True, callback=pairs, metavar="NAME=VALUE", help="Variable of the session."
)
@click.option("-t", "--tag", "tags", multiple=True, callback=pairs, metavar="NAME=VALUE", help="Label of the session.")
@click.option("-d", "--description", help="Title.")
@click.option("--user", "user_id", help="Start it for another user.")
@click.option("--team", "team_id", help="Share it with a team.")
@click.option("--script", help="Start-up script that the server knows.")
@click.option("--from", "continue_from", metavar="ID", help="Give the agent an older session's transcript.")
@click.option("--wait", type=click.Choice(["listening", "stable"]), default="listening", show_default=True)
@talks
def start(client: Client, **wish: Any) -> None:
    """Start a session, with a first MESSAGE or none; prints its id."""
    wish = {name: value for name, value in wish.items() if value}
    if output.is_json():
        session = client.start(**wish)
    else:
        with output.progress("starting") as say:
            session = client.start(lambda event: say(str(event.data.get("step") or event.type)), **wish)
    output.show(session, [session.session_id])


@click.command(name="list")
@click.option("--status", type=click.Choice(["active", "inactive", "all"]), default="all", show_default=True)
@click.option("--agent", help="Only this agent.")
@click.option("--user", "user_id", help="Only this user's.")
@click.option("-t", "--tag", "tags", multiple=True, callback=pairs, metavar="NAME=VALUE", help="Only with this label.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
@click.option("-w", "--watch", is_flag=True, help="Show it again whenever something changes.")
@talks
def list_(client: Client, watch: bool, **wanted: Any) -> None:
    """List sessions, newest first.

    With --watch and --json each list is an object on a line.
    """
    seen = client.cursor() if watch else 0  # before the list: what changes while it is made is not missed
    if not watch:
        _listed(client.search(**wanted))
        return
    _watched(client.search(**wanted))
    for _event in client.events(after=seen, types=("session.*", "agent.*", "attention", "first_message")):
        time.sleep(0.2)
        _watched(client.search(**wanted))


def _watched(page: Page) -> None:
    """Show the list in place of the one before; as JSON each is a line."""
    if output.is_json():
        click.echo(msgspec.json.encode(page))
        return
    click.clear()
    _listed(page)


def _listed(page: Page) -> None:
    rows = [
        (
            one.session_id[:8],
            output.state(one),
            one.attention.kind if one.attention else one.agent_status or "-",
            one.agent,
            one.user_id,
            output.age(one.started_at),
            one.description or "",
        )
        for one in page.sessions
    ]
    output.show(page, output.table(("ID", "PHASE", "AGENT IS", "AGENT", "USER", "AGE", "DESCRIPTION"), rows))


@click.command()
@session_argument
@talks
def show(client: Client, session: str) -> None:
    """Show one session.

    The first characters of its id are enough, here and elsewhere.
    """
    found = client.get(find(client, session))
    output.show(found, described(found))


@click.command()
@session_argument
@talks
def stop(client: Client, session: str) -> None:
    """End a session's agent; its history stays."""
    session_id = find(client, session)
    with output.progress("stopping"):
        found = client.stop(session_id)
    output.show(found, described(found))


@click.command()
@session_argument
@talks
def restart(client: Client, session: str) -> None:
    """Begin a session's next incarnation.

    The agent continues where it can.
    """
    session_id = find(client, session)
    with output.progress("restarting"):
        found = client.restart(session_id)
    output.show(found, described(found))


@click.command()
@click.argument("sessions", nargs=-1, required=True, shell_complete=sessions_that_begin)
@talks
def delete(client: Client, sessions: tuple[str, ...]) -> None:
    """End sessions and take them from the lists."""
    for session in sessions:
        session_id = find(client, session)
        with output.progress(f"deleting {session_id}"):
            client.delete(session_id)
        output.show({"session_id": session_id, "status": "terminated"}, [f"{session_id} deleted"])


@click.command()
@session_argument
@talks
def interrupt(client: Client, session: str) -> None:
    """Press the agent's own interrupt keys."""
    client.interrupt(find(client, session))
    output.show({"status": "interrupted"}, ["interrupted"])
