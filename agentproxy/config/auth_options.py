"""Options under ``auth``: who is let in, and as what."""

# ruff: noqa: RUF009 - `option` and its siblings return dataclass fields
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agentproxy.config.fields import NOTHING, is_time, is_url, option, required, section
from agentproxy.config.session_options import COUNT, POSITIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyOptions:
    """One static key."""

    key: str = required("The key itself, `sha256:HEX` or `scrypt:...` of it; see docs/security.md.", secret=True)
    user_id: str = required("The user that it stands for.")
    role: str = option("user", "Role of the user: `admin` sees and stops everybody's sessions.")
    permissions: tuple[str, ...] = option((), "What the key allows; `*` is everything.")
    teams: tuple[str, ...] = option((), "Teams of the user, as `org/slug`.")
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

    default_role: str = option(
        "user", "Role of a user without a mapped team; `none` may nothing.",
        danger="Everybody whom the provider knows, with github.com the whole world, gets this role.",
    )  # fmt: skip
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
    cache_seconds: float = option(
        30.0, "How long what GitHub said of a token is believed.", unit="seconds",
        danger="A member who was removed keeps the role for so long.", **COUNT,
    )  # fmt: skip
    grace_seconds: float = option(
        3600.0, "How long whom GitHub knew before may go on while GitHub is down.", unit="seconds", **COUNT
    )
    recheck_seconds: float = option(
        300.0, "How often GitHub is asked again about the log-ins that are open.", unit="seconds", **POSITIVE,
    )  # fmt: skip
    user_prefix: str = option(
        "", "What is put in front of a GitHub name to make the user's name here, such as `github:`.",
        danger="Empty, a static key and a GitHub user with the same name are one user.",
    )  # fmt: skip
    user_mapping: UserMapping = section(UserMapping, "Which role a user gets.")
    oauth: OAuthOptions = section(OAuthOptions, "Log-in in a browser.")


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcOptions:
    """Log-in in a browser with an OpenID Connect provider."""

    issuer: str | None = option(None, "Address of the provider; its `/.well-known/openid-configuration` is read.")
    name: str = option("Single sign-on", "What people call the provider.")
    client_id: str | None = option(None, "Client id that the provider gave.")
    client_secret: str | None = option(
        None, "Client secret that the provider gave; none for a public client.", secret=True
    )
    scope: str = option("openid profile email", "Scopes that are asked for.")
    user_claim: str = option(
        "preferred_username", "Claim that becomes the user's name; `sub` when the token does not have it.",
        danger="It must be a claim that users cannot choose for themselves.",
    )  # fmt: skip
    user_prefix: str = option(
        "", "What is put in front of that name to make the user's name here, such as `sso:`.",
        danger="Empty, a static key and a user of the provider with the same name are one user.",
    )  # fmt: skip
    groups_claim: str = option("groups", "Claim with the user's groups; they are the user's teams.")
    user_mapping: UserMapping = section(UserMapping, "Which role a user gets; the keys are groups.")


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleOptions:
    """What a role may."""

    permissions: tuple[str, ...] = option((), "Permissions such as `session.stop:team`; see docs/security.md.")


@dataclass(frozen=True, slots=True, kw_only=True)
class AllowanceOptions:
    """How much one user may do; 0 is no limit."""

    starts_per_minute: int = option(0, "Starts of sessions a minute; more is 429.", **COUNT)
    messages_per_minute: int = option(0, "Messages a minute, over all sessions; more is 429.", **COUNT)
    sessions_per_user: int = option(0, "Sessions that live at the same time; more is 429.", **COUNT)
    failed_logins_per_minute: int = option(
        10, "Wrong keys of one address, or uses of one wrong key; more is 429. A right key always opens.", **COUNT
    )


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
    oidc: OidcOptions = section(OidcOptions, "Log-in with an OpenID Connect provider.")
    login_seconds: float = option(86_400.0, "How long a log-in in a browser lasts.", unit="seconds", **COUNT)
    order: tuple[Literal["static", "token", "session", "github", "oidc"], ...] = option(
        ("static", "token", "session", "github", "oidc"),
        "In which order a request's secret is looked up; what is missing here is not accepted.",
    )
    roles: Mapping[str, RoleOptions] = option(
        NOTHING, "Further roles, or other permissions for `admin`, `user`, `viewer`, `guest`, by name."
    )
    limits: AllowanceOptions = section(AllowanceOptions, "How much one user may do.")
