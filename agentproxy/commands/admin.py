"""``agentproxy admin`` and ``agentproxy audit``: accounts, tokens and the audit, straight in the store of this machine's server.

They work while the server runs, which sees a change within a second, and while it does not.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import click
from twisted.internet.defer import Deferred
from twisted.internet.task import react

from agentproxy.auth.identity import roles_of
from agentproxy.auth.registry import Registry
from agentproxy.client import Client
from agentproxy.commands import output
from agentproxy.commands.connection import find, sessions_that_begin, talks
from agentproxy.config import Config, ConfigError
from agentproxy.errors import Refusal
from agentproxy.model.audit import Attempt
from agentproxy.model.principal import SERVER
from agentproxy.store import Sealer, Store, StoreError
from agentproxy.store.audit import AuditStore
from agentproxy.store.identity import IdentityStore

Work = Callable[[Config, Store], Awaitable[int]]
_CONFIG = click.option(
    "-c", "--config", "file", metavar="FILE", help="The server's configuration; looked for as it does."
)


def _with_store(file: str | None, work: Work) -> None:
    """Open the store, do *work*, close it, and end with the status that it returns."""
    from agentproxy.daemon import load_here

    try:
        config = load_here(file).config
    except ConfigError as error:
        raise click.ClickException(str(error)) from error

    async def run(reactor: Any) -> None:
        store = Store(
            reactor,
            config.store.url,
            config.data_dir,
            synchronous=config.store.synchronous,
            secrets=Sealer.from_directory(config.data_dir),
            beside=True,
        )
        await store.open()
        try:
            status = await work(config, store)
        finally:
            await store.close()
        if status:
            raise SystemExit(status)

    def main(reactor: Any) -> Deferred[None]:
        running = Deferred.fromCoroutine(run(reactor))
        running.addErrback(_sentence)
        return running

    react(main)


def _sentence(failure: Any) -> None:
    failure.trap(StoreError, Refusal, OSError)
    click.echo(f"agentproxy: {failure.value}", err=True)
    raise SystemExit(1)


async def _registry(config: Config, store: Store) -> Registry:
    registry = Registry(IdentityStore(store), roles_of(config))
    await registry.load()
    return registry


async def _note(store: Store, verb: str, **facts: str) -> None:
    source = f"the command line of uid {os.getuid()}"
    await AuditStore(store).append(
        [Attempt(datetime.now(UTC), SERVER.user_id, verb, True, "access to the store", source=source, facts=facts)]
    )


@click.group()
def admin() -> None:
    """Make accounts and tokens for this machine's server.

    They are made in its store, whether it runs or not.
    """


@admin.command()
@click.argument("name")
@click.option("--role", default="admin", show_default=True, help="Role of a new account.")
@click.option("--permission", "permissions", multiple=True, help="A permission in place of the role's; repeat it.")
@click.option("--team", "teams", multiple=True, help="A team as org/slug; repeat it.")
@click.option("--service", is_flag=True, help="It is a service account, not a person.")
@click.option("--login", type=click.Choice(["github", "oidc"]), help="Users of this provider with this name are it.")
@click.option("--days", type=click.FloatRange(min=0, min_open=True), help="Until the key expires; never when missing.")
@click.option("--token-name", default="command line", show_default=True, help="What the key is called in lists.")
@_CONFIG
@output.json_option
def create(
    name: str,
    role: str,
    permissions: tuple[str, ...],
    teams: tuple[str, ...],
    service: bool,
    login: str | None,
    days: float | None,
    token_name: str,
    file: str | None,
) -> None:
    """Make the account NAME and print a key for it.

    An account that exists gets one more key. It is shown only now.
    """

    async def work(config: Config, store: Store) -> int:
        registry = await _registry(config, store)
        if registry.account(name) is None:
            kind = "service" if service else "user"
            await registry.add_account(name, kind, role, permissions, teams, login or "")
        elif role != "admin" or permissions or teams or service or login:
            click.echo(f"{name} exists already and keeps its role, permissions, teams and log-in", err=True)
        lasts = None if days is None else days * 86400
        secret, token = await registry.add_token(SERVER, token_name, name, lasts=lasts)
        await _note(store, "token.add", token=token.id, owner=name)
        output.show({"token": secret, "id": token.id, "owner": name, "expires_at": token.expires_at}, [secret])
        return 0

    _with_store(file, work)


@admin.command()
@_CONFIG
@output.json_option
def tokens(file: str | None) -> None:
    """List the tokens that are not revoked."""

    async def work(config: Config, store: Store) -> int:
        found = (await _registry(config, store)).list_tokens()
        rows = [(one.id, one.owner, one.name or "-", str(one.expires_at or "never")) for one in found]
        facts = [{"id": one.id, "owner": one.owner, "name": one.name, "expires_at": one.expires_at} for one in found]
        output.show({"tokens": facts}, output.table(("ID", "OWNER", "NAME", "EXPIRES"), rows))
        return 0

    _with_store(file, work)


@admin.command()
@click.argument("token_id")
@_CONFIG
@output.json_option
def revoke(token_id: str, file: str | None) -> None:
    """Revoke the token TOKEN_ID."""

    async def work(config: Config, store: Store) -> int:
        token = await (await _registry(config, store)).revoke_token(SERVER, token_id)
        await _note(store, "token.revoke", token=token.id, owner=token.owner)
        output.show({"id": token.id, "status": "revoked"}, [f"revoked {token.id} of {token.owner}"])
        return 0

    _with_store(file, work)


@click.group()
def audit() -> None:
    """Look at the audit: who did what, and whether it was allowed."""


@audit.command("list")
@click.argument("session", required=False, shell_complete=sessions_that_begin)
@click.option("--actor", help="Only what this user did.")
@click.option("--after", type=int, default=0, help="Only entries behind this number.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
@talks
def list_(client: Client, session: str | None, actor: str | None, after: int, limit: int) -> None:
    """Print entries of a running server, oldest first.

    Of one SESSION, or all that you may see.
    """
    session_id = find(client, session) if session else None
    found = client.audit(after=after, session_id=session_id, actor=actor, limit=limit)
    rows = [
        (
            str(one.number),
            one.time.astimezone().strftime("%Y-%m-%d %H:%M:%S"),
            one.actor,
            one.verb,
            "allowed" if one.allowed else click.style("refused", fg="red"),
            (one.session_id or "-")[:8],
            one.reason,
        )
        for one in found
    ]
    output.show({"entries": found}, output.table(("NUMBER", "TIME", "WHO", "VERB", "", "SESSION", "WHY"), rows))


@audit.command()
@_CONFIG
@output.json_option
def verify(file: str | None) -> None:
    """Check that no entry was changed or removed.

    The status is 1 when one was. Note the last hash somewhere else: only a comparison with it shows that entries were cut off at
    the end, or that somebody who can write the database has made all of them anew.
    """

    async def work(_config: Config, store: Store) -> int:
        with output.progress("reading the audit"):
            number, last, broken = await AuditStore(store).verify()
        if broken is not None:
            click.echo(f"agentproxy: {broken}", err=True)
            return 1
        facts = {"entries": number, "last_hash": last}
        output.show(facts, [f"{number} entries, none changed; the last hash is {last}"])
        return 0

    _with_store(file, work)
