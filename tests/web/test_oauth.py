"""Log-in with GitHub, for programs and for browsers, over a socket; the session id opens the API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import pytest_twisted
import treq
from treq.testing import StubTreq
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.web.client import HTTPConnectionPool
from twisted.web.http import Request
from twisted.web.server import Site

from agentproxy.auth.external import External, external
from agentproxy.auth.providers import page_base
from agentproxy.auth.rechecking import Rechecking
from agentproxy.auth.registry import Registry
from agentproxy.auth.showing import Credential
from agentproxy.config.auth_options import AuthOptions, GitHubOptions, OAuthOptions, TeamRole, UserMapping
from agentproxy.errors import UNAUTHENTICATED, Refusal
from agentproxy.model.credentials import digest
from agentproxy.model.principal import Principal
from agentproxy.store.identity import IdentityStore
from agentproxy.web.answers import answer
from agentproxy.web.oauth import BEGUN_PER_MINUTE, Door, OAuth, may_return_to
from agentproxy.web.routing import Face, route
from tests.auth.fake_github import TOKEN, FakeGitHub
from tests.store.making import a_store

ORIGIN = "http://localhost"
RETURN = "http://localhost:3000/done"
OPTIONS = AuthOptions(
    enabled=True,
    github=GitHubOptions(
        enabled=True,
        base_url="http://github.test/api/v3",
        oauth=OAuthOptions(client_id="app", client_secret="secret"),
        user_mapping=UserMapping(team_role_mapping={"acme/ops": TeamRole(role="admin")}),
    ),
)


class Whoami:
    """A route that wants an identity."""

    @route("GET", "/whoami")
    async def whoami(self, request: Request, caller: Principal) -> bytes:
        """Say who asks."""
        return answer(request, {"user": caller.user_id, "role": caller.role})


class Server:
    """The routes on a socket, with a store and a GitHub in memory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.github = FakeGitHub()
        self.clock = Clock()
        self._pool = HTTPConnectionPool(reactor, persistent=False)  # type: ignore[no-untyped-call]

    async def open(self) -> None:
        """Open store and port."""
        self.store = a_store(self.directory)
        await self.store.open()
        self.registry = Registry(IdentityStore(self.store))
        await self.registry.load()
        found: External = external(OPTIONS, self.clock, treq=StubTreq(self.github.resource()))
        self.notes: list[tuple[str, str, bool]] = []
        self.rechecking = Rechecking(self.registry, found.providers, self.clock, 300.0)
        self.secure = False
        door = Door(
            lambda _request: "127.0.0.1",
            lambda _request: self.secure,
            lambda request: request.getHeader("origin") == ORIGIN,
            lambda _request, user, verb, allowed, _why, _facts: self.notes.append((user, verb, allowed)),
        )
        oauth = OAuth(found.providers, self.registry, 3600.0, (), self.clock.seconds, self.rechecking.check, door)
        face = Face([oauth, Whoami()], self._identify)
        self.port = reactor.listenTCP(0, Site(face.app.resource()), interface="127.0.0.1")  # type: ignore[attr-defined]

    async def close(self) -> None:
        """Close both."""
        await self.port.stopListening()
        await self.store.close()

    async def _identify(self, request: Request) -> Principal:
        secret = request.getHeader("x-session-id") or (request.getCookie(b"agentproxy_session") or b"").decode()
        found = self.registry.logins.look(Credential("session", b"x-session-id", secret, digest(secret)))
        if not isinstance(found, Principal):
            raise Refusal(UNAUTHENTICATED)
        return found

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, Any]:
        """Return status, JSON and headers of an answer."""
        url = f"http://127.0.0.1:{self.port.getHost().port}{path}"
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        options = {} if body is None else {"json": body}
        got = await treq.request(method, url, headers=sent, allow_redirects=False, pool=self._pool, **options)
        text = await got.content()
        return got.code, (await got.json() if text.startswith(b"{") else None), got.headers

    async def log_in(self) -> Any:
        """Log a program in and return what was issued."""
        _code, begun, _headers = await self.ask("POST", "/oauth/authorize", {"redirect_uri": RETURN})
        code, state = self.github.authorize(begun["auth_url"])
        assert state == begun["state"]
        status, issued, _headers = await self.ask("GET", f"/oauth/callback?code={code}&state={state}")
        assert status == 200, issued
        return issued


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Return an open server."""
    running = Server(tmp_path)
    pytest_twisted.blockon(Deferred.fromCoroutine(running.open()))
    yield running
    pytest_twisted.blockon(Deferred.fromCoroutine(running.close()))


@pytest_twisted.ensureDeferred
async def test_a_program_logs_in_and_the_session_id_opens_the_api(server: Server) -> None:
    """The documented JSON, and an id that works, survives a restart, and works no more after the log-out."""
    issued = await server.log_in()
    assert (issued["token_type"], issued["access_token"], issued["user"]["UserID"]) == ("Bearer", TOKEN, "ann")
    session = issued["session_id"]
    assert (await server.ask("GET", "/whoami", x_session_id=session))[1] == {"user": "ann", "role": "user"}
    await server.close()
    await server.open()
    assert (await server.ask("GET", "/whoami", x_session_id=session))[0] == 200
    status, said, _headers = await server.ask("POST", "/oauth/logout", x_session_id=session)
    assert (status, said) == (200, {"message": "Successfully logged out"})
    assert (await server.ask("GET", "/whoami", x_session_id=session))[0] == 401
    assert server.github.revoked == [TOKEN]
    assert (await server.ask("POST", "/oauth/logout", x_session_id=session))[0] == 404
    assert (await server.ask("POST", "/oauth/logout"))[0] == 400


@pytest_twisted.ensureDeferred
async def test_a_log_in_can_be_made_longer(server: Server) -> None:
    """The same id, a later end."""
    issued = await server.log_in()
    status, longer, _headers = await server.ask("POST", "/oauth/refresh", x_session_id=issued["session_id"])
    assert (status, longer["session_id"]) == (200, issued["session_id"])
    assert longer["expires_at"] > issued["expires_at"]


@pytest_twisted.ensureDeferred
async def test_a_state_is_used_once_and_a_wrong_code_opens_nothing(server: Server) -> None:
    """Replays, made up states and codes get the same 401; a missing one is 400."""
    _code, begun, _headers = await server.ask("POST", "/oauth/authorize", {"redirect_uri": RETURN})
    code, state = server.github.authorize(begun["auth_url"])
    assert (await server.ask("GET", f"/oauth/callback?code=wrong&state={state}"))[0] == 401
    assert (await server.ask("GET", f"/oauth/callback?code={code}&state={state}"))[0] == 401
    assert (await server.ask("GET", f"/oauth/callback?code={code}&state=made-up"))[0] == 401
    assert (await server.ask("GET", "/oauth/callback?code=x"))[0] == 400


@pytest_twisted.ensureDeferred
async def test_a_browser_logs_in_with_a_cookie_and_lands_on_a_local_path(server: Server) -> None:
    """The cookie is HttpOnly and SameSite, the state is of this browser, and the way back stays here."""
    status, _body, headers = await server.ask("GET", "/oauth/login?next=/docs")
    assert status == 302
    begun = headers.getRawHeaders("set-cookie")[0]
    assert "HttpOnly" in begun
    assert "SameSite=Lax" in begun
    address = headers.getRawHeaders("location")[0]
    back = parse_qs(urlsplit(address).query)["redirect_uri"][0]
    assert back.endswith("/oauth/callback")
    code, state = server.github.authorize(address)
    stranger = await server.ask("GET", f"/oauth/callback?code={code}&state={state}")
    assert stranger[0] == 401

    status, _body, headers = await server.ask("GET", "/oauth/login?next=/docs")
    cookie = headers.getRawHeaders("set-cookie")[0].partition(";")[0]
    code, state = server.github.authorize(headers.getRawHeaders("location")[0])
    status, _body, headers = await server.ask("GET", f"/oauth/callback?code={code}&state={state}", cookie=cookie)
    assert (status, headers.getRawHeaders("location")) == (302, ["/docs"])
    session = headers.getRawHeaders("set-cookie")[0]
    assert "HttpOnly; SameSite=Lax" in session
    assert (await server.ask("GET", "/whoami", cookie=session.partition(";")[0]))[1]["user"] == "ann"


@pytest_twisted.ensureDeferred
async def test_nobody_is_sent_elsewhere(server: Server) -> None:
    """An address that is not listed, and a path that leads away, are refused before anybody goes anywhere."""
    for uri in ("https://evil.example/", "http://localhost.evil.example/", "javascript:alert(1)", ""):
        assert (await server.ask("POST", "/oauth/authorize", {"redirect_uri": uri}))[0] == 400
    assert (await server.ask("GET", "/oauth/login?next=//evil.example"))[0] == 400


@pytest_twisted.ensureDeferred
async def test_while_github_is_down_a_log_in_is_503(server: Server) -> None:
    """It is not the person's fault."""
    _code, begun, _headers = await server.ask("POST", "/oauth/authorize", {"redirect_uri": RETURN})
    code, state = server.github.authorize(begun["auth_url"])
    server.github.failing = 500
    assert (await server.ask("GET", f"/oauth/callback?code={code}&state={state}"))[0] == 503


@pytest.mark.parametrize(
    ("uri", "allowed", "expected"),
    [
        ("http://localhost:3000/cb", (), True),
        ("https://[::1]/cb", (), True),
        ("http://localhost@evil.example/", (), False),
        ("http://127.0.0.1.evil.example/", (), False),
        ("https://app.example.org/cb", ("https://app.example.org/cb",), True),
        ("https://app.example.org/cb/../x", ("https://app.example.org/cb",), False),
        ("http://localhost/cb", ("https://app.example.org/cb",), False),
    ],
)
def test_return_addresses(uri: str, allowed: tuple[str, ...], expected: bool) -> None:
    """Listed exactly; without a list, this machine only."""
    assert may_return_to(uri, allowed) is expected


@pytest_twisted.ensureDeferred
async def test_another_page_cannot_log_somebody_out(server: Server) -> None:
    """What rides on the cookie needs a page of ours; the log-in goes on."""
    session = (await server.log_in())["session_id"]
    cookie = f"agentproxy_session={session}"
    for path in ("/oauth/logout", "/oauth/refresh"):
        for headers in ({}, {"origin": "https://evil.example"}):
            status, said, _headers = await server.ask("POST", path, cookie=cookie, **headers)
            assert (status, said["code"]) == (403, "foreign_origin")
    assert (await server.ask("GET", "/whoami", x_session_id=session))[0] == 200
    assert (await server.ask("POST", "/oauth/refresh", cookie=cookie, origin=ORIGIN))[0] == 200
    assert (await server.ask("POST", "/oauth/logout", cookie=cookie, origin=ORIGIN))[0] == 200
    assert (await server.ask("GET", "/whoami", x_session_id=session))[0] == 401


@pytest_twisted.ensureDeferred
async def test_whom_github_has_locked_out_cannot_stay(server: Server) -> None:
    """A refresh asks GitHub; while it is down nothing is lost; one whose token is revoked is out, everywhere."""
    session = (await server.log_in())["session_id"]
    server.github.failing = 500
    assert (await server.ask("POST", "/oauth/refresh", x_session_id=session))[0] == 503
    assert (await server.ask("GET", "/whoami", x_session_id=session))[0] == 200
    server.github.failing = None
    server.github.users.clear()
    assert (await server.ask("POST", "/oauth/refresh", x_session_id=session))[0] == 401
    assert (await server.ask("GET", "/whoami", x_session_id=session))[0] == 401


@pytest_twisted.ensureDeferred
async def test_open_log_ins_are_checked_from_time_to_time(server: Server) -> None:
    """A lost role is lost without a log-out, a revoked token ends the log-in, a GitHub that is down changes nothing."""
    server.github.teams = ["acme/ops"]
    session = (await server.log_in())["session_id"]
    assert (await server.ask("GET", "/whoami", x_session_id=session))[1]["role"] == "admin"
    server.github.failing = 500
    await server.rechecking.check_all()
    assert (await server.ask("GET", "/whoami", x_session_id=session))[1]["role"] == "admin"
    server.github.failing, server.github.teams = None, []
    await server.rechecking.check_all()
    assert (await server.ask("GET", "/whoami", x_session_id=session))[1]["role"] == "user"
    server.github.users.clear()
    await server.rechecking.check_all()
    assert (await server.ask("GET", "/whoami", x_session_id=session))[0] == 401


@pytest_twisted.ensureDeferred
async def test_log_ins_are_in_the_audit(server: Server) -> None:
    """Who logged in and out, and what failed."""
    session = (await server.log_in())["session_id"]
    await server.ask("GET", "/oauth/callback?code=x&state=made-up")
    await server.ask("POST", "/oauth/logout", x_session_id=session)
    assert server.notes == [("ann", "auth.login", True), ("", "auth.login", False), ("ann", "auth.logout", True)]


@pytest_twisted.ensureDeferred
async def test_a_stranger_with_an_accounts_name_does_not_log_in(server: Server) -> None:
    """Somebody who is called like the administrator on GitHub is not the administrator."""
    await server.registry.add_account("ann", role="admin")
    _code, begun, _headers = await server.ask("POST", "/oauth/authorize", {"redirect_uri": RETURN})
    code, state = server.github.authorize(begun["auth_url"])
    status, said, _headers = await server.ask("GET", f"/oauth/callback?code={code}&state={state}")
    assert (status, said["error"]) == (401, "Authentication required")
    assert server.notes == [("ann", "auth.login", False)]


@pytest_twisted.ensureDeferred
async def test_one_address_does_not_crowd_out_the_log_ins_of_others(server: Server) -> None:
    """Whoever begins log-ins without end is told to wait; one that was begun before is finished."""
    _code, begun, _headers = await server.ask("POST", "/oauth/authorize", {"redirect_uri": RETURN})
    last: tuple[int, Any, Any] = (200, None, None)
    for _ in range(BEGUN_PER_MINUTE):
        last = await server.ask("POST", "/oauth/authorize", {"redirect_uri": RETURN})
    assert (last[0], last[1]["code"], last[2].hasHeader("retry-after")) == (429, "too_many_requests", True)
    assert (await server.ask("GET", "/oauth/login"))[0] == 429
    code, state = server.github.authorize(begun["auth_url"])
    assert (await server.ask("GET", f"/oauth/callback?code={code}&state={state}"))[0] == 200


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        ("https://api.github.com", "https://github.com"),
        ("https://api.github.com/", "https://github.com"),
        ("https://github.example.org/api/v3", "https://github.example.org"),
        ("https://github.example.org/api/v3/", "https://github.example.org"),
        ("http://localhost:9999", "http://localhost:9999"),
    ],
)
def test_people_log_in_where_the_pages_are_and_not_at_the_api(base_url: str, expected: str) -> None:
    """github.com's pages are not at its API's host; those of GitHub Enterprise are above its API."""
    assert page_base(GitHubOptions(base_url=base_url)) == expected
    elsewhere = OAuthOptions(client_id="a", client_secret="b", base_url="https://pages.example.org/")
    assert page_base(GitHubOptions(base_url=base_url, oauth=elsewhere)) == "https://pages.example.org"


@pytest_twisted.ensureDeferred
async def test_over_tls_the_cookies_go_over_tls_only(server: Server) -> None:
    """Both cookies are Secure, and the way back is https, also when a trusted proxy ends TLS."""
    server.secure = True
    _status, _body, headers = await server.ask("GET", "/oauth/login")
    cookie = headers.getRawHeaders("set-cookie")[0]
    assert cookie.endswith("; HttpOnly; SameSite=Lax; Secure")
    address = headers.getRawHeaders("location")[0]
    assert parse_qs(urlsplit(address).query)["redirect_uri"][0].startswith("https://")
    code, state = server.github.authorize(address)
    path = f"/oauth/callback?code={code}&state={state}"
    _status, _body, headers = await server.ask("GET", path, cookie=cookie.partition(";")[0])
    assert all(one.endswith("; Secure") for one in headers.getRawHeaders("set-cookie"))
