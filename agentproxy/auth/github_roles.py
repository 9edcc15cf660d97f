"""Who a GitHub user is here: pure. A key of the mapping is an organisation or ``org/team``; ``*`` is any part of a name."""

from __future__ import annotations

import re
from collections.abc import Mapping

from agentproxy.auth.github import GitHubUser
from agentproxy.auth.role_mapping import role_of
from agentproxy.config.auth_options import UserMapping
from agentproxy.model.permission import ROLES, effective
from agentproxy.model.principal import Principal


def principal_of(
    user: GitHubUser,
    mapping: UserMapping,
    credential: str,
    roles: Mapping[str, frozenset[str]] = ROLES,
    prefix: str = "",
) -> Principal:
    """Return who a GitHub user is here.

    :param prefix: stands in front of the name.
    :param credential: what the audit shows of the token; not the token.
    """
    role, permissions, env_file = role_of(lambda key: matches(key, user), mapping)
    allowed = effective(role, permissions, roles)
    return Principal(prefix + user.login, role, allowed, user.teams, "github", credential, env_file=env_file)


def matches(key: str, user: GitHubUser) -> bool:
    """Return whether a key of the mapping is about the user; case does not count, as on GitHub."""
    known = user.teams if "/" in key else user.organizations
    pattern = "[^/]*".join(re.escape(part) for part in key.split("*"))
    return any(re.fullmatch(pattern, one, re.IGNORECASE) for one in known)
