"""``send-notification`` and ``generate-vapid-keys`` of ``agentproxy helpers``: Web Push from the command line."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import click

from agentproxy.client import Client
from agentproxy.commands import output
from agentproxy.commands.connection import talks
from agentproxy.config import ConfigError, load


@click.command("generate-vapid-keys")
@output.json_option
def generate_vapid_keys() -> None:
    """Make the key pair for notifications.

    Push services know a server by it. It is printed as variables of the server's environment.
    """
    from agentproxy.model.push import new_vapid

    public, private = new_vapid()
    output.show(
        {"public_key": public, "private_key": private},
        [f"VAPID_PUBLIC_KEY={public}", f"VAPID_PRIVATE_KEY={private}", "VAPID_CONTACT_EMAIL="],
    )


def _address(context: click.Context, _parameter: click.Parameter, path: Path | None) -> None:
    """Take the server's address from its configuration, where ``--server`` says nothing."""
    if path is None:
        return
    home = Path(os.path.expanduser("~"))
    try:
        config = load(path, os.environ, {}, cwd=Path.cwd(), home=home, root=os.geteuid() == 0).config
    except (ConfigError, OSError) as error:
        raise click.BadParameter(str(error)) from error
    if config.listeners or not config.port:
        raise click.BadParameter("it has no `listen` and `port`; say --server")
    host = "127.0.0.1" if config.listen in ("", "0.0.0.0", "::") else config.listen
    where = f"[{host}]" if ":" in host else host
    context.default_map = {**(context.default_map or {}), "url": f"http://{where}:{config.port}"}


@click.command("send-notification")
@click.option("--config", type=click.Path(path_type=Path), is_eager=True, expose_value=False, callback=_address,
              help="Configuration file of the server, for its address.")  # fmt: skip
@click.option("--title", required=True, help="The first line.")
@click.option("--body", required=True, help="What is said.")
@click.option(
    "--user-id", default="", help="To whom; yourself when nobody is named. Others need an administrator's key."
)
@click.option("--user-type", default="", help="Only to users who were recognised so, such as static or github.")
@click.option("--username", default="", help="Only to users of this name.")
@click.option("--session-id", default="", help="Only to browsers that listen to this session.")
@click.option("--url", "link", default="", help="What a click opens. The address of the server is --server.")
@click.option("--icon", default="", help="Address of a picture.")
@click.option("--badge", default="", help="Address of a small picture.")
@click.option("--ttl", default=86400, show_default=True, help="Seconds for which it waits for a browser that is away.")
@click.option("--urgency", type=click.Choice(["low", "normal", "high"]), default="normal", show_default=True)
@click.option("--dry-run", is_flag=True, help="Only say how many browsers it would reach.")
@click.option("-v", "--verbose", is_flag=True, help="Say why it did not come where it did not.")
@partial(talks, at="--server")
def send_notification(client: Client, verbose: bool, link: str, **said: Any) -> None:
    """Notify browsers that have subscribed."""
    with output.progress("asking the push services"):
        told = client.notify(url=link, **said)
    what = "would reach" if told.dry_run else "sent to"
    lines = [f"{what} {told.subscriptions if told.dry_run else told.sent} of {told.subscriptions} browsers"]
    output.show(
        {"subscriptions": told.subscriptions, "sent": told.sent, "failed": told.failed, "removed": told.removed},
        [*lines, *(told.failures if verbose else ())],
    )
    if told.failed:
        raise SystemExit(1)
