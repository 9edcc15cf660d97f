"""Log-in with GitHub and OpenID Connect on a whole daemon: programs, browsers, restarts, providers in trouble."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.auth.fake_github import TOKEN
from tests.browser import Browser
from tests.journeys.people import KEYS
from tests.journeys.providers import KnowingDaemon, ProvidersProcess
from tests.journeys.test_people import has_ended
from tests.journeys.test_strangers import ROUTES, filled
from tests.waiting import wait_for


@pytest.fixture(scope="module")
def providers() -> Iterator[ProvidersProcess]:
    """GitHub and the provider, for the tests of this module."""
    running = ProvidersProcess()
    yield running
    running.stop()


@pytest.fixture
def daemon(tmp_path: Path, providers: ProvidersProcess) -> Iterator[KnowingDaemon]:
    """A daemon with every way to be known."""
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "ops.env").write_text("OPS_FILE=from-the-team\n")
    providers.set(github={"failing": None, "teams": [], "users": {TOKEN: {"login": "ann", "id": 7, "name": "Ann"}}})
    settings = {
        "AGENTPROXY_ROLE_ENV_FILES_ENABLED": "true",
        "AGENTPROXY_ROLE_ENV_FILES_PATH": str(tmp_path / "env"),
        "AGENTPROXY_ALLOW_COMMANDS": "true",
    }
    running = KnowingDaemon(tmp_path, providers, settings=settings)
    yield running
    running.stop()


def test_every_kind_of_credential_opens_beside_the_others(daemon: KnowingDaemon) -> None:
    """A static key, a token, a GitHub token in each form and a log-in; a wrong one in front hides none; failures look alike."""
    issued = daemon.log_in()
    own = daemon.ask("root", "POST", "/auth/tokens", {"name": "own"}).json()["token"]
    wrong = {"X_API_Key": "wrong"}
    opened = [
        ({"X_API_Key": KEYS["alice"]}, "alice", "api_key"),
        ({"Authorization": f"Bearer {own}"}, "root", "api_key"),
        *(({"Authorization": f"{scheme}{TOKEN}"}, "ann", "github") for scheme in ("Bearer ", "token ", "")),
        ({"X_Session_ID": issued["session_id"]}, "ann", "github_oauth"),
        ({"Authorization": f"Bearer {issued['session_id']}"}, "ann", "github_oauth"),
        ({"Cookie": f"agentproxy_session={issued['session_id']}"}, "ann", "github_oauth"),
    ]
    for headers, user, kind in opened:
        known = daemon.client.get("/auth/status", **headers, **({} if "X_API_Key" in headers else wrong)).json()
        assert (known.get("user_id"), known.get("auth_type")) == (user, kind), (headers, known)
        if user == "ann":
            assert known["github_user"]["login"] == "ann"
    answers = {
        daemon.client.get("/search", **headers).body
        for headers in (
            {},
            wrong,
            {"Authorization": "Bearer ghp_" + "x" * 36},
            {"Authorization": f"Bearer ap_{'0' * 40}"},
            {"X_Session_ID": f"aps_{'0' * 40}"},
            {"Cookie": "agentproxy_session=x"},
        )
    }
    assert len(answers) == 1
    types = {one["type"]: one["name"] for one in daemon.client.get("/auth/types").json()["types"]}
    assert types == {"api_key": "API Key", "github_oauth": "GitHub OAuth", "oidc": "Single sign-on"}


def test_a_log_in_outlives_a_restart_and_can_be_ended(tmp_path: Path, providers: ProvidersProcess) -> None:
    """Its id opens after a restart; it is in its owner's list; the administrator ends it, and its stream with it."""
    daemon = KnowingDaemon(tmp_path, providers)
    try:
        session = daemon.log_in()["session_id"]
    finally:
        daemon.stop()
    daemon = KnowingDaemon(tmp_path, providers)
    try:
        own = {"X_Session_ID": session}
        [login] = daemon.client.get("/auth/logins", **own).json()["logins"]
        assert (login["owner"], login["provider"]) == ("ann", "github")
        assert daemon.ask("alice", "GET", "/auth/logins").json() == {"logins": []}
        assert daemon.ask("alice", "GET", "/auth/logins?owner=*").status == 403
        assert daemon.ask("alice", "DELETE", f"/auth/logins/{login['id']}").json()["code"] == "login_not_found"
        headers = {"X-Session-ID": session, "Content-Type": "application/json"}
        started = daemon.client.request("POST", "/start", "{}", headers).json()["session_id"]
        with daemon.client.events(f"/{started}/events", **own) as stream:
            stream.until_stable()
            assert daemon.ask("root", "DELETE", f"/auth/logins/{login['id']}").status == 200
            assert has_ended(stream)
        assert daemon.client.get("/search", **own).status == 401
        wanted = {"auth.login", "auth.logout", "session.start"}
        wait_for(
            "the audit",
            lambda: wanted <= {one["verb"] for one in daemon.ask("root", "GET", "/audit").json()["entries"]},
        )
        assert session not in daemon.log.read_text()
        assert TOKEN not in daemon.log.read_text()
    finally:
        daemon.stop()


@pytest.mark.parametrize(("provider", "user"), [("github", "ann"), ("oidc", "bob")])
def test_a_browser_logs_in(provider: str, user: str, daemon: KnowingDaemon) -> None:
    """There and back with a cookie that scripts cannot read, to the page it came from; the provider sees PKCE and a state."""
    begun = daemon.client.get(f"/oauth/login?provider={provider}&next=/docs")
    assert begun.status == 302
    assert {"code_challenge_method=S256"} <= set(urlsplit(begun.headers["Location"]).query.split("&"))
    cookie = begun.headers["Set-Cookie"].partition(";")[0]
    back = daemon.providers.agree(begun.headers["Location"]).partition(f":{daemon.port}")[2]
    assert daemon.client.get(back).status == 401  # another browser, which has used up the state
    begun = daemon.client.get(f"/oauth/login?provider={provider}&next=/docs")
    cookie = begun.headers["Set-Cookie"].partition(";")[0]
    back = daemon.providers.agree(begun.headers["Location"]).partition(f":{daemon.port}")[2]
    done = daemon.client.get(back, Cookie=cookie)
    assert (done.status, done.headers["Location"]) == (302, "/docs")
    cookies = done.headers.get_all("Set-Cookie") or []
    [session] = [one for one in cookies if one.startswith("agentproxy_session=")]
    assert "; HttpOnly; SameSite=Lax" in session
    sent = session.partition(";")[0]
    assert daemon.client.get("/auth/status", Cookie=sent).json()["user_id"] == user
    assert daemon.client.request("POST", "/start", "{}", {"Cookie": sent}).json()["code"] == "foreign_origin"
    origin = {"Cookie": sent, "Origin": f"http://127.0.0.1:{daemon.port}"}
    assert daemon.client.request("POST", "/oauth/logout", headers=origin).status == 200
    assert daemon.client.get("/search", Cookie=sent).status == 401


def test_a_cookie_changes_nothing_from_another_page(daemon: KnowingDaemon) -> None:
    """Without an origin that is ours, on no route that changes something, the agent server's own included."""
    cookie = {"Cookie": f"agentproxy_session={daemon.log_in()['session_id']}"}
    own = f"http://127.0.0.1:{daemon.port}"
    reply = daemon.client.request("POST", "/start", "{}", {**cookie, "Origin": own})
    session_id = reply.json()["session_id"]
    places = [(one.method, filled(one, session_id)) for one in ROUTES if one.path != "/oauth/authorize"]
    places += [(method, f"/{session_id}/message") for method in ("POST", "PUT", "PATCH", "DELETE")]
    wrong = {}
    for method, path in places:
        for page in ({}, {"Origin": "null"}, {"Origin": f"{own}.example"}, {"Referer": f"{own}/"}):
            if method not in ("GET", "HEAD"):
                code = daemon.client.request(method, path, "{}", {**cookie, **page}).json()["code"]
                if code != "foreign_origin":
                    wrong[method, path] = code
    assert wrong == {}
    assert daemon.client.get(f"/sessions/{session_id}", **cookie).json()["phase"] == "ready"


def test_while_github_is_down_known_ones_go_on(daemon: KnowingDaemon) -> None:
    """Whom it knew goes on beyond the cache; somebody new gets 503 and a time; a log-in goes on; then everything is as before."""
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    issued = daemon.log_in()
    assert daemon.client.get("/search", **bearer).status == 200
    daemon.providers.set(github={"failing": 502})
    asked = len(daemon.providers.told()["asked"])
    wait_for("GitHub is asked again", lambda: daemon.client.get("/search", **bearer).status == 200
             and len(daemon.providers.told()["asked"]) > asked)  # fmt: skip
    assert daemon.client.get("/search", **bearer).status == 200
    new = daemon.client.get("/search", Authorization="Bearer ghp_" + "n" * 36)
    assert (new.status, new.json()["code"], bool(new.headers["Retry-After"])) == (503, "login_unavailable", True)
    assert daemon.client.get("/search", X_Session_ID=issued["session_id"]).status == 200
    daemon.providers.set(github={"failing": None, "users": {}})
    wait_for("the revoked token is refused", lambda: daemon.client.get("/search", **bearer).status == 401)


def test_a_team_decides_role_and_environment(daemon: KnowingDaemon, tmp_path: Path) -> None:
    """A member of a mapped team has its role and its environment file; another has neither."""
    write = "import json, os, sys; json.dump(dict(os.environ), open('env.json', 'w')); sys.stdin.read()"
    command = {"command": [sys.executable, "-c", write]}
    daemon.providers.set(github={"teams": ["acme/ops"]})
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert daemon.client.get("/auth/status", **headers).json()["role"] == "admin"
    started = daemon.client.post_json("/start", command, headers=headers)
    assert started.status == 200, started.body
    others = daemon.ask("alice", "POST", "/start", command).json()["session_id"]
    for session_id, found in ((started.json()["session_id"], True), (others, False)):
        path = tmp_path / "data" / "sessions" / session_id / "work" / "env.json"
        wait_for("the agent has written its environment", lambda path=path: path.exists() and path.read_text())
        assert ('"OPS_FILE": "from-the-team"' in path.read_text()) == found
        assert TOKEN not in path.read_text()


def test_the_demo_page_logs_in_and_out(daemon: KnowingDaemon) -> None:
    """The page of the docs, in a real browser: there and back, who one is, longer, out; a foreign answer is refused."""
    with closing(Browser()) as browser:
        page = f"http://localhost:{daemon.providers.port}/pages/oauth-demo.html"
        browser.go(f"{page}?server=http://127.0.0.1:{daemon.port}")
        browser.wait_text("types", "GitHub OAuth")
        browser.click("login")
        browser.wait_text("shown", "ann is logged in until")
        assert browser.value("location.search") == ""
        browser.click("status")
        browser.wait_text("shown", '"github_user"')
        browser.click("refresh")
        browser.wait_text("shown", "with the role user")
        session = browser.value("sessionStorage.getItem('session')")
        assert daemon.client.get("/user/info", X_Session_ID=session).json()["username"] == "ann"
        browser.click("logout")
        browser.wait_text("shown", "Logged out.")
        assert daemon.client.get("/user/info", X_Session_ID=session).status == 401
        browser.go(f"{page}?code=stolen&state=not-begun-here")
        browser.wait_text("problem", "not begun in this tab")
