"""Web Push: a browser's subscription, what is said to it, and the rules of both.

An endpoint is an address that a client names and this server calls. So it is https, its host is one that the configuration
names, and it has no other form than the plain one.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from agentproxy.errors import INVALID_REQUEST, Refusal

KINDS = ("message", "status_change", "session_update", "error")
"""What a subscription wants to hear of when it does not say."""
MOST_BYTES = 3900
"""Of what is said: a push service takes 4096 bytes of it encrypted."""
LONGEST_ENDPOINT = 1024
_ENDPOINT = re.compile(r"https://(?P<host>[a-z0-9]([a-z0-9.-]*[a-z0-9])?)(:(?P<port>\d{1,5}))?/[!-~]*")


@dataclass(frozen=True, slots=True)
class Subscription:
    """One browser of one user.

    :param user_type: how the user was recognised when it subscribed, as in :class:`Principal`.
    :param p256dh: the browser's public key, uncompressed, in base64url.
    :param auth: its secret of 16 bytes, in base64url.
    :param session_ids: only about these sessions; empty means all.
    """

    id: str
    user_id: str
    user_type: str
    username: str
    endpoint: str
    p256dh: str
    auth: str
    created_at: datetime
    updated_at: datetime
    session_ids: tuple[str, ...] = ()
    notification_types: tuple[str, ...] = KINDS
    device_info: Mapping[str, Any] = field(default_factory=dict)
    last_used: datetime | None = None


@dataclass(frozen=True, slots=True)
class Recipients:
    """To whom something is said: whoever fits every field that is not empty."""

    user_id: str = ""
    user_type: str = ""
    username: str = ""
    session_id: str = ""


@dataclass(frozen=True, slots=True)
class Urgent:
    """How a push service treats what it is given.

    :param ttl: seconds for which it keeps it for a browser that is away.
    :param urgency: ``low``, ``normal`` or ``high``.
    """

    ttl: int = 86_400
    urgency: str = "normal"


@dataclass(frozen=True, slots=True)
class Vapid:
    """The key pair by which push services know this server.

    :param public: uncompressed, in base64url.
    :param contact: a ``mailto:`` or ``https:`` address.
    """

    public: str
    private: ec.EllipticCurvePrivateKey
    contact: str


def decoded(text: str) -> bytes:
    """Return the bytes of base64url, with or without padding.

    :raises ValueError: it is none.
    """
    try:
        return base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError("expected base64url") from error


def encoded(data: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def uncompressed(key: ec.EllipticCurvePublicKey) -> bytes:
    """Return the 65 bytes of a public key."""
    return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def vapid_of(public: str, private: str, contact: str) -> Vapid:
    """Return the key pair of what the configuration says; the private key is the number, or PEM.

    :raises ValueError: one is wrong, or they do not go together; no key is in the sentence.
    """
    try:
        key = _private(private)
    except ValueError:
        raise ValueError("push.vapid_private_key: expected 32 bytes in base64url, or a PEM of a P-256 key") from None
    known = encoded(uncompressed(key.public_key()))
    if public.rstrip("=") != known:
        raise ValueError("push.vapid_public_key does not belong to push.vapid_private_key")
    if not contact:
        raise ValueError("push.vapid_contact_email is missing: push services want somebody to write to")
    if not contact.startswith(("mailto:", "https://")):
        contact = f"mailto:{contact}"
    return Vapid(known, key, contact)


def _private(text: str) -> ec.EllipticCurvePrivateKey:
    if "BEGIN" in text:
        key = serialization.load_pem_private_key(text.encode(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
            raise ValueError
        return key
    number = decoded(text)
    if len(number) != 32:
        raise ValueError
    return ec.derive_private_key(int.from_bytes(number, "big"), ec.SECP256R1())


def new_vapid() -> tuple[str, str]:
    """Return a new key pair, public and private, as the configuration has it."""
    key = ec.generate_private_key(ec.SECP256R1())
    number = key.private_numbers().private_value.to_bytes(32, "big")
    return encoded(uncompressed(key.public_key())), encoded(number)


def host_of(endpoint: str) -> tuple[str, int] | None:
    """Return host and port of an endpoint, None when it has another form than the plain one."""
    match = _ENDPOINT.fullmatch(endpoint) if len(endpoint) <= LONGEST_ENDPOINT else None
    port = int(match["port"] or 443) if match else 0
    return (match["host"], port) if match and 0 < port < 65_536 else None


def is_named(host: str, port: int, names: Iterable[str]) -> bool:
    """Return whether one of *names* is this host itself: then its addresses are believed, private ones too."""
    return any(one in (f"{host}:{port}", host if port == 443 else None) for one in names)


def is_allowed(host: str, port: int, names: Sequence[str]) -> bool:
    """Return whether one of *names* (``host``, ``host:port``, ``*.example.org``) fits."""
    return is_named(host, port, names) or (
        port == 443 and any(one.startswith("*") and fnmatchcase(host, one) for one in names)
    )


def check_endpoint(endpoint: str, names: Sequence[str]) -> None:
    """Refuse an endpoint that this server must not call.

    :param names: hosts of push services.
    :raises Refusal: INVALID_REQUEST.
    """
    if not endpoint:
        raise Refusal(INVALID_REQUEST, "$.endpoint: Endpoint is required")
    place = host_of(endpoint)
    if place is None:
        raise Refusal(
            INVALID_REQUEST, "$.endpoint: expected https://HOST/... of a push service, at most 1024 characters"
        )
    if not is_allowed(*place, names):
        raise Refusal(INVALID_REQUEST, f"$.endpoint: {place[0]} is none of the push services in push.allowed_hosts")


def check_keys(p256dh: str, auth: str) -> None:
    """Refuse what are no keys of a browser.

    :raises Refusal: INVALID_REQUEST.
    """
    if not p256dh or not auth:
        raise Refusal(INVALID_REQUEST, "$.keys: Keys with p256dh and auth are required")
    try:
        point = decoded(p256dh)
        if len(point) != 65:
            raise ValueError
        ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError:
        raise Refusal(INVALID_REQUEST, "$.keys.p256dh: expected an uncompressed P-256 key in base64url") from None
    try:
        if len(decoded(auth)) != 16:
            raise ValueError
    except ValueError:
        raise Refusal(INVALID_REQUEST, "$.keys.auth: expected 16 bytes in base64url") from None
