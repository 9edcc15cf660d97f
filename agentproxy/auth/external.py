"""Ways to be known by somebody else's word, put together from the configuration: GitHub's tokens and the providers of log-ins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import treq as treq_module
from twisted.internet.interfaces import IReactorTime

from agentproxy.auth.authenticator import Answer, Authenticator
from agentproxy.auth.github import GitHub
from agentproxy.auth.github_tokens import GitHubTokens
from agentproxy.auth.providers import GitHubLogin, Provider
from agentproxy.auth.showing import Credential
from agentproxy.config.auth_options import AuthOptions
from agentproxy.model.permission import ROLES


@dataclass(frozen=True, slots=True)
class External:
    """What was configured.

    :param authenticators: by their names in ``auth.order``.
    :param providers: by name, in the order in which a page offers them.
    :param tokens: the authenticator of GitHub's tokens, when they are taken.
    """

    authenticators: Mapping[str, Authenticator]
    providers: Mapping[str, Provider]
    tokens: GitHubTokens | None = None


class Offer:
    """Says in ``GET /auth/types`` that there is a log-in; what it gives is a session id, which others know."""

    def __init__(self, kind: str, title: str) -> None:
        self._shown = ((kind, title),)

    def look(self, credential: Credential) -> Answer:  # noqa: ARG002
        """See :class:`Authenticator`: never mine."""
        return None

    def types(self) -> Sequence[tuple[str, str]]:
        """See :class:`Authenticator`."""
        return self._shown


def external(
    auth: AuthOptions,
    clock: IReactorTime,
    roles: Mapping[str, frozenset[str]] = ROLES,
    changed: Callable[[], None] = lambda: None,
    treq: Any = treq_module,
) -> External:
    """Return what the configuration wants."""
    authenticators: dict[str, Authenticator] = {}
    providers: dict[str, Provider] = {}
    tokens = GitHubTokens(auth.github, GitHub(auth.github.base_url, treq), clock, roles, changed)
    if auth.github.enabled:
        authenticators["github"] = tokens
        if auth.github.oauth.client_id:
            providers["github"] = GitHubLogin(auth.github, tokens, treq)
            tokens.with_login = True
    if auth.oidc.issuer and auth.oidc.client_id:
        from agentproxy.auth.oidc import Oidc  # dear, and only for this

        providers["oidc"] = Oidc(auth.oidc, roles, treq)
        authenticators["oidc"] = Offer("oidc", auth.oidc.name)
    return External(authenticators, providers, tokens if auth.github.enabled else None)
