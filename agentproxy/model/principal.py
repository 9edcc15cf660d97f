"""Who acts."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever acts: a user, a service account, or the server itself.

    :param user_id: stable name, the owner of what it starts.
    :param role: one of the configured roles.
    :param permissions: verb x reach, for example ``session.stop:own``; ``*`` is everything. See ``permission.py``.
    :param scopes: what its token is limited to, None for all that it may: both must allow what it does.
    :param teams: teams it belongs to, as ``org/slug``.
    :param source: how it was recognised: ``local``, ``static``, ``github``, ``token``, ``session``, ``share``.
    :param credential: id of the key, token or log-in that it showed; never the secret.
    :param address: where the request came from, empty when nobody asked over the network.
    :param env_file: environment file of its role, for the sessions that it starts.
    """

    user_id: str
    role: str = "user"
    permissions: frozenset[str] = field(default_factory=frozenset)
    teams: frozenset[str] = field(default_factory=frozenset)
    source: str = "local"
    credential: str = ""
    address: str = field(default="", compare=False)
    env_file: str | None = None
    scopes: frozenset[str] | None = None


LOCAL = Principal("local", role="admin", permissions=frozenset({"*"}))
"""The one principal while authentication is off."""

SERVER = Principal("agentproxy", role="admin", permissions=frozenset({"*"}), source="server")
"""The server itself: timers, culling, recovery."""
