"""``agentproxy client``: agentapi-proxy's commands for one session, by its own endpoints."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click
import msgspec

from agentproxy.client import Client, ClientError
from agentproxy.client.calls import Call
from agentproxy.model.sse import EventParser


@click.group()
@click.option("-e", "--endpoint", required=True, envvar="AGENTPROXY_URL", help="Address of the server.")
@click.option("-s", "--session-id", required=True, help="The session.")
@click.option("--key", envvar="AGENTPROXY_KEY", help="API key or token.")
@click.pass_context
def client(context: click.Context, endpoint: str, session_id: str, key: str | None) -> None:
    """Talk to one session's agent server directly, as agentapi-proxy's client does."""
    try:
        context.obj = (Client(endpoint, key), f"/{session_id}")
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _done(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except ClientError as error:
        raise click.ClickException(str(error)) from error


@client.command()
@click.argument("message", required=False)
@click.pass_obj
def send(known: tuple[Client, str], message: str | None) -> None:
    """Send a MESSAGE; asked for, or read from stdin, when missing."""
    server, path = known
    text = message or (click.prompt("Message") if sys.stdin.isatty() else sys.stdin.read())
    body = {"content": text, "type": "user"}
    _done(lambda: server.do(Call("POST", f"{path}/message", bytes, body=body)))
    click.echo("Message sent successfully")


@client.command()
@click.pass_obj
def history(known: tuple[Client, str]) -> None:
    """Print the conversation."""
    server, path = known
    said = _done(lambda: server.do(Call("GET", f"{path}/messages", msgspec.json.decode, repeatable=True)))["messages"]
    click.echo(f"Conversation History ({len(said)} messages):")
    for one in said:
        click.echo(f"[{one['role']}] {str(one['content']).rstrip()}")


@client.command()
@click.pass_obj
def status(known: tuple[Client, str]) -> None:
    """Print whether the agent works."""
    server, path = known
    found = _done(lambda: server.do(Call("GET", f"{path}/status", msgspec.json.decode, repeatable=True)))
    click.echo(f"Agent Status: {found['status']}")


@client.command()
@click.pass_obj
def events(known: tuple[Client, str]) -> None:
    """Print the agent server's events as they come."""
    server, path = known
    parser = EventParser()

    def follow() -> None:
        call: Call[None] = Call("GET", f"{path}/events", lambda _answer: None, headers={"Accept": "text/event-stream"})
        for chunk in server.stream(call):
            for event in parser.feed(chunk):
                click.echo(f"[EVENT] {event.data}")

    _done(follow)
