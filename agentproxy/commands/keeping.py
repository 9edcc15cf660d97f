"""What ``agentproxy doctor`` says about secrets, certificates and the clock."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from agentproxy.commands.finding import Finding
from agentproxy.config import Config, Loaded
from agentproxy.config.fields import leaves_of

SOON = 14
"""Days before its end in which a certificate is worth a word."""
_CERTIFICATE = re.compile(r"(?:certKey|privateKey)=((?:\\.|[^:\\])+)")


def secrets(loaded: Loaded) -> Iterator[Finding]:
    """Yield the files with secrets that others can read, or that cannot be used."""
    config = loaded.config
    named = {path for path, entry in leaves_of(Config).items() if entry.meaning.secret} | {"auth.static.api_keys"}
    secret = any(loaded.sources[path] == "file" for path in named)
    if loaded.path is not None and secret:
        yield _private("configuration file", loaded.path)
    key = config.data_dir / "secret.key"
    if key.exists():
        yield _private("secret key", key, "Back it up: without it the secrets in the database cannot be read.")
    if config.auth.static.keys_file is not None:
        yield _keys_file(config.auth.static.keys_file)


def _private(subject: str, path: Path, advice: str = "") -> Finding:
    try:
        mode = path.stat().st_mode
        with path.open("rb"):
            pass
    except OSError as error:
        return Finding("bad", subject, f"{path} cannot be read: {error.strerror}", "Change its owner or its mode.")
    if mode & 0o077:
        return Finding("note", subject, f"{path} can be read by others", f"chmod 600 {path}")
    return Finding("ok", subject, str(path), advice)


def _keys_file(path: Path) -> Finding:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        count = len(found["api_keys"])
    except OSError as error:
        return Finding(
            "bad", "keys file", f"{path} cannot be read: {error.strerror}", "agentproxy helpers generate-token"
        )
    except (ValueError, KeyError, TypeError):
        return Finding("bad", "keys file", f'{path} is no JSON object with "api_keys"', "Correct it.")
    finding = _private("keys file", path)
    return finding if finding.level != "ok" else Finding("ok", "keys file", f"{count} keys in {path}")


def certificates(config: Config) -> Iterator[Finding]:
    """Yield the certificates of TLS listeners: whether they can be read, and until when they are good."""
    from cryptography import x509

    for one in config.listeners:
        for name in dict.fromkeys(found.replace("\\", "") for found in _CERTIFICATE.findall(one.endpoint)):
            path = Path(name)
            try:
                data = path.read_bytes()
            except OSError as error:
                yield Finding("bad", "certificate", f"{path} cannot be read: {error.strerror}", "Correct the listener.")
                continue
            if b"BEGIN CERTIFICATE" not in data:
                yield _private("private key", path)
                continue
            try:
                until = x509.load_pem_x509_certificate(data).not_valid_after_utc
            except ValueError as error:
                yield Finding("bad", "certificate", f"{path} is none: {error}", "Correct the listener.")
                continue
            yield _lasting(path, until)


def _lasting(path: Path, until: datetime) -> Finding:
    days = (until - datetime.now(UTC)).days
    said = f"{path} is good until {until:%Y-%m-%d}"
    if days < 0:
        return Finding("bad", "certificate", f"{path} has expired on {until:%Y-%m-%d}", "Renew it.")
    return Finding("note", "certificate", said, "Renew it.") if days < SOON else Finding("ok", "certificate", said)


def clock(data_dir: Path) -> Finding:
    """Say whether the clock can be right: it is not before what was written already."""
    places = [Path(__file__), *(data_dir.glob("*") if data_dir.is_dir() else ())]
    newest = max(path.stat().st_mtime for path in places)
    if newest > time.time() + 60:
        later = (newest - time.time()) / 60
        said = f"it is {datetime.now(UTC):%Y-%m-%d %H:%M} UTC here, and there are files from {later:.0f} minutes later"
        return Finding("bad", "clock", said, "Set it; tokens, certificates and events depend on it. Use NTP.")
    return Finding("ok", "clock", f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC")
