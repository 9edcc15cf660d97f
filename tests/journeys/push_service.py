"""A push service and browsers of our own: the service takes what servers send over TLS, a browser decrypts it with its own key.

Nothing here uses the code or the library that encrypts: RFC 8291 is done by hand.
"""

from __future__ import annotations

import ssl
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tests.certificates import certificate


def text(data: bytes) -> str:
    """Return base64url without padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def data(encoded: str) -> bytes:
    """Return the bytes of base64url."""
    return urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))


def point(key: ec.EllipticCurvePublicKey) -> bytes:
    """Return a public key, uncompressed."""
    return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def _derived(salt: bytes, secret: bytes, info: bytes, length: int) -> bytes:
    return HKDF(hashes.SHA256(), length, salt, info).derive(secret)


@dataclass
class Browser:
    """A browser's end: it has the private key."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    secret: bytes = b"sixteen bytes ok"

    def keys(self) -> dict[str, str]:
        """Return what it tells the server."""
        return {"p256dh": text(point(self.key.public_key())), "auth": text(self.secret)}

    def opened(self, body: bytes) -> bytes:
        """Return what was sent to it."""
        salt, size = body[:16], body[20]
        theirs, sealed = body[21 : 21 + size], body[21 + size :]
        shared = self.key.exchange(ec.ECDH(), ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), theirs))
        info = b"WebPush: info\0" + point(self.key.public_key()) + theirs
        first = _derived(self.secret, shared, info, 32)
        cipher = AESGCM(_derived(salt, first, b"Content-Encoding: aes128gcm\0", 16))
        plain = cipher.decrypt(_derived(salt, first, b"Content-Encoding: nonce\0", 12), sealed, None)
        return plain.rstrip(b"\0").removesuffix(b"\x02")


@dataclass
class PushService:
    """What came, by path; a path in ``answers`` is answered with that status."""

    url: str
    certificate: Path
    heard: list[tuple[str, Message, bytes]] = field(default_factory=list)
    answers: dict[str, int] = field(default_factory=dict)


@contextmanager
def push_service(directory: Path) -> Iterator[PushService]:
    """Run a push service on loopback."""
    key, cert = certificate(directory)

    class Taking(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            service.heard.append((self.path, self.headers, body))
            self.send_response(service.answers.get(self.path, 201))
            self.send_header("Location", f"{service.url}/moved")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_words: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Taking)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    service = PushService(f"https://localhost:{server.server_port}", cert)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
