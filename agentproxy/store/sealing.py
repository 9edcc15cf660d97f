"""Secrets at rest: AES-GCM with a key id, bound to the place where the value stands.

A sealed value is the text ``KEYID:BASE64(nonce + ciphertext)``. The associated data is ``table/row/column``, so that
a value copied to another row does not open. The key file has a line ``KEYID:BASE64(32 bytes)`` for each key; the first
one seals, all of them open: rotation is a new first line.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from agentproxy.store.copying import flush_folder
from agentproxy.store.trouble import StoreError

KEY_FILE = "secret.key"
_KEY_BYTES = 32
_NONCE_BYTES = 12


class Sealer:
    """Seals texts and opens them again.

    :param keys: key id to key of 32 bytes; the first one seals.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        if not keys:
            raise StoreError("there is no key to seal secrets with")
        self._keys = {name: AESGCM(key) for name, key in keys.items()}
        self._current = next(iter(keys))

    @classmethod
    def from_directory(cls, directory: Path) -> Sealer:
        """Return the sealer of the key file in *directory*; the file is made (mode 0600) when there is none.

        :raises StoreError: the file cannot be read, others may read it, or a line of it is not a key.
        """
        path = directory / KEY_FILE
        try:
            if not path.exists():
                _make_key_file(path)
            if path.stat().st_mode & 0o077:
                raise StoreError(f"{path} holds secrets but others may read it: chmod 600 it")
            return cls(read_keys(path.read_text(encoding="ascii"), str(path)))
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(f"the key file {path} cannot be used: {error}") from error

    def seal(self, text: str, place: str) -> str:
        """Return *text* sealed for *place* (``table/row/column``)."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._keys[self._current].encrypt(nonce, text.encode("utf-8", "surrogatepass"), place.encode())
        return f"{self._current}:{base64.b64encode(nonce + sealed).decode('ascii')}"

    def open(self, sealed: str, place: str) -> str:
        """Return the text that was sealed for *place*.

        :raises StoreError: its key is not there, or it was changed or moved.
        """
        name, _, body = sealed.partition(":")
        key = self._keys.get(name)
        if key is None:
            raise StoreError(f"the value at {place} is sealed with the key {name!r}, which the key file does not have")
        try:
            raw = base64.b64decode(body, validate=True)
            opened = key.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], place.encode())
        except (InvalidTag, binascii.Error, ValueError) as error:
            raise StoreError(f"the sealed value at {place} was changed or moved") from error
        return opened.decode("utf-8", "surrogatepass")


def read_keys(text: str, name: str) -> dict[str, bytes]:
    """Return the keys of a key file's *text*; *name* is what a complaint calls the file.

    :raises StoreError: a line is not ``KEYID:BASE64`` of 32 bytes, or an id stands twice.
    """
    keys: dict[str, bytes] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        key_id, _, body = line.strip().partition(":")
        try:
            key = base64.b64decode(body, validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if not key_id or len(key) != _KEY_BYTES or key_id in keys:
            raise StoreError(f"{name}, line {number}: expected a new KEYID:BASE64 of {_KEY_BYTES} bytes")
        keys[key_id] = key
    return keys


def _make_key_file(path: Path) -> None:
    """Write a file with one new key; when somebody else makes it at the same moment, theirs stays."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    line = f"{secrets.token_hex(4)}:{base64.b64encode(os.urandom(_KEY_BYTES)).decode('ascii')}\n"
    half_made = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with open(os.open(half_made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(half_made, path)
        except FileExistsError:
            return
        flush_folder(path.parent)
    finally:
        half_made.unlink(missing_ok=True)
