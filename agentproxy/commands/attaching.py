"""``agentproxy attach``: the agent's own terminal in this one, by WebSocket; its screen where the agent server offers no more."""

from __future__ import annotations

import re
import signal
import sys
from typing import Any
from urllib.parse import urlsplit

import click
import msgspec

from agentproxy.client import Client
from agentproxy.client.call import Call
from agentproxy.commands import output
from agentproxy.commands.connection import find, session_argument, talks
from agentproxy.embedded.attach import Attachment, Place, key_of, run
from agentproxy.model.sse import EventParser

_REFUSED = re.compile(r"\[(\d{3})\b")
"""Where the WebSocket library names the status of a handshake that was not accepted."""


@click.command()
@session_argument
@click.option("--detach-key", default="ctrl-]", show_default=True, help="The key that leaves.")
@click.option("--resize", is_flag=True, help="Give the agent's terminal the size of this one.")
@click.option("--screen", is_flag=True, help="Only look at the screen.")
@talks
def attach(client: Client, session: str, detach_key: str, resize: bool, screen: bool) -> None:
    """Put the agent's terminal into this one.

    Every key is the agent's, but the one that leaves; the agent runs on. Where its agent server has no terminal to offer
    (agentapi), the screen is shown as it changes, and Ctrl-C leaves. With --json each screen is an object on a line.
    """
    try:
        leave = key_of(detach_key)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    session_id = find(client, session)
    client.get(session_id)  # a session that is not there is refused like everywhere
    if screen or output.is_json():
        _watch(client, session_id)
        return
    click.echo(f"{detach_key.capitalize()} leaves; the agent runs on.", err=True)
    attachment = _attached(client, session_id, leave, resize)
    refused = None if attachment.shown else _REFUSED.search(attachment.why)
    if refused is not None and not _is_ours(client, session_id):
        click.echo("Its agent server has no terminal to offer; this is its screen. Ctrl-C leaves.", err=True)
        _watch(client, session_id)
        return
    if attachment.status:
        why = "you may only read this session; --screen shows it" if refused is not None else attachment.why
        click.echo(f"agentproxy: {why}", err=True)
        raise SystemExit(attachment.status)
    click.echo(attachment.why, err=True)


def _is_ours(client: Client, session_id: str) -> bool:
    """Return whether the embedded agent server stands around the agent.

    :raises Refused: it does not answer; with the reason.
    """
    found: dict[str, Any] = client.do(Call("GET", f"/{session_id}/status", msgspec.json.decode))
    return "prompt" in found


def _attached(client: Client, session_id: str, leave: bytes, resize: bool) -> Attachment:
    from twisted.internet import reactor as installed
    from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
    from twisted.internet.ssl import optionsForClientTLS

    reactor: Any = installed
    there = urlsplit(client.url)
    secure, host = there.scheme == "https", there.hostname or ""
    port = there.port or (443 if secure else 80)
    endpoint: Any = HostnameEndpoint(reactor, host.encode(), port, timeout=10)
    if secure:
        endpoint = wrapClientTLS(optionsForClientTLS(host), endpoint)
    url = f"{'wss' if secure else 'ws'}://{there.netloc}{there.path.rstrip('/')}/{session_id}/terminal"
    change = lambda width, height: _resize(client, session_id, width, height)  # noqa: E731
    return run(Place(endpoint, url, client.credentials(), change if resize else None), leave, reactor)


def _resize(client: Client, session_id: str, width: int, height: int) -> None:
    client.do(Call("POST", f"/{session_id}/resize", bytes, body={"width": width, "height": height}))


def _watch(client: Client, session_id: str) -> None:
    """Show the screen whenever it changes, until Ctrl-C or the end of the session."""
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a reactor that has run keeps its own, which stops nothing now
    parser = EventParser()
    call: Call[None] = Call(
        "GET", f"/{session_id}/internal/screen", lambda _answer: None, headers={"Accept": "text/event-stream"}
    )
    try:
        for chunk in client.stream(call):
            for event in parser.feed(chunk):
                if event.name == "screen":
                    _draw(str(msgspec.json.decode(event.data)["screen"]))
    except KeyboardInterrupt:
        click.echo("\ndetached", err=True)


def _draw(screen: str) -> None:
    lines = [line.rstrip() for line in screen.rstrip().splitlines()]
    if output.is_json():
        click.echo(msgspec.json.encode({"screen": "\n".join(lines)}))
        return
    if sys.stdout.isatty():
        click.echo("\x1b[H\x1b[2J", nl=False)
    click.echo("\n".join(lines))
