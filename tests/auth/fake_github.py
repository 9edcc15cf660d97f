"""A GitHub in memory: users by token, organisations, teams and memberships in pages, an OAuth app, and ways to fail."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.web.http import Request

TOKEN = "ghp_" + "a" * 36
PAGE = 100


@dataclass
class FakeGitHub:
    """What it knows, and what it was asked.

    :ivar failing: a status that every answer has instead, or None.
    :ivar unreadable: paths that a token's scopes do not allow.
    :ivar slow: answers wait until :meth:`release`.
    """

    users: dict[str, dict[str, Any]] = field(default_factory=lambda: {TOKEN: {"login": "ann", "id": 7, "name": "Ann"}})
    organizations: list[str] = field(default_factory=list)
    teams: list[str] = field(default_factory=list)
    pending: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    failing: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    revoked: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    slow: bool = False
    held: list[Deferred[None]] = field(default_factory=list)
    codes: dict[str, tuple[str, str]] = field(default_factory=dict)

    def resource(self) -> Any:
        """Return its resource tree."""
        app = Klein()
        for method, path, handler in [
            ("GET", "/api/v3/user", self._user),
            ("GET", "/api/v3/user/orgs", self._orgs),
            ("GET", "/api/v3/user/teams", self._teams),
            ("GET", "/api/v3/orgs/<org>/teams/<slug>/memberships/<login>", self._membership),
            ("DELETE", "/api/v3/applications/<client>/token", self._revoke),
            ("POST", "/login/oauth/access_token", self._exchange),
        ]:
            app.route(path, methods=[method])(handler)
        return app.resource()

    def authorize(self, address: str, token: str = TOKEN) -> tuple[str, str]:
        """Do what a person does on the log-in page: return the code and the state that come back."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        code = f"code-{len(self.codes)}"
        self.codes[code] = (query["code_challenge"], token)
        return code, query["state"]

    def _answer(self, request: Request, found: Any, status: int = 200) -> bytes:
        self.asked.append(request.uri.decode())
        for name, value in self.headers.items():
            request.responseHeaders.setRawHeaders(name, [value])
        refused = self.failing or (403 if request.path.decode() in self.unreadable else None)
        request.setResponseCode(refused or status)
        return json.dumps({"message": "no"} if refused else found).encode()

    def release(self) -> None:
        """Let the answers go that were held."""
        self.slow, held = False, self.held
        self.held = []
        for one in held:
            one.callback(None)

    def _owner(self, request: Request) -> dict[str, Any] | None:
        header = request.getHeader("authorization") or ""
        return self.users.get(header.removeprefix("token "))

    async def _user(self, request: Request) -> bytes:
        if self.slow:
            self.held.append(Deferred())
            await self.held[-1]
        found = self._owner(request)
        return self._answer(request, found or {"message": "Bad credentials"}, 200 if found else 401)

    def _page(self, request: Request, rows: list[Any]) -> bytes:
        number = int((request.args or {})[b"page"][0])
        if number * PAGE < len(rows):
            link = f'<http://github.test/x?page={number + 1}>; rel="next"'
            request.responseHeaders.setRawHeaders("link", [link])
        return self._answer(request, rows[(number - 1) * PAGE : number * PAGE])

    def _orgs(self, request: Request) -> bytes:
        return self._page(request, [{"login": one} for one in self.organizations])

    def _teams(self, request: Request) -> bytes:
        rows = [{"slug": one.split("/")[1], "organization": {"login": one.split("/")[0]}} for one in self.teams]
        return self._page(request, rows)

    def _membership(self, request: Request, org: str, slug: str, login: str) -> bytes:
        team = f"{org}/{slug}"
        if team in self.teams or team in self.pending:
            return self._answer(request, {"state": "active" if team in self.teams else "pending"})
        return self._answer(request, {"message": "Not Found"}, 404)

    def _revoke(self, request: Request, client: str) -> bytes:
        assert request.content is not None
        self.revoked.append(json.loads(request.content.read())["access_token"])
        return self._answer(request, {}, 204)

    def _exchange(self, request: Request) -> bytes:
        assert request.content is not None
        sent = {name: values[0] for name, values in parse_qs(request.content.read().decode()).items()}
        challenge, token = self.codes.pop(sent["code"], ("", ""))
        seen = base64.urlsafe_b64encode(hashlib.sha256(sent["code_verifier"].encode()).digest()).rstrip(b"=").decode()
        if seen != challenge or sent["client_secret"] != "secret":
            return self._answer(request, {"error": "bad_verification_code"})
        return self._answer(request, {"access_token": token, "token_type": "bearer"})
