"""Which server a command talks to, and with which key: an option, the environment, or what ``agentproxy login`` kept.

``login`` keeps address and key in ``$XDG_CONFIG_HOME/agentproxy/login.json`` (``~/.config`` when that is not set), mode 0600.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from agentproxy.client import Client, ClientError, Refused, Retries, calls
from agentproxy.commands import output

DEFAULT = "http://127.0.0.1:8080"
INTERRUPTED = 130
"""The exit status after Ctrl-C, as shells have it."""
F = TypeVar("F", bound=Callable[..., Any])


def login_file() -> Path:
    """Return where ``login`` keeps what it was told."""
    folder = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    return Path(folder) / "agentproxy" / "login.json"


def kept() -> dict[str, str]:
    """Return what ``login`` kept, nothing when it was never used."""
    try:
        found = json.loads(login_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}


def talks(command: F, at: str = "--url") -> Any:
    """Give a command the options ``--url``, ``--key`` and ``--json``, and its first argument, the client.

    :param at: another name for ``--url``, where the command has one of its own.

    What the server refuses ends the command with 1 and the server's sentence on stderr; Ctrl-C ends it with 130.
    """

    @click.option(
        at, "url", envvar="AGENTPROXY_URL", help="Address of the server [default: that of `login`, or " + DEFAULT + "]."
    )
    @click.option(
        "--key", envvar="AGENTPROXY_KEY", help="API key or token; better kept by `login` or in AGENTPROXY_KEY."
    )
    @output.json_option
    @wraps(command)
    def run(url: str | None, key: str | None, **arguments: Any) -> Any:
        try:
            return command(_client(url, key), **arguments)
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        except Refused as refused:
            output.refused(refused)
        except KeyboardInterrupt:
            click.echo(err=True)
            raise SystemExit(INTERRUPTED) from None
        except ClientError as error:
            click.echo(f"agentproxy: {error}. {_what_helps(error)}", err=True)
        raise SystemExit(1)

    return run


def _what_helps(error: ClientError) -> str:
    if isinstance(error.__cause__, ssl.SSLError):
        return "SSL_CERT_FILE names a file with the certificates to trust."
    return "Is the server running? `agentproxy doctor` looks."


def _client(url: str | None, key: str | None, retries: Retries | None = None) -> Client:
    """Return the client of a server; without an address the one that ``login`` kept, and only that one gets the kept key.

    :raises ValueError: the address is none.
    """
    known = kept()
    return Client(url or known.get("url") or DEFAULT, key or (known.get("key") if url is None else None), retries)


def sessions_that_begin(context: click.Context, _parameter: click.Parameter, start: str) -> list[CompletionItem]:
    """Return the sessions that a shell may offer to complete *start*; none when the server does not answer at once."""
    url = context.params.get("url") or os.environ.get("AGENTPROXY_URL")
    key = context.params.get("key") or os.environ.get("AGENTPROXY_KEY")
    try:
        page = _client(url, key, Retries(attempts=1)).do(replace(calls.search(limit=200), patience=2.0))
    except (ValueError, ClientError):
        return []
    return [
        CompletionItem(one.session_id[:8], help=" ".join(filter(None, (one.phase, one.agent, one.description))))
        for one in page.sessions
        if one.session_id.startswith(start)
    ]


session_argument = click.argument("session", shell_complete=sessions_that_begin)
"""A session: its id, or how that begins."""


def find(client: Client, start: str) -> str:
    """Return the id of the one session whose id begins with *start*; a whole id is not looked up.

    :raises Refused: none, or several, begin so.
    """
    if len(start) >= 36:
        return start
    cursor, found = None, []
    while True:
        page = client.search(limit=1000, cursor=cursor)
        found += [one.session_id for one in page.sessions]
        cursor = page.next_cursor
        if cursor is None:
            break
    return the_one("session", start, found, "list")


def the_one(what: str, start: str, known: Iterable[str], shown_by: str) -> str:
    """Return the one of the *known* ids that begins with *start*.

    :param shown_by: the command that lists them.
    :raises Refused: none, or several, begin so.
    """
    found = [one for one in known if one.startswith(start)]
    if len(found) == 1:
        return found[0]
    said = f"{len(found)} {what}s begin with {start!r}" if found else f"No {what} begins with {start!r}"
    code, status = ("invalid_request", 400) if found else (f"{what}_not_found", 404)
    raise Refused(status, code, f"{said}; `agentproxy {shown_by}` shows them.", {})


@click.command()
@click.argument("url")
@click.option("--key", prompt="API key (empty for none)", default="", hide_input=True, help="Asked for when missing.")
@output.json_option
def login(url: str, key: str) -> None:
    """Remember a server's address and your key, after trying them."""
    try:
        with output.progress(f"asking {url}"):
            user = Client(url, key or None).whoami()
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    except Refused as refused:
        output.refused(refused)
        raise SystemExit(1) from refused
    except ClientError as error:
        raise click.ClickException(str(error)) from error
    file = login_file()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as kept_file:
        json.dump({"url": url, **({"key": key} if key else {})}, kept_file)
    output.show({"url": url, "user": user}, [f"Logged in to {url} as {user}."])


@click.command()
@output.json_option
def logout() -> None:
    """Forget the address and the key."""
    login_file().unlink(missing_ok=True)
    output.show({"status": "forgotten"}, ["Forgotten."])
