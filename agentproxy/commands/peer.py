"""``agentproxy client``: agentapi-proxy's commands for one session, by its own endpoints."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click
import msgspec

from agentproxy.client import Client, ClientError, Refused
from agentproxy.client.call import Call
from agentproxy.commands import output
from agentproxy.commands.connection import INTERRUPTED
from agentproxy.model.sse import EventParser


@click.group()
@click.option("-e", "--endpoint", envvar="AGENTPROXY_URL", help="Address of the server; required.")
@click.option("-s", "--session-id", help="The session; required.")
@click.option("--key", envvar="AGENTPROXY_KEY", help="API key or token.")
@output.json_option
@click.pass_context
def client(context: click.Context, endpoint: str | None, session_id: str | None, key: str | None) -> None:
    """Talk to one agent server, as agentapi-proxy's client does."""
    context.obj = lambda: _known(endpoint, session_id, key)


def _known(endpoint: str | None, session_id: str | None, key: str | None) -> tuple[Client, str]:
    """Return the client and the path of the session; asked for by commands, so that --help needs neither."""
    if not endpoint or not session_id:
        raise click.UsageError("--endpoint and --session-id are required")
    try:
        return Client(endpoint, key), f"/{session_id}"
    except ValueError as error:
        raise click.UsageError(str(error)) from error


Known = Callable[[], tuple[Client, str]]


def _done(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except Refused as refused:
        output.refused(refused)
    except ClientError as error:
        click.echo(f"agentproxy: {error}", err=True)
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    raise SystemExit(1)


@client.command()
@click.argument("message", required=False)
@click.pass_obj
def send(known: Known, message: str | None) -> None:
    """Send a MESSAGE; asked for, or read from stdin, when missing."""
    server, path = known()
    text = message or (click.prompt("Message") if sys.stdin.isatty() else sys.stdin.read())
    body = {"content": text, "type": "user"}
    _done(lambda: server.do(Call("POST", f"{path}/message", bytes, body=body)))
    output.show({"ok": True}, ["Message sent successfully"])


@client.command()
@click.pass_obj
def history(known: Known) -> None:
    """Print the conversation."""
    server, path = known()
    said = _done(lambda: server.do(Call("GET", f"{path}/messages", msgspec.json.decode, repeatable=True)))["messages"]
    lines = (f"[{one['role']}] {str(one['content']).rstrip()}" for one in said)
    output.show({"messages": said}, [f"Conversation History ({len(said)} messages):", *lines])


@client.command()
@click.pass_obj
def status(known: Known) -> None:
    """Print whether the agent works."""
    server, path = known()
    found = _done(lambda: server.do(Call("GET", f"{path}/status", msgspec.json.decode, repeatable=True)))
    output.show(found, [f"Agent Status: {found['status']}"])


@client.command()
@click.pass_obj
def events(known: Known) -> None:
    """Print the agent server's events as they come."""
    server, path = known()
    parser = EventParser()

    def follow() -> None:
        call: Call[None] = Call("GET", f"{path}/events", lambda _answer: None, headers={"Accept": "text/event-stream"})
        for chunk in server.stream(call):
            for event in parser.feed(chunk):
                click.echo(event.data if output.is_json() else f"[EVENT] {event.data}")

    _done(follow)
