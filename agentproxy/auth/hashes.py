"""How a static key may stand in a file: as it is, as its SHA-256, or as scrypt for keys that a person has thought up.

| Form | For |
|---|---|
| ``KEY`` | a file that only the server reads |
| ``sha256:HEX`` | random keys of 20 characters and more |
| ``scrypt:N:R:P:SALT:HASH`` (base64) | shorter ones; a look-up costs some 50 ms, the next ones nothing |
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
from dataclasses import dataclass

_SHA = re.compile(r"sha256:([0-9a-fA-F]{64})")
_COST = (1 << 14, 8, 1)
_MEMORY = 1 << 27
WEAK = 20
"""Characters below which a key that stands plainly or as SHA-256 is called weak."""


@dataclass(frozen=True, slots=True)
class Scrypt:
    """A key that is known by its scrypt hash only."""

    n: int
    r: int
    p: int
    salt: bytes
    hash: bytes

    def matches(self, key: str) -> bool:
        """Return whether it is this key; blocks for the time that scrypt takes."""
        try:
            made = _scrypt(key, self.salt, self.n, self.r, self.p, len(self.hash))
        except ValueError:
            return False
        return hmac.compare_digest(made, self.hash)


def _scrypt(key: str, salt: bytes, n: int, r: int, p: int, size: int) -> bytes:
    raw = key.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(raw, salt=salt, n=n, r=r, p=p, maxmem=_MEMORY, dklen=size)


def sha256_of(text: str) -> str | None:
    """Return the digest that a configured key stands for, None when it is an scrypt hash.

    :raises ValueError: it has a prefix of a hash and is none; the sentence shows nothing of it.
    """
    if text.startswith("sha256:"):
        match = _SHA.fullmatch(text)
        if match is None:
            raise ValueError("expected sha256: and 64 hexadecimal digits")
        return match[1].lower()
    if text.startswith("scrypt:"):
        return None
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def scrypt_of(text: str) -> Scrypt:
    """Return the scrypt hash of a configured key.

    :raises ValueError: it is none; the sentence shows nothing of it.
    """
    parts = text.split(":")
    try:
        n, r, p = (int(part) for part in parts[1:4])
        salt, made = (base64.b64decode(part, validate=True) for part in parts[4:])
    except (ValueError, binascii.Error):
        raise ValueError("expected scrypt:N:R:P:SALT:HASH with salt and hash in base64") from None
    if not (
        2 <= n <= 1 << 17 and n & (n - 1) == 0 and 1 <= r <= 32 and 1 <= p <= 8 and len(salt) >= 8 and len(made) >= 16
    ):
        raise ValueError("expected scrypt with N a power of 2 up to 131072, R up to 32, P up to 8, and a salt")
    if 128 * n * r > _MEMORY - (1 << 20):
        raise ValueError("expected scrypt that takes less than 127 MiB")
    return Scrypt(n, r, p, salt, made)


def strong(key: str) -> str:
    """Return the scrypt form of a key for a file; blocks for the time that scrypt takes."""
    salt = os.urandom(16)
    made = _scrypt(key, salt, *_COST, 32)
    return (
        f"scrypt:{_COST[0]}:{_COST[1]}:{_COST[2]}:{base64.b64encode(salt).decode()}:{base64.b64encode(made).decode()}"
    )
