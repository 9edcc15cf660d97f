"""Log-in with somebody else's word: agentapi-proxy's JSON form for programs, and a form for browsers.

| Route | Answer |
|---|---|
| `POST /oauth/authorize` | `{"auth_url", "state"}`; body `redirect_uri`, `provider` |
| `GET /oauth/callback` | the log-in (`session_id`, `access_token`, `expires_at`, `user`), or for a browser its cookie and 302 |
| `POST /oauth/logout` | `{"message"}`; `X-Session-ID`, `?session_id=` or the cookie |
| `POST /oauth/refresh` | the log-in, with a later `expires_at`; `X-Session-ID` or the cookie |
| `GET /oauth/login` | 302 to the provider; `provider`, `next` (a local path) |

The session id opens the API as `X-Session-ID`, as `Authorization: Bearer` and as the cookie, until it expires or is revoked.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.http import Request

from agentproxy.auth.flows import Flow, Flows, is_local_path
from agentproxy.auth.providers import LoggedIn, Provider
from agentproxy.auth.registry import Registry
from agentproxy.auth.showing import COOKIE, SESSION_HEADER
from agentproxy.errors import FOREIGN_ORIGIN, INVALID_REQUEST, NOT_FOUND, TOO_MANY_REQUESTS, UNAUTHENTICATED, Refusal
from agentproxy.model.credentials import Login
from agentproxy.model.principal import Principal
from agentproxy.model.rate import Rate, Rates
from agentproxy.web import wire
from agentproxy.web.answers import answer
from agentproxy.web.routing import route

log = Logger()
BROWSER_COOKIE = b"agentproxy_login"
BEGUN_PER_MINUTE = 60
"""Log-ins that one address may begin."""
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class AuthorizeBody(msgspec.Struct, forbid_unknown_fields=True):
    """What ``POST /oauth/authorize`` takes."""

    redirect_uri: str = ""
    provider: str | None = None


class CallbackQuery(msgspec.Struct):
    """What a provider sends back."""

    code: str = ""
    state: str = ""
    error: str = ""


class LoginQuery(msgspec.Struct):
    """What a page asks for."""

    provider: str | None = None
    next: str = "/"


def may_return_to(uri: str, allowed: Sequence[str]) -> bool:
    """Return whether a log-in may come back to *uri*: listed exactly, or without a list a page of this machine."""
    if allowed:
        return uri in allowed
    parts = urlsplit(uri)
    return parts.scheme in ("http", "https") and parts.hostname in LOOPBACK and parts.username is None


@dataclass(frozen=True, slots=True)
class Door:
    """What the gatekeeper knows of requests.

    :param address: where it comes from.
    :param secure: whether it came over TLS, also before a proxy that is trusted.
    :param same_origin: whether its page may use our cookie.
    :param note: notes an attempt in the audit: the request, whose, the verb, whether it was allowed, why, and facts.
    """

    address: Callable[[Request], str]
    secure: Callable[[Request], bool]
    same_origin: Callable[[Request], bool]
    note: Callable[[Request, str, str, bool, str, Mapping[str, object]], None]


class OAuth:
    """The routes.

    :param lasts: seconds that a log-in lasts.
    :param redirect_uris: where a program's log-in may come back to.
    :param now: seconds of a clock.
    :param recheck: returns a log-in after its provider was asked about it, None when it is over.
    :param door: what is known of a request beside its path and body.
    """

    def __init__(
        self,
        providers: Mapping[str, Provider],
        registry: Registry,
        lasts: float,
        redirect_uris: Sequence[str],
        now: Callable[[], float],
        recheck: Callable[[Login], Awaitable[Login | None]],
        door: Door,
    ) -> None:
        self._providers = providers
        self._registry = registry
        self._lasts = lasts
        self._redirect_uris = redirect_uris
        self._flows = Flows(now)
        self._begun = Rates(Rate.per_minute(BEGUN_PER_MINUTE), now)
        self._recheck = recheck
        self._door = door

    def _provider(self, name: str | None) -> Provider:
        wanted = name or next(iter(self._providers), "")
        if wanted not in self._providers:
            known = ", ".join(self._providers) or "none"
            raise Refusal(NOT_FOUND, f"no log-in {wanted!r} is configured; there is {known}")
        return self._providers[wanted]

    def _check_rate(self, request: Request) -> None:
        """Keep one address from crowding out the log-ins of others.

        :raises Refusal: TOO_MANY_REQUESTS.
        """
        wait = self._begun.take(self._door.address(request))
        if wait:
            raise Refusal(TOO_MANY_REQUESTS, "too many log-ins were begun", retry_after=wait)

    # -- for programs

    @route("POST", "/oauth/authorize", open=True)
    async def authorize(self, request: Request, caller: Principal) -> bytes:  # noqa: ARG002
        """Say where a person goes to log in, and with which state they come back."""
        body = wire.body(request, AuthorizeBody)
        provider = self._provider(body.provider)
        if not body.redirect_uri:
            raise wire.invalid("$.redirect_uri", "redirect_uri is required")
        if not urlsplit(body.redirect_uri).scheme:
            raise wire.invalid("$.redirect_uri", "Invalid redirect_uri format")
        if not may_return_to(body.redirect_uri, self._redirect_uris):
            raise wire.invalid(
                "$.redirect_uri", "Unauthorized redirect_uri; auth.github.oauth.redirect_uris lists them"
            )
        self._check_rate(request)
        state, flow = self._flows.begin(provider.name, body.redirect_uri)
        return answer(request, {"auth_url": await provider.address(flow, state), "state": state})

    @route("GET", "/oauth/callback", open=True)
    async def callback(self, request: Request, caller: Principal) -> bytes:  # noqa: ARG002
        """Finish a log-in that has come back from its provider."""
        said = wire.query_as(request, CallbackQuery)
        if not said.code or not said.state:
            raise Refusal(INVALID_REQUEST, said.error or "Missing code or state parameter")
        flow = self._flows.take(said.state)
        cookie = request.getCookie(BROWSER_COOKIE)
        if flow is None or not flow.is_of(cookie.decode("latin-1") if cookie else None):
            self._door.note(request, "", "auth.login", False, "no log-in with this state is under way", {})
            raise Refusal(UNAUTHENTICATED, "OAuth authentication failed")
        secret, login, found = await self._finish(request, flow, said.code)
        if flow.browser is None:
            return answer(request, _issued(secret, login, found))
        self._set_cookie(request, COOKIE, secret, int(self._lasts), "/")
        self._set_cookie(request, BROWSER_COOKIE, "", 0, "/oauth")
        return _redirect(request, flow.next)

    async def _finish(self, request: Request, flow: Flow, code: str) -> tuple[str, Login, LoggedIn]:
        """Return the secret of a new log-in, the log-in, and who it is.

        :raises Refusal: UNAUTHENTICATED or LOGIN_UNAVAILABLE.
        """
        facts = {"provider": flow.provider}
        try:
            found = await self._provider(flow.provider).finish(flow, code)
        except Refusal as refusal:
            self._door.note(request, "", "auth.login", False, str(refusal), facts)
            raise
        if self._registry.known(found.principal, flow.provider) is None:
            self._door.note(request, found.principal.user_id, "auth.login", False, "an account has this name", facts)
            raise Refusal(UNAUTHENTICATED, "OAuth authentication failed")
        secret, login = await self._registry.log_in(
            found.principal, flow.provider, self._lasts, found.token, dict(found.facts)
        )
        log.info("{user} has logged in with {provider}", user=login.owner, provider=flow.provider)
        self._door.note(request, login.owner, "auth.login", True, flow.provider, {"login": login.id})
        return secret, login, found

    @route("POST", "/oauth/logout", open=True)
    async def logout(self, request: Request, caller: Principal) -> bytes:  # noqa: ARG002
        """End a log-in; its session id opens nothing any more."""
        login = self._login(request, wire.query(request).get("session_id"))
        await self._registry.log_out(login)
        self._door.note(request, login.owner, "auth.logout", True, "its session id", {"login": login.id})
        if login.upstream is not None and login.provider in self._providers:
            forgetting = Deferred.fromCoroutine(self._providers[login.provider].forget(login.upstream))
            forgetting.addErrback(lambda failure: log.info("{why}", why=failure.getErrorMessage()))
        self._set_cookie(request, COOKIE, "", 0, "/")
        return answer(request, {"message": "Successfully logged out"})

    @route("POST", "/oauth/refresh", open=True)
    async def refresh(self, request: Request, caller: Principal) -> bytes:  # noqa: ARG002
        """Let a log-in last longer."""
        login = self._login(request, None)
        if login.expires_at <= datetime.now(UTC):
            raise Refusal(UNAUTHENTICATED, "Session expired")
        secret = self._shown(request) or ""
        known = await self._recheck(login)
        if known is None:
            raise Refusal(UNAUTHENTICATED, "Session expired")
        longer = await self._registry.extend(known, self._lasts)
        if request.getHeader(SESSION_HEADER) is None:
            self._set_cookie(request, COOKIE, secret, int(self._lasts), "/")
        return answer(request, _issued(secret, longer, None))

    def _shown(self, request: Request) -> str | None:
        header = wire.header(request, SESSION_HEADER.decode("ascii"))
        cookie = request.getCookie(COOKIE)
        return header or (cookie.decode("latin-1") if cookie else None)

    def _login(self, request: Request, given: str | None) -> Login:
        """Return the log-in that a request is about.

        :raises Refusal: INVALID_REQUEST, NOT_FOUND; FOREIGN_ORIGIN for a cookie that a page of another origin uses.
        """
        by_cookie = request.getHeader(SESSION_HEADER) is None and request.getCookie(COOKIE) is not None
        if by_cookie and not self._door.same_origin(request):
            raise Refusal(
                FOREIGN_ORIGIN, "without a session id, things are changed only from a page of an allowed origin"
            )
        secret = self._shown(request) or given
        if not secret:
            raise Refusal(INVALID_REQUEST, "Session ID required")
        login = self._registry.login_of(secret)
        if login is None:
            raise Refusal(NOT_FOUND, "Session not found")
        return login

    # -- for browsers

    @route("GET", "/oauth/login", open=True)
    async def login(self, request: Request, caller: Principal) -> bytes:  # noqa: ARG002
        """Send a browser to a provider; it comes back logged in, at a local path."""
        wanted = wire.query_as(request, LoginQuery)
        provider = self._provider(wanted.provider)
        if not is_local_path(wanted.next):
            raise wire.invalid("next", "expected a path of this server, such as /docs")
        scheme = "https" if self._door.secure(request) else "http"
        redirect_uri = f"{scheme}://{wire.header(request, 'host')}/oauth/callback"
        self._check_rate(request)
        cookie = secrets.token_urlsafe(32)
        state, flow = self._flows.begin(provider.name, redirect_uri, cookie, wanted.next)
        address = await provider.address(flow, state)
        self._set_cookie(request, BROWSER_COOKIE, cookie, 900, "/oauth")
        return _redirect(request, address)

    def _set_cookie(self, request: Request, name: bytes, value: str, lasts: int, path: str) -> None:
        secure = "; Secure" if self._door.secure(request) else ""
        text = f"{name.decode()}={value}; Path={path}; Max-Age={lasts}; HttpOnly; SameSite=Lax{secure}"
        request.responseHeaders.addRawHeader("set-cookie", text)


def _redirect(request: Request, where: str) -> bytes:
    request.setResponseCode(302)
    request.responseHeaders.setRawHeaders("location", [where])
    request.responseHeaders.setRawHeaders("cache-control", ["no-store"])
    return b""


def _issued(secret: str, login: Login, found: LoggedIn | None) -> dict[str, Any]:
    """Return what agentapi-proxy answers, with its names, and the same in ours."""
    facts = dict(found.facts if found is not None else login.facts)
    upstream = login.upstream or secret
    user = {
        "UserID": login.owner,
        "Role": login.role,
        "Permissions": list(login.permissions),
        "AuthType": f"{login.provider}_oauth" if login.provider == "github" else login.provider,
        "GitHubUser": facts if login.provider == "github" else None,
        "user_id": login.owner,
        "role": login.role,
        "permissions": list(login.permissions),
        "teams": list(login.teams),
    }
    return {
        "session_id": secret,
        "access_token": upstream,
        "token_type": "Bearer",
        "expires_at": login.expires_at,
        "user": user,
    }
