"""Commands about leave, sharing, keys and who did what."""

from __future__ import annotations

import click

from agentproxy.client import Client
from agentproxy.client.results import Approval
from agentproxy.commands import output
from agentproxy.commands.connection import find, session_argument, talks, the_one


@click.command()
@click.argument("approval", required=False)
@click.argument("answer", required=False)
@talks
def approvals(client: Client, approval: str | None, answer: str | None) -> None:
    """List what agents ask leave for, or answer an APPROVAL.

    The answer is allow, deny, or the name of a choice.
    """
    waiting = client.approvals()
    if approval is None:
        rows = [_row(one) for one in waiting]
        output.show({"approvals": waiting}, output.table(("ID", "SESSION", "WHAT", "ANSWERS"), rows))
        return
    if answer is None:
        raise click.UsageError("say allow, deny, or the name of a choice behind the approval's id")
    whole = the_one("approval", approval, [one.approval_id for one in waiting], "approvals")
    with output.progress("answering"):
        settled = client.approve(whole, answer)
    output.show(settled, [f"{settled.approval_id[:8]}  {settled.state}: {settled.subject}"])


def _row(one: Approval) -> tuple[str, str, str, str]:
    names = ", ".join(choice.name for choice in one.choices) or "allow, deny"
    return one.approval_id[:8], one.session_id[:8], one.subject or one.prompt.splitlines()[0], names


@click.command()
@session_argument
@click.option("--with", "grantee", metavar="WHOM", help="user:NAME or team:ORG/SLUG instead of a link.")
@click.option("--write", is_flag=True, help="Let them talk to the agent too, not only look.")
@click.option("--expires-in", type=float, metavar="SECONDS", help="How long the link works.")
@click.option("--revoke", is_flag=True, help="Take the link, or what --with names, back.")
@talks
def share(
    client: Client, session: str, grantee: str | None, write: bool, expires_in: float | None, revoke: bool
) -> None:
    """Share a session by a link, or with somebody who is known."""
    session_id, access = find(client, session), "write" if write else "read"
    if revoke:
        client.ungrant(session_id, grantee) if grantee else client.unshare(session_id)
        output.show({"session_id": session_id, "status": "revoked"}, ["revoked"])
    elif grantee:
        client.grant(session_id, grantee, access)
        output.show({"session_id": session_id, "grantee": grantee, "access": access}, [f"{grantee} may {access}"])
    else:
        link = client.share(session_id, access, expires_in)
        output.show(link, [client.url.rstrip("/") + link.share_url])


@click.command()
@click.argument("action", type=click.Choice(["list", "make", "revoke"]), default="list")
@click.argument("name", required=False)
@click.option("--owner", help="Another user's, with the permission for that; * for everybody's.")
@click.option("--scope", "scopes", multiple=True, help="Limit it to this permission, such as session.read:own.")
@click.option("--expires-in", type=float, metavar="SECONDS", help="How long it works.")
@talks
def token(
    client: Client, action: str, name: str | None, owner: str | None, scopes: tuple[str, ...], expires_in: float | None
) -> None:
    """List, make and revoke your API tokens.

    make needs a NAME for it; revoke needs its id as NAME.
    """
    if action == "list":
        found = client.tokens(owner)
        rows = [(one.id, one.name, one.owner, str(one.expires_at or "never")) for one in found]
        output.show({"tokens": found}, output.table(("ID", "NAME", "OWNER", "EXPIRES"), rows))
        return
    if not name:
        raise click.UsageError("make needs a name, revoke an id")
    if action == "revoke":
        client.revoke_token(name)
        output.show({"id": name, "status": "revoked"}, [f"{name} revoked"])
        return
    made = client.add_token(name, owner=owner, scopes=scopes or None, expires_in=expires_in)
    output.show(made, [made.token or ""])
    click.echo("This is shown once.", err=True)
