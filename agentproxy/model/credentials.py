"""Accounts, API tokens, log-ins and share links as plain data, and the secrets that stand for them.

A secret is shown once, when it is made. What is kept is its SHA-256: it has 160 random bits, so that nothing slower is needed.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime

TOKEN_PREFIX = "ap"  # noqa: S105 - not a secret
LOGIN_PREFIX = "aps"
_NAME = re.compile(r"[A-Za-z0-9_.@+-]{1,128}")


@dataclass(frozen=True, slots=True)
class Account:
    """A user or a service account that an administrator made.

    :param kind: ``user`` or ``service``.
    :param permissions: in place of the role's, when there are any.
    :param login: ``github`` or ``oidc``, whose users of this name it is; empty: its name is nobody's there.
    :param disabled_at: since when its tokens open nothing, or None.
    """

    name: str
    created_at: datetime
    kind: str = "user"
    role: str = "user"
    permissions: tuple[str, ...] = ()
    teams: tuple[str, ...] = ()
    created_by: str = ""
    login: str = ""
    disabled_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """An API token.

    :param owner: the ``user_id`` of who acts with it.
    :param hash: SHA-256 of the secret, in hexadecimal.
    :param role, permissions, teams: what its owner had when it was made; those of an account count instead, if it has one.
    :param scopes: what it is limited to; None is all that its owner may.
    """

    id: str
    owner: str
    name: str
    hash: str
    created_at: datetime
    role: str = "user"
    permissions: tuple[str, ...] = ()
    teams: tuple[str, ...] = ()
    scopes: tuple[str, ...] | None = None
    created_by: str = ""
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Login:
    """A log-in in a browser or through OAuth, until it expires or somebody logs out.

    :param provider: ``github``, ``oidc``...
    :param upstream: the provider's own token, kept sealed, or None.
    :param facts: what the provider said of the user; JSON values.
    """

    id: str
    owner: str
    hash: str
    provider: str
    created_at: datetime
    expires_at: datetime
    role: str = "user"
    permissions: tuple[str, ...] = ()
    teams: tuple[str, ...] = ()
    upstream: str | None = None
    facts: dict[str, object] = field(default_factory=dict)
    revoked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """The link to one session.

    :param token: what stands in the link, 32 hexadecimal digits.
    :param access: ``read`` or ``write``.
    """

    session_id: str
    token: str
    access: str
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None


def digest(secret: str) -> str:
    """Return what is kept of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def new_secret(prefix: str = TOKEN_PREFIX) -> str:
    """Return a new secret that secret scanners can recognise: ``PREFIX_`` and 40 hexadecimal digits."""
    return f"{prefix}_{secrets.token_hex(20)}"


def new_id() -> str:
    """Return the id of a new token or log-in; it opens nothing."""
    return secrets.token_hex(8)


def is_name(text: str) -> bool:
    """Return whether *text* can be the name of an account."""
    return _NAME.fullmatch(text) is not None
