"""Which role somebody gets by the groups that a provider names: pure.

It starts from the default. Each key of the mapping that matches adds its permissions; the role becomes the highest one in the
order guest, user, member, developer, admin; a role that is not in this order never wins. The environment file is that of the
key that raised the role, or of one with the same role.
"""

from __future__ import annotations

from collections.abc import Callable

from agentproxy.config.auth_options import UserMapping

ORDER = ("guest", "user", "member", "developer", "admin")


def role_of(matches: Callable[[str], bool], mapping: UserMapping) -> tuple[str, tuple[str, ...], str | None]:
    """Return role, listed permissions and environment file.

    :param matches: whether a key of the mapping is about this user.
    """
    role, permissions, env_file = mapping.default_role, set(mapping.default_permissions), None
    for key, one in sorted(mapping.team_role_mapping.items()):
        if not matches(key):
            continue
        permissions |= set(one.permissions)
        if _higher(one.role, role):
            role, env_file = one.role, one.env_file
        elif one.role == role:
            env_file = env_file or one.env_file
    return role, tuple(sorted(permissions)), env_file


def _higher(one: str, other: str) -> bool:
    if one not in ORDER:
        return False
    return other not in ORDER or ORDER.index(one) > ORDER.index(other)
