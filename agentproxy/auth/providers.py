"""What a log-in in a browser needs of a provider, and GitHub as one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit

import msgspec
import treq as treq_module
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError
from twisted.web.client import PartialDownloadError, ResponseFailed

from agentproxy.auth.flows import Flow
from agentproxy.auth.github import GitHubUnavailable, TokenUnknown
from agentproxy.auth.github_tokens import GitHubTokens
from agentproxy.config.auth_options import GitHubOptions
from agentproxy.errors import LOGIN_UNAVAILABLE, UNAUTHENTICATED, Refusal
from agentproxy.model.principal import Principal

TIMEOUT = 30.0
BROKEN = (ConnectError, ConnectionClosed, DNSLookupError, ResponseFailed, PartialDownloadError, CancelledError, OSError)


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """Who came back from a provider.

    :param token: the provider's token for the user, or None.
    :param facts: what the provider said of the user.
    """

    principal: Principal
    token: str | None
    facts: Mapping[str, Any] = field(default_factory=dict)


class Provider(Protocol):
    """Where somebody is sent to log in."""

    name: str
    title: str

    async def address(self, flow: Flow, state: str) -> str:
        """Return where the browser goes.

        :raises Refusal: LOGIN_UNAVAILABLE.
        """

    async def finish(self, flow: Flow, code: str) -> LoggedIn:
        """Return who it is.

        :raises Refusal: UNAUTHENTICATED or LOGIN_UNAVAILABLE.
        """

    async def again(self, token: str) -> LoggedIn | None:
        """Return who the owner of the provider's token is now, None when the provider does not know the token any more.

        :raises Refusal: LOGIN_UNAVAILABLE.
        """

    async def forget(self, token: str) -> None:
        """Tell the provider that its token is not used any more; failures do not matter."""


async def form(treq: Any, url: str, fields: Mapping[str, str], **options: Any) -> tuple[int, Any]:
    """Return status and JSON of a form that was sent to a provider.

    :raises Refusal: LOGIN_UNAVAILABLE, it does not answer.
    """
    headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
    try:
        answer = await treq.post(
            url, data=urlencode(fields).encode(), headers=headers, timeout=TIMEOUT, allow_redirects=False, **options
        )
        body = await treq.content(answer)
    except BROKEN as error:
        raise Refusal(LOGIN_UNAVAILABLE, f"{urlsplit(url).hostname} does not answer") from error
    try:
        return answer.code, msgspec.json.decode(body)
    except msgspec.DecodeError:
        return answer.code, None


def page_base(options: GitHubOptions) -> str:
    """Return where the log-in pages of a GitHub are, from its API's address."""
    if options.oauth.base_url is not None:
        return options.oauth.base_url.rstrip("/")
    base = options.base_url.rstrip("/").removesuffix("/api/v3")
    return "https://github.com" if urlsplit(base).hostname == "api.github.com" else base


class GitHubLogin:
    """GitHub's OAuth apps.

    :param tokens: knows whom a GitHub token stands for.
    """

    name = "github"
    title = "GitHub"

    def __init__(self, options: GitHubOptions, tokens: GitHubTokens, treq: Any = treq_module) -> None:
        self._options = options
        self._tokens = tokens
        self._treq = treq
        self._pages = page_base(options)

    async def address(self, flow: Flow, state: str) -> str:
        """See :class:`Provider`."""
        fields = {
            "client_id": self._options.oauth.client_id or "",
            "redirect_uri": flow.redirect_uri,
            "scope": self._options.oauth.scope,
            "state": state,
            "code_challenge": flow.challenge,
            "code_challenge_method": "S256",
        }
        return f"{self._pages}/login/oauth/authorize?{urlencode(fields)}"

    async def finish(self, flow: Flow, code: str) -> LoggedIn:
        """See :class:`Provider`."""
        oauth = self._options.oauth
        fields = {
            "client_id": oauth.client_id or "",
            "client_secret": oauth.client_secret or "",
            "code": code,
            "redirect_uri": flow.redirect_uri,
            "code_verifier": flow.verifier,
        }
        status, said = await form(self._treq, f"{self._pages}/login/oauth/access_token", fields)
        token = said.get("access_token") if isinstance(said, dict) else None
        if status >= 500:
            raise Refusal(LOGIN_UNAVAILABLE, "GitHub does not answer")
        if not isinstance(token, str) or not token:
            raise Refusal(UNAUTHENTICATED, "OAuth authentication failed")
        return await self._owner(token)

    async def _owner(self, token: str) -> LoggedIn:
        found = await self.again(token)
        if found is None:
            raise Refusal(UNAUTHENTICATED, "OAuth authentication failed")
        return found

    async def again(self, token: str) -> LoggedIn | None:
        """See :class:`Provider`."""
        try:
            user = await self._tokens.user_of(token)
        except TokenUnknown:
            return None
        except GitHubUnavailable as error:
            raise Refusal(LOGIN_UNAVAILABLE, "GitHub does not answer", retry_after=error.retry_after) from None
        return LoggedIn(self._tokens.principal(user, "github-login"), token, user.facts())

    async def forget(self, token: str) -> None:
        """See :class:`Provider`: the app's grant of this token is deleted at the API's host."""
        oauth = self._options.oauth
        url = f"{self._options.base_url.rstrip('/')}/applications/{oauth.client_id}/token"
        answer = await self._treq.delete(
            url,
            auth=(oauth.client_id or "", oauth.client_secret or ""),
            json={"access_token": token},
            headers={"Accept": "application/vnd.github.v3+json"},
            timeout=TIMEOUT,
        )
        await self._treq.content(answer)
