"""``agentproxy helpers`` for static keys: one made for ``auth.static.keys_file``, as agentapi-proxy does it, and one hashed."""

from __future__ import annotations

import json
import os
import secrets
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from agentproxy.auth.hashes import sha256_of, strong
from agentproxy.auth.static import keys_of_file, read_keys
from agentproxy.commands import output
from agentproxy.model.permission import problem

PERMISSIONS = {
    "admin": ("*",),
    "user": ("session:create", "session:list", "session:delete", "session:access"),
    "readonly": ("session:list",),
}


@click.command("generate-token")
@click.option("--output-path", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The keys_file.")
@click.option("--user-id", required=True, help="The user that the key stands for.")
@click.option(
    "--role", type=click.Choice(list(PERMISSIONS)), default="user", show_default=True, help="The user's role."
)
@click.option("--permissions", help="Comma-separated, in place of the role's.")
@click.option("--expiry-days", type=int, default=365, show_default=True, help="0 is never.")
@click.option("--key-prefix", default="ap", show_default=True, help="What the key begins with.")
@click.option("--hashed", is_flag=True, help="Write the key's SHA-256 only; the key itself is printed and then gone.")
@output.json_option
def generate_token(
    output_path: Path, user_id: str, role: str, permissions: str | None, expiry_days: int, key_prefix: str, hashed: bool
) -> None:
    """Make a static key, add it to a file, and print it."""
    wanted = tuple(one.strip() for one in permissions.split(",") if one.strip()) if permissions else PERMISSIONS[role]
    for one in wanted:
        if (sentence := problem(one)) is not None:
            raise click.UsageError(sentence)
    key = f"{key_prefix}_{user_id}_{secrets.token_hex(16)}"
    now = datetime.now(UTC).replace(microsecond=0)
    row = {
        "key": f"sha256:{sha256_of(key)}" if hashed else key,
        "user_id": user_id,
        "role": role,
        "permissions": list(wanted),
        "created_at": now.isoformat().replace("+00:00", "Z"),
    }
    if expiry_days:
        row["expires_at"] = (now + timedelta(days=expiry_days)).isoformat().replace("+00:00", "Z")
    try:
        add(output_path, row)
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    output.show({"key": key, **{name: value for name, value in row.items() if name != "key"}}, [key])


@click.command("hash-key")
@output.json_option
def hash_key() -> None:
    """Print the hash that stands for a key in a file.

    For keys that a person has thought up: it is scrypt. The key is asked for, or read from stdin.
    """
    typed = sys.stdin.isatty()
    key = (
        click.prompt("Key", hide_input=True, confirmation_prompt=True) if typed else sys.stdin.readline().rstrip("\r\n")
    )
    if not key:
        raise click.UsageError("there is no key: type it, or write it to stdin as a line")
    hashed = strong(key)
    output.show({"key": hashed}, [hashed])


def add(path: Path, row: dict[str, Any]) -> None:
    """Add an entry to a file of keys, mode 0600, whole or not at all. Blocking.

    :raises ValueError, OSError: the file is there and is none, or cannot be written.
    """
    whole: dict[str, Any] = {"api_keys": []}
    if path.exists():
        read_keys(keys_of_file(path))
        whole = json.loads(path.read_text(encoding="utf-8"))
    whole["api_keys"].append(row)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    half_made = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(os.open(half_made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(whole, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        half_made.replace(path)
    finally:
        half_made.unlink(missing_ok=True)
