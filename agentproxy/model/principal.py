"""Who acts."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever acts: a user, a service account, or the server itself.

    :param user_id: stable name, the owner of what it starts.
    :param role: one of the configured roles.
    :param permissions: verb x reach, for example ``session.stop:own``; ``*`` is everything.
    :param teams: teams it belongs to, as ``org/slug``.
    :param source: how it was recognised: ``local``, ``static``, ``github``, ``token``, ``session``.
    """

    user_id: str
    role: str = "user"
    permissions: frozenset[str] = field(default_factory=frozenset)
    teams: frozenset[str] = field(default_factory=frozenset)
    source: str = "local"


LOCAL = Principal("local", role="admin", permissions=frozenset({"*"}))
"""The one principal while authentication is off."""
