"""``agentproxy helpers``: small tools around sessions and keys, by agentapi-proxy's names.

They work on the HOME and the directory in which they are called, as start-up scripts of sessions do.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from agentproxy.commands import output
from agentproxy.commands.github import init_github_repository, setup_gh
from agentproxy.commands.keys import generate_token, hash_key
from agentproxy.commands.pushing import generate_vapid_keys, send_notification
from agentproxy.runtime import catalogue
from agentproxy.runtime.home_content import fill
from agentproxy.runtime.homes import Homes


@click.group()
def helpers() -> None:
    """Small tools for start-up scripts and operators."""


helpers.add_command(generate_token)
helpers.add_command(hash_key)
helpers.add_command(init_github_repository)
helpers.add_command(setup_gh)
helpers.add_command(send_notification)
helpers.add_command(generate_vapid_keys)


@helpers.command("setup-claude-code")
@output.json_option
def setup_claude_code() -> None:
    """Answer Claude Code's first-run questions.

    In this HOME, for this directory. What stands there stays.
    """
    home = Path.home()
    facts = {**os.environ, "WORK": os.getcwd()}
    files = [one for one in catalogue.load({}).agents["claude"].home if one.when is None or facts.get(one.when)]
    written = [one.path for one in files if _put(home, one.path, one.format, fill(one.content, facts))]
    output.show({"home": str(home), "files": written}, [f"prepared {home / path}" for path in written])


helpers.add_command(click.Command("init", callback=setup_claude_code.callback, params=setup_claude_code.params,
                                  help="The same as setup-claude-code."))  # fmt: skip


@helpers.command("add-mcp-servers")
@click.option("--config", "encoded", required=True, metavar="BASE64", help="A JSON array of servers, in base64.")
@click.option("--claude-dir", type=click.Path(path_type=Path), help="Where .claude.json is; HOME when missing.")
@output.json_option
def add_mcp_servers(encoded: str, claude_dir: Path | None) -> None:
    """Add MCP servers to Claude Code's own list.

    One that is there already stays. Each is an object: name (or id), and either command, args and env, or endpoint with
    transport http or sse; those with "enabled": false are left out.
    """
    servers = _servers(encoded)
    home = claude_dir or Path.home()
    if servers:
        _put(home, ".claude.json", "json", {"mcpServers": servers})
    output.show({"servers": sorted(servers)}, [f"added {name}" for name in sorted(servers)])


def _put(home: Path, path: str, form: str, content: Mapping[str, Any]) -> bool:
    try:
        if Homes(home.parent).put(home, path, form, content):
            return True
    except OSError as error:
        raise click.ClickException(f"{home / path} cannot be written: {error.strerror}") from error
    raise click.ClickException(f"{home / path} is a link or not {form}, and is left as it is")


def _servers(encoded: str) -> dict[str, dict[str, Any]]:
    try:
        rows = json.loads(base64.b64decode(encoded, validate=True))
    except (binascii.Error, ValueError) as error:
        raise click.UsageError(f"--config: expected base64 of a JSON array: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise click.UsageError("--config: expected a JSON array of objects")
    return {_name(row): _server(row) for row in rows if row.get("enabled", True)}


def _name(row: Mapping[str, Any]) -> str:
    name = row.get("name") or row.get("id")
    if not isinstance(name, str):
        raise click.UsageError("--config: each server needs a name")
    return name


def _server(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return one server as Claude Code writes it."""
    if row.get("command"):
        return {"type": "stdio", "command": row["command"], "args": row.get("args") or [], "env": row.get("env") or {}}
    if not row.get("endpoint"):
        raise click.UsageError(f"--config: {_name(row)} needs a command or an endpoint")
    kind = row.get("transport") or "http"
    if kind not in ("http", "sse"):
        raise click.UsageError(f"--config: {_name(row)}: transport is http or sse, with an endpoint")
    return {"type": kind, "url": row["endpoint"]}
