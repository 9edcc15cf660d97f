"""Who the caller is, and by what: log-ins, tokens, accounts."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType


class LoginType(Struct, forbid_unknown_fields=True):
    """One way to be known."""

    type: str
    name: str
    available: bool


class LoginTypes(Struct, forbid_unknown_fields=True):
    """How one can be known."""

    enabled: bool
    types: list[LoginType]


class LoginStatus(Struct, forbid_unknown_fields=True):
    """Who the caller is."""

    authenticated: bool
    auth_type: str | UnsetType = UNSET
    user_id: str | UnsetType = UNSET
    role: str | UnsetType = UNSET
    permissions: list[str] | UnsetType = UNSET
    scopes: list[str] | UnsetType = UNSET
    teams: list[str] | UnsetType = UNSET
    github_user: dict[str, Any] | UnsetType = UNSET


class UserInfo(Struct, forbid_unknown_fields=True):
    """The caller's name and teams."""

    username: str
    teams: list[str]


class Token(Struct, forbid_unknown_fields=True):
    """An API token; the secret itself is there once."""

    id: str
    name: str
    owner: str
    scopes: list[str] | None
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    token: str | UnsetType = UNSET
    revoked_at: datetime | UnsetType | None = UNSET


class Tokens(Struct, forbid_unknown_fields=True):
    """API tokens."""

    tokens: list[Token]


class KnownLogin(Struct, forbid_unknown_fields=True):
    """A log-in, by its id, which opens nothing."""

    id: str
    owner: str
    provider: str
    role: str
    created_at: datetime
    expires_at: datetime


class KnownLogins(Struct, forbid_unknown_fields=True):
    """Log-ins."""

    logins: list[KnownLogin]


class OwnerQuery(Struct):
    """Whose tokens or log-ins; `*` is everybody's."""

    owner: str | UnsetType = UNSET


class Account(Struct, forbid_unknown_fields=True):
    """An account of a user or a service."""

    name: str
    kind: Literal["user", "service"]
    role: str
    permissions: list[str]
    teams: list[str]
    created_at: datetime
    created_by: str
    login: Literal["", "github", "oidc"]
    disabled: bool


class Accounts(Struct, forbid_unknown_fields=True):
    """Accounts."""

    accounts: list[Account]


class Authorize(Struct, forbid_unknown_fields=True):
    """Where a person goes to log in."""

    auth_url: str
    state: str


class Login(Struct, forbid_unknown_fields=True):
    """A log-in."""

    session_id: str
    access_token: str
    token_type: Literal["Bearer"]
    expires_at: datetime
    user: dict[str, Any]


class LogoutQuery(Struct):
    """Which log-in, where the header and the cookie are missing."""

    session_id: str | UnsetType = UNSET
