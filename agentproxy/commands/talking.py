"""Commands that talk to an agent."""

from __future__ import annotations

import sys
from typing import Any

import click
import msgspec

from agentproxy.client import Client, ClientError, Refused
from agentproxy.commands import output
from agentproxy.commands.answering import Answer, Happenings
from agentproxy.commands.connection import find, session_argument, talks


def _text(message: str | None) -> str:
    text = message if message is not None else sys.stdin.read()
    if not text.strip():
        raise click.UsageError("there is nothing to say: give a MESSAGE, or write it to stdin")
    return text


@click.command()
@session_argument
@click.argument("message", required=False)
@click.option("--wait", type=click.Choice(["delivered", "answered"]), help="Wait for the outcome.")
@click.option("--interrupt", is_flag=True, help="Interrupt the agent instead of waiting for the end of its turn.")
@talks
def send(client: Client, session: str, message: str | None, wait: str | None, interrupt: bool) -> None:
    """Queue a MESSAGE (or stdin) for the agent.

    What became of it is printed: with --wait at its end, else at once.
    """
    at = "interrupt" if interrupt else None
    session_id, text = find(client, session), _text(message)
    with output.progress("waiting for the outcome" if wait else "sending"):
        delivery = client.send(session_id, text, wait=wait, at=at)
    output.show(
        delivery, [f"{delivery.delivery_id}  {delivery.state}" + (f": {delivery.reason}" if delivery.reason else "")]
    )


@click.command()
@session_argument
@click.argument("message", required=False)
@talks
def ask(client: Client, session: str, message: str | None) -> None:
    """Send a MESSAGE (or stdin), wait, and print the agent's answer."""
    with output.progress("waiting for the answer"):
        delivery = client.send(find(client, session), _text(message), wait="answered")
    output.show(delivery, [delivery.answer or ""])
    if delivery.state != "answered":
        click.echo(f"agentproxy: {delivery.state}: {delivery.reason or 'no answer'}", err=True)
        raise SystemExit(1)


@click.command()
@session_argument
@talks
def chat(client: Client, session: str) -> None:
    """Talk with the agent; each line is a message.

    Answers appear as they are written. Ctrl-C interrupts the agent while it works and leaves the chat otherwise; Ctrl-D leaves.
    The session goes on. What the agent asks leave for is asked here. With --json each answer is a delivery on a line.
    """
    if sys.stdin.isatty():
        import readline  # noqa: F401 - lines can then be edited and called back
    session_id = find(client, session)
    found = client.get(session_id)
    if found.phase == "ended":
        why = found.ending.message if found.ending else ""
        raise click.ClickException(
            f"the session has ended: {why}; `agentproxy restart {session_id[:8]}` goes on with it"
        )
    click.echo(f"Talking to {found.agent}. Ctrl-C interrupts, Ctrl-D leaves.", err=True)
    happenings = None if output.is_json() else Happenings(client, session_id)
    goes_on = True
    while goes_on:
        try:
            line = click.prompt("you", prompt_suffix="> ", default="", show_default=False)
        except click.Abort:
            click.echo(err=True)
            return
        if line.strip():
            goes_on = _turn(client, session_id, line, happenings)


def _turn(client: Client, session_id: str, line: str, happenings: Happenings | None) -> bool:
    """Send one line and print the answer while it grows; return whether the session goes on."""
    if happenings is None:
        click.echo(msgspec.json.encode(client.send(session_id, line, wait="answered")))
        return True
    try:
        answer = Answer(client, session_id, happenings, lambda approval_id: _decide(client, session_id, approval_id))
        try:
            end = answer.print_to_end(client.send(session_id, line))
        except (KeyboardInterrupt, click.Abort):
            client.interrupt(session_id)
            click.echo("\n(interrupted)", err=True)
            return True
    except Refused as refused:
        output.refused(refused)
        return refused.status != 404 and not happenings.are_over
    except ClientError as error:
        click.echo(f"agentproxy: {error}", err=True)
        return not happenings.are_over
    if end.type == "session.ended":
        click.echo(f"The session has ended: {end.data.get('sentence') or end.data.get('reason')}", err=True)
        return False
    if end.data.get("state") != "answered":
        click.echo(f"agentproxy: {end.data.get('state')}: {end.data.get('reason') or 'no answer'}", err=True)
    return True


def _decide(client: Client, session_id: str, approval_id: str) -> None:
    """Ask what to answer to an approval, and answer it."""
    for approval in client.approvals(session_id):
        if approval.approval_id != approval_id:
            continue
        names = [choice.name for choice in approval.choices] or ["allow", "deny"]
        click.secho(f"\nThe agent asks leave: {approval.subject or approval.prompt}", fg="yellow", err=True)
        for choice in approval.choices:
            click.echo(f"  {choice.name}: {choice.label}", err=True)
        client.approve(approval_id, click.prompt("answer", type=click.Choice(names), err=True))


@click.command()
@session_argument
@click.option("-q", "--search", "q", help="Only messages with these words.")
@talks
def messages(client: Client, session: str, q: str | None) -> None:
    """Print what was said in a session, after its end too."""
    found = client.messages(find(client, session), q=q)
    lines = (f"{click.style(one.role, bold=True)}: {one.content.rstrip()}\n" for one in found)
    output.show({"messages": found}, lines)


@click.command()
@session_argument
@click.option("-f", "--format", "form", type=click.Choice(["json", "markdown"]), default="markdown", show_default=True)
@click.option("-o", "--output", "file", type=click.File("wb"), default="-", help="File instead of stdout.")
@talks
def export(client: Client, session: str, form: str, file: Any) -> None:
    """Write a session with its whole transcript."""
    session_id = find(client, session)
    with output.progress("fetching the transcript"):
        whole = client.export(session_id, "json" if output.is_json() else form)
    file.write(whole)
