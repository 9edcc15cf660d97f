"""The fake GitHub and the small OpenID Connect provider on a port, for whole daemons and browsers.

``python -m tests.auth.providers_server`` prints its port. The person at its log-in pages is logged in already and agrees at once.

| Route | Answer |
|---|---|
| `/api/v3/...`, `/login/oauth/...` | GitHub |
| `/realm/...` | OpenID Connect |
| `POST /control` | sets attributes: `{"github": {...}, "oidc": {...}}`; `{"release": true}` lets held answers go |
| `GET /control` | what was asked and revoked |
| `/pages/...` | the files of `docs/` |
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from twisted.internet import reactor
from twisted.web.http import Request
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.static import File

from tests.auth.fake_github import TOKEN, FakeGitHub
from tests.auth.fake_oidc import FakeOidc

DOCS = Path(__file__).resolve().parents[2] / "docs"


class Providers(Resource):
    """The root of the tree; what it does not have itself is GitHub's or the provider's."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.github = FakeGitHub()
        self.oidc = FakeOidc()
        self._trees = {b"realm": self.oidc.resource()}
        self._rest = self.github.resource()
        self.putChild(b"control", Control(self.github, self.oidc))
        self.putChild(b"pages", File(str(DOCS)))

    def getChildWithDefault(self, path: bytes, request: Request) -> Any:
        """Return what answers a request."""
        assert request.prepath is not None
        assert request.postpath is not None
        if request.path in (b"/login/oauth/authorize", b"/realm/login"):
            return Agreeing(self.github if path == b"login" else self.oidc)
        if path in self.children:
            return super().getChildWithDefault(path, request)  # type: ignore[no-untyped-call]
        request.prepath.remove(path)
        request.postpath.insert(0, path)
        return self._trees.get(path, self._rest)


class Agreeing(Resource):
    """A log-in page on which somebody has agreed: back to where the browser came from."""

    isLeaf = True

    def __init__(self, provider: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._provider = provider

    def render_GET(self, request: Request) -> bytes:
        """Redirect."""
        assert request.args is not None
        address = request.uri.decode()
        code, state = (
            self._provider.authorize(address, TOKEN)
            if isinstance(self._provider, FakeGitHub)
            else self._provider.log_in(address)
        )
        back = request.args[b"redirect_uri"][0].decode()
        request.redirect(f"{back}{'&' if '?' in back else '?'}{urlencode({'code': code, 'state': state})}".encode())
        return b""


class Control(Resource):
    """How tests change them."""

    isLeaf = True

    def __init__(self, github: FakeGitHub, oidc: FakeOidc) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._github, self._oidc = github, oidc

    def render_GET(self, request: Request) -> bytes:
        """Tell."""
        return json.dumps({"asked": self._github.asked, "revoked": self._github.revoked}).encode()

    def render_POST(self, request: Request) -> bytes:
        """Change."""
        assert request.content is not None
        wanted = json.loads(request.content.read())
        for name, provider in (("github", self._github), ("oidc", self._oidc)):
            for key, value in wanted.get(name, {}).items():
                setattr(provider, key, value)
        if wanted.get("release"):
            self._github.release()
        return b"{}"


if __name__ == "__main__":
    root = Providers()
    port = reactor.listenTCP(0, Site(root), interface="127.0.0.1")  # type: ignore[attr-defined]
    number = port.getHost().port
    root.oidc.issuer = f"http://127.0.0.1:{number}/realm"
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()
    reactor.run()  # type: ignore[attr-defined]
