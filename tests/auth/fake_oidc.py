"""A small OpenID Connect provider in memory: discovery, keys, codes with PKCE, id tokens that can be made wrong."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, RSAKey
from klein import Klein
from twisted.web.http import Request

ISSUER = "https://id.example.org/realm"


class FakeOidc:
    """One provider.

    :ivar claims: laid over the claims of each id token; a value None takes one out.
    :ivar header: laid over its header.
    :ivar sign_with: another key than the published one.
    :ivar document: laid over the discovery document.
    """

    def __init__(self, issuer: str = ISSUER) -> None:
        self.issuer = issuer
        self.key: Any = ECKey.generate_key("P-256", {"kid": "one", "use": "sig"})
        self.claims: dict[str, Any] = {}
        self.header: dict[str, Any] = {}
        self.sign_with: Any = None
        self.document: dict[str, Any] = {}
        self.asked: list[str] = []
        self.down = False
        self._codes: dict[str, dict[str, str]] = {}

    def resource(self) -> Any:
        """Return its resource tree."""
        app = Klein()
        app.route("/realm/.well-known/openid-configuration")(self._discovery)
        app.route("/realm/keys")(self._keys)
        app.route("/realm/token", methods=["POST"])(self._token)
        return app.resource()

    def rotate(self) -> None:
        """Publish and use another key."""
        self.key = RSAKey.generate_key(2048, {"kid": "two", "use": "sig"})

    def log_in(self, address: str) -> tuple[str, str]:
        """Do what a person does on the log-in page: return the code and the state that come back."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        code = f"code-{len(self._codes)}"
        self._codes[code] = query
        return code, query["state"]

    def _answer(self, request: Request, found: Any) -> bytes:
        self.asked.append(request.path.decode())
        request.setResponseCode(503 if self.down else 200)
        return json.dumps(found).encode()

    def _discovery(self, request: Request) -> bytes:
        document = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/login",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            **self.document,
        }
        return self._answer(request, document)

    def _keys(self, request: Request) -> bytes:
        return self._answer(request, KeySet([self.key]).as_dict(private=False))

    def _token(self, request: Request) -> bytes:
        assert request.content is not None
        sent = {name: values[0] for name, values in parse_qs(request.content.read().decode()).items()}
        began = self._codes.pop(sent["code"], None)
        seen = base64.urlsafe_b64encode(hashlib.sha256(sent["code_verifier"].encode()).digest()).rstrip(b"=").decode()
        if began is None or began["code_challenge"] != seen or began["redirect_uri"] != sent["redirect_uri"]:
            return self._answer(request, {"error": "invalid_grant"})
        now = int(time.time())
        claims = {
            "iss": self.issuer, "aud": "agentproxy", "sub": "u-1", "iat": now, "exp": now + 300, "nonce": began["nonce"],
            "preferred_username": "bob", "groups": ["devs"], **self.claims,
        }  # fmt: skip
        key = self.sign_with or self.key
        algorithm = "HS256" if isinstance(key, OctKey) else "RS256" if isinstance(key, RSAKey) else "ES256"
        header = {"alg": algorithm, "kid": self.key.kid, **self.header}
        given = {name: value for name, value in claims.items() if value is not None}
        return self._answer(request, {"id_token": jwt.encode(header, given, key, algorithms=[header["alg"]])})
