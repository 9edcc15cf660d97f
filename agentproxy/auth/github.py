"""What GitHub says of the owner of a token: user, organisations, teams. GitHub Enterprise by another base URL.

| Call | For |
|---|---|
| `GET /user` | login, id, e-mail, name |
| `GET /user/orgs?per_page=100&page=N` | organisations, all pages |
| `GET /user/teams?per_page=100&page=N` | teams, all pages; when the mapping has wildcards |
| `GET /orgs/ORG/teams/TEAM/memberships/LOGIN` | one team; `state` must be `active` |

A token that may not read organisations or teams is one without any: that is no reason to refuse it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import msgspec
import treq as treq_module
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, gatherResults
from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError
from twisted.web.client import PartialDownloadError, ResponseFailed
from twisted.web.iweb import IResponse

AT_ONCE = 3
MOST_PAGES = 50
PAGE = 100
TIMEOUT = 30.0
_BROKEN = (
    ConnectError,
    ConnectionClosed,
    DNSLookupError,
    ResponseFailed,
    PartialDownloadError,
    CancelledError,
    OSError,
)
_NEXT = re.compile(r'rel="?next"?')


class TokenUnknown(Exception):  # noqa: N818 - an expected answer
    """GitHub does not know the token, or it may not even read its own user."""


class GitHubUnavailable(Exception):  # noqa: N818 - a fact about GitHub
    """GitHub does not answer, or answers too many requests.

    :ivar retry_after: seconds, as far as it says.
    :ivar limited: it answers, but this token has asked too often.
    """

    def __init__(self, sentence: str, retry_after: float | None = None, limited: bool = False) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after
        self.limited = limited


@dataclass(frozen=True, slots=True)
class GitHubUser:
    """The owner of a token.

    :param teams: as ``org/slug``.
    """

    login: str
    id: int
    email: str | None = None
    name: str | None = None
    organizations: frozenset[str] = field(default_factory=frozenset)
    teams: frozenset[str] = field(default_factory=frozenset)

    def facts(self) -> dict[str, Any]:
        """Return it as agentapi-proxy shows it (``github_user``)."""
        return {
            "login": self.login,
            "id": self.id,
            "email": self.email,
            "name": self.name,
            "organizations": sorted(self.organizations),
            "teams": sorted(self.teams),
        }


class GitHub:
    """The API of one GitHub.

    :param base_url: such as ``https://api.github.com`` or ``https://HOST/api/v3``.
    :param treq: who sends.
    """

    def __init__(self, base_url: str, treq: Any = treq_module, timeout: float = TIMEOUT) -> None:
        self._base = base_url.rstrip("/")
        self._treq = treq
        self._timeout = timeout

    async def user(self, token: str, wanted: Iterable[str]) -> GitHubUser:
        """Return the owner of a token, with those organisations and teams that *wanted* asks about.

        :param wanted: keys of a mapping: ``org/team`` with wildcards, or ``org``.
        :raises TokenUnknown, GitHubUnavailable: as the names say.
        """
        known = await self._get(token, "/user")
        if not isinstance(known, dict) or not isinstance(known.get("login"), str):
            raise GitHubUnavailable("GET /user was not answered with a user")
        login, keys = known["login"], frozenset(wanted)
        orgs = await self._organizations(token) if any("/" not in one for one in keys) else frozenset()
        teams = await self._teams(token, login, frozenset(one for one in keys if "/" in one))
        return GitHubUser(login, int(known.get("id") or 0), known.get("email"), known.get("name"), orgs, teams)

    async def _organizations(self, token: str) -> frozenset[str]:
        rows = await self._pages(token, "/user/orgs")
        return frozenset(str(one["login"]) for one in rows if isinstance(one, dict) and "login" in one)

    async def _teams(self, token: str, login: str, wanted: frozenset[str]) -> frozenset[str]:
        if any("*" in one for one in wanted):
            rows = await self._pages(token, "/user/teams")
            return frozenset(f"{one['organization']['login']}/{one['slug']}" for one in rows if _is_team(one))
        gate = DeferredSemaphore(AT_ONCE)
        asking: list[Deferred[bool]] = [gate.run(self._is_member, token, login, team) for team in wanted]
        try:
            found = await gatherResults(asking, consumeErrors=True)
        except Exception as error:
            raise getattr(getattr(error, "subFailure", None), "value", error) from None
        return frozenset(team for team, member in zip(wanted, found, strict=True) if member)

    async def _is_member(self, token: str, login: str, team: str) -> bool:
        org, _, slug = team.partition("/")
        path = f"/orgs/{quote(org, safe='')}/teams/{quote(slug, safe='')}/memberships/{quote(login, safe='')}"
        try:
            found = await self._get(token, path)
        except TokenUnknown:
            return False  # no such team, or none that the token may see
        return isinstance(found, dict) and found.get("state") == "active"

    async def _pages(self, token: str, path: str) -> list[Mapping[str, Any]]:
        rows: list[Mapping[str, Any]] = []
        for number in range(1, MOST_PAGES + 1):
            try:
                page, more = await self._page(token, f"{path}?per_page={PAGE}&page={number}")
            except TokenUnknown:
                return []  # its scopes do not allow it
            rows += page if isinstance(page, list) else []
            if not more:
                break
        return rows

    async def _get(self, token: str, path: str) -> Any:
        return (await self._page(token, path))[0]

    async def _page(self, token: str, path: str) -> tuple[Any, bool]:
        """Return one answer as JSON, and whether there are more pages."""
        headers = {
            "Authorization": f"token {token}",
            "Accept": "application/vnd.github.v3+json",
            "User-Agent": "agentproxy",
        }
        try:
            answer = await self._treq.get(
                self._base + path, headers=headers, timeout=self._timeout, allow_redirects=False
            )
            body = await self._treq.content(answer)
        except _BROKEN as error:
            raise GitHubUnavailable(f"GitHub does not answer: {error}") from None
        _check(answer)
        try:
            found = msgspec.json.decode(body)
        except msgspec.DecodeError:
            raise GitHubUnavailable("GitHub answered with something that is not JSON") from None
        link = answer.headers.getRawHeaders("link", [""])[0]
        return found, _NEXT.search(link) is not None


def _is_team(row: Any) -> bool:
    return isinstance(row, dict) and "slug" in row and "login" in (row.get("organization") or {})


def _check(answer: IResponse) -> None:
    """Raise what a status other than 200 means."""
    status = answer.code
    if status == 200:
        return
    wait = _header(answer, "retry-after")
    limited = status == 429 or (status == 403 and (_header(answer, "x-ratelimit-remaining") == "0" or wait != ""))
    if limited or status not in (401, 403, 404):
        raise GitHubUnavailable(f"GitHub answered {status}", float(wait) if wait.isdigit() else None, limited)
    raise TokenUnknown(f"GitHub answered {status}")


def _header(answer: IResponse, name: str) -> str:
    values: list[str] = answer.headers.getRawHeaders(name) or [""]
    return values[0]
