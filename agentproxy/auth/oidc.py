"""Log-in with an OpenID Connect provider: discovery, authorization code with PKCE, and an id token that is checked.

Checked of the id token: signature by a key of the provider's set (RS, PS, ES or EdDSA, never ``none`` or a shared secret),
``iss``, ``aud`` (and ``azp``), ``exp``, ``iat``, and that ``nonce`` is the one of this log-in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlencode

import msgspec
import treq as treq_module
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from agentproxy.auth.flows import Flow
from agentproxy.auth.providers import BROKEN, TIMEOUT, LoggedIn, form
from agentproxy.auth.role_mapping import role_of
from agentproxy.config.auth_options import OidcOptions
from agentproxy.errors import LOGIN_UNAVAILABLE, UNAUTHENTICATED, Refusal
from agentproxy.model.permission import ROLES, effective
from agentproxy.model.principal import Principal

log = Logger()
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"]
SKEW = 60
FRESH = 3600.0
"""Seconds for which the provider's document and keys are believed."""


class Oidc:
    """One provider.

    :param now: seconds since 1970.
    """

    name = "oidc"

    def __init__(
        self,
        options: OidcOptions,
        roles: Mapping[str, frozenset[str]] = ROLES,
        treq: Any = treq_module,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._options = options
        self._roles = roles
        self._treq = treq
        self._now = now
        self.title = options.name
        self._known: tuple[float, dict[str, Any]] | None = None
        self._keys: tuple[float, KeySet] | None = None

    async def address(self, flow: Flow, state: str) -> str:
        """See :class:`agentproxy.auth.providers.Provider`."""
        document = await self._document()
        fields = {
            "response_type": "code",
            "client_id": self._client,
            "redirect_uri": flow.redirect_uri,
            "scope": self._options.scope,
            "state": state,
            "nonce": flow.nonce,
            "code_challenge": flow.challenge,
            "code_challenge_method": "S256",
        }
        page = str(document["authorization_endpoint"])
        return page + ("&" if "?" in page else "?") + urlencode(fields)

    async def finish(self, flow: Flow, code: str) -> LoggedIn:
        """See :class:`agentproxy.auth.providers.Provider`."""
        document = await self._document()
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": flow.redirect_uri,
            "client_id": self._client,
            "code_verifier": flow.verifier,
        }
        if self._options.client_secret:
            fields["client_secret"] = self._options.client_secret
        status, said = await form(self._treq, str(document["token_endpoint"]), fields)
        if status >= 500:
            raise Refusal(LOGIN_UNAVAILABLE, "the provider does not answer")
        if not isinstance(said, dict) or not isinstance(said.get("id_token"), str):
            raise Refusal(UNAUTHENTICATED, "the provider gave no id token")
        claims = await self._claims(said["id_token"], flow)
        return LoggedIn(self.principal(claims), None, {"sub": claims["sub"], "email": claims.get("email")})

    async def again(self, token: str) -> LoggedIn | None:  # noqa: ARG002
        """Never come here: no token of the provider is kept."""
        raise AssertionError("there is no token to ask about")

    async def forget(self, token: str) -> None:
        """Do nothing: no token of the provider is kept."""

    # -- the id token

    async def _claims(self, token: str, flow: Flow) -> dict[str, Any]:
        """Return the claims of a token that is good.

        :raises Refusal: UNAUTHENTICATED, with the reason in the log only.
        """
        try:
            try:
                decoded = await deferToThread(jwt.decode, token, await self._key_set(), algorithms=ALGORITHMS)
            except JoseError:  # signed with a key that is newer than what we know
                decoded = await deferToThread(jwt.decode, token, await self._key_set(again=True), algorithms=ALGORITHMS)
            self._check(decoded.claims, flow)
        except (JoseError, ValueError) as error:
            log.warn("An id token of {issuer} was refused: {error}", issuer=self._options.issuer, error=str(error))
            raise Refusal(UNAUTHENTICATED, "the id token is not good") from None
        return dict(decoded.claims)

    def _check(self, claims: Mapping[str, Any], flow: Flow) -> None:
        """Check what a signature does not say.

        :raises JoseError, ValueError: it is not for this log-in.
        """
        jwt.JWTClaimsRegistry(
            now=int(self._now()),
            leeway=SKEW,
            iss={"essential": True, "value": self._issuer},
            aud={"essential": True, "value": self._client},
            sub={"essential": True},
            exp={"essential": True},
            iat={"essential": True},
            nonce={"essential": True, "value": flow.nonce},
        ).validate(dict(claims))
        several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        if (several or "azp" in claims) and claims.get("azp") != self._client:
            raise ValueError("azp is another client")

    def principal(self, claims: Mapping[str, Any]) -> Principal:
        """Return who a good id token stands for."""
        mapping = self._options.user_mapping
        user = self._options.user_prefix + str(claims.get(self._options.user_claim) or claims["sub"])
        given = claims.get(self._options.groups_claim)
        groups = frozenset(str(one) for one in given) if isinstance(given, list) else frozenset()
        role, permissions, env_file = role_of(lambda key: any(fnmatchcase(one, key) for one in groups), mapping)
        allowed = effective(role, permissions, self._roles)
        return Principal(user, role, allowed, groups, "oidc", f"oidc:{claims['sub']}", env_file=env_file)

    # -- the provider

    @property
    def _issuer(self) -> str:
        return self._options.issuer or ""

    @property
    def _client(self) -> str:
        return self._options.client_id or ""

    async def _document(self) -> dict[str, Any]:
        if self._known is None or self._now() - self._known[0] > FRESH:
            found = await self._get(self._issuer.rstrip("/") + "/.well-known/openid-configuration")
            if not isinstance(found, dict) or found.get("issuer") != self._issuer:
                raise Refusal(LOGIN_UNAVAILABLE, "the provider's document names another issuer")
            if missing := [
                name for name in ("authorization_endpoint", "token_endpoint", "jwks_uri") if name not in found
            ]:
                raise Refusal(LOGIN_UNAVAILABLE, f"the provider's document has no {', '.join(missing)}")
            self._known = (self._now(), found)
        return self._known[1]

    async def _key_set(self, again: bool = False) -> KeySet:
        if again or self._keys is None or self._now() - self._keys[0] > FRESH:
            found = await self._get(str((await self._document())["jwks_uri"]))
            self._keys = (self._now(), KeySet.import_key_set(found))
        return self._keys[1]

    async def _get(self, url: str) -> Any:
        try:
            answer = await self._treq.get(url, headers={"Accept": "application/json"}, timeout=TIMEOUT)
            body = await self._treq.content(answer)
            if answer.code == 200:
                return msgspec.json.decode(body)
        except (*BROKEN, msgspec.DecodeError) as error:
            log.warn("The provider cannot be asked: {error}", error=str(error))
        raise Refusal(LOGIN_UNAVAILABLE, "the provider does not answer")
