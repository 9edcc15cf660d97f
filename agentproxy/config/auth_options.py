"""Options under ``auth``: who is let in, and as what."""

# ruff: noqa: RUF009 - `option` and its siblings return dataclass fields
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agentproxy.config.fields import NOTHING, is_time, is_url, option, required, section


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyOptions:
    """One static key."""

    key: str = required("The key itself.", secret=True)
    user_id: str = required("The user that it stands for.")
    role: str = option("user", "Role of the user: `admin` sees and stops everybody's sessions.")
    permissions: tuple[str, ...] = option((), "What the key allows; `*` is everything.")
    created_at: str | None = option(None, "When it was made (RFC 3339); for people.")
    expires_at: str | None = option(
        None,
        "When it ends (RFC 3339); never when missing.",
        expected="a time such as 2030-01-31T00:00:00Z",
        check=is_time,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class StaticOptions:
    """Keys that are written down."""

    enabled: bool = option(False, "Accept static keys.")
    header_name: str = option("X-API-Key", "Header that carries the key; `Authorization: Bearer` works as well.")
    api_keys: tuple[KeyOptions, ...] = option((), "The keys.", danger="Keep the file readable for the server only.")
    keys_file: Path | None = option(None, 'JSON file `{"api_keys": [...]}` that replaces `api_keys`.')


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamRole:
    """What the members of a team get."""

    role: str = option("user", "Role of the team's members.")
    permissions: tuple[str, ...] = option((), "Permissions of the team's members.")
    env_file: str | None = option(None, "Environment file of the team's sessions, inside `role_env_files.path`.")


@dataclass(frozen=True, slots=True, kw_only=True)
class UserMapping:
    """Which role a GitHub user gets."""

    default_role: str = option("user", "Role of a user without a mapped team.")
    default_permissions: tuple[str, ...] = option((), "Permissions of every GitHub user.")
    team_role_mapping: Mapping[str, TeamRole] = option(NOTHING, "`org/team` to `{role, permissions, env_file}`.")


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthOptions:
    """Log-in with GitHub in a browser."""

    client_id: str | None = option(None, "Client id of the OAuth app.")
    client_secret: str | None = option(None, "Client secret of the OAuth app.", secret=True)
    scope: str = option("read:user read:org", "Scopes that are asked for.")
    base_url: str | None = option(None, "Where the log-in page is; derived from `auth.github.base_url` when missing.")
    redirect_uris: tuple[str, ...] = option(
        (),
        "Exact addresses that a log-in may return to (also `OAUTH_ALLOWED_REDIRECT_URIS`); only loopback when empty.",
        danger="Whoever owns one of these addresses receives log-ins.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class GitHubOptions:
    """GitHub as the judge of who somebody is."""

    enabled: bool = option(False, "Accept GitHub tokens.")
    base_url: str = option(
        "https://api.github.com",
        "The API; for GitHub Enterprise `https://HOST/api/v3`.",
        expected="a URL",
        check=is_url,
    )
    token_header: str = option("Authorization", "Header that carries the token.")
    user_mapping: UserMapping = section(UserMapping, "Which role a user gets.")
    oauth: OAuthOptions = section(OAuthOptions, "Log-in in a browser.")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthOptions:
    """Who is let in."""

    enabled: bool = option(
        False, "Ask everybody who they are.", danger="Off, whoever reaches the port owns everything."
    )
    allow_anonymous: bool = option(
        False,
        "Start without authentication on an address that other machines reach.",
        danger="Everybody on the network can then run programs as the server's user.",
    )
    static: StaticOptions = section(StaticOptions, "Keys that are written down.")
    github: GitHubOptions = section(GitHubOptions, "GitHub tokens and log-in.")
