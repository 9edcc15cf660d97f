"""Static keys: as the seeds write them, as hashes, in a file, with an end, and changed while the server runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.task import Clock

from agentproxy.auth.authenticator import Answer, Later
from agentproxy.auth.hashes import strong
from agentproxy.auth.showing import Credential
from agentproxy.auth.static import StaticKey, StaticKeys, keys_of_file, read_keys
from agentproxy.auth.watching import watch_files
from agentproxy.errors import UNAUTHENTICATED, Refusal
from agentproxy.model.credentials import digest
from agentproxy.model.principal import Principal

LONG = "a-key-of-more-than-twenty-characters"
NOW = 1_800_000_000.0  # 2027-01-15


def shown(secret: str, place: str = "key") -> Credential:
    """Return a secret as a request shows it."""
    return Credential(place, b"x-api-key", secret, digest(secret))


def keys(*entries: StaticKey) -> StaticKeys:
    """Return the authenticator of these entries."""
    found = StaticKeys(lambda: entries, now=lambda: NOW)
    found.use(found.read())
    return found


async def settled(answer: Answer) -> Principal | Refusal | None:
    """Return an answer when it is decided."""
    return await answer.decided() if isinstance(answer, Later) else answer


@pytest.mark.parametrize("form", [LONG, f"sha256:{digest(LONG)}", f"sha256:{digest(LONG).upper()}"])
def test_a_key_stands_plainly_or_as_its_hash(form: str) -> None:
    """The same key opens either way; its hash is no key."""
    static = keys(StaticKey(form, "alice", "admin", ("*",)))
    who = static.look(shown(LONG))
    assert isinstance(who, Principal)
    assert (who.user_id, who.role, who.permissions, who.source) == ("alice", "admin", {"*"}, "static")
    if form != LONG:
        assert static.look(shown(form)) is None


@pytest_twisted.ensureDeferred
async def test_a_thought_up_key_stands_as_scrypt() -> None:
    """Checked in a thread the first time, from memory afterwards; a wrong one is not this one's."""
    static = keys(StaticKey(strong("hunter2"), "alice"), StaticKey(strong("other"), "bob"))
    first = static.look(shown("other"))
    assert isinstance(first, Later)
    who = await settled(first)
    assert isinstance(who, Principal)
    assert (who.user_id, static.look(shown("other"))) == ("bob", who)
    assert await settled(static.look(shown("hunter3"))) is None
    static.use(read_keys([StaticKey(strong("hunter2"), "alice")]))
    assert await settled(static.look(shown("other"))) is None


@pytest.mark.parametrize(
    ("expires_at", "opens"),
    [
        (None, True),
        ("", True),
        ("2030-01-01T00:00:00Z", True),
        ("2027-01-15T08:00:00+00:00", False),
        ("2027-01-15T09:00:01+01:00", True),
        ("2026-01-01", False),
        ("soon", False),
    ],
)
def test_a_key_ends_at_its_time(expires_at: str | None, opens: bool) -> None:
    """From its time on a key is refused; a time that cannot be read refuses it at once."""
    answer = keys(StaticKey(LONG, "alice", expires_at=expires_at)).look(shown(LONG))
    assert isinstance(answer, Principal) if opens else isinstance(answer, Refusal) and answer.kind is UNAUTHENTICATED


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        (StaticKey("sha256:123", "al"), "api_keys[0] of al: expected sha256:"),
        (StaticKey("scrypt:1:2:3", "al"), "expected scrypt:"),
        (StaticKey("scrypt:16777216:8:1:c2FsdHNhbHQ=:aGFzaGhhc2hoYXNoaGFzaA==", "al"), "N a power of 2"),
        (StaticKey(LONG, "al", permissions=("session.fly",)), "there is no permission session.fly"),
    ],
)
def test_a_wrong_entry_is_named_without_its_secret(entry: StaticKey, complaint: str) -> None:
    """The sentence says which entry of whom and why, and shows nothing of the key."""
    with pytest.raises(ValueError, match="api_keys") as caught:
        read_keys([entry])
    assert complaint in str(caught.value)
    assert entry.key not in str(caught.value)


def test_the_same_key_for_two_users_is_refused() -> None:
    """It would be a matter of chance who somebody is; also when one stands as its hash."""
    with pytest.raises(ValueError, match="twice"):
        read_keys([StaticKey(LONG, "alice"), StaticKey(f"sha256:{digest(LONG)}", "bob")])


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"api_keys": {}}', '{"api_keys": [{"key": "k"}]}', '{"api_keys": [{"key": "", "user_id": "a"}]}',
     '{"api_keys": [{"key": "k", "user_id": "a", "permissions": "*"}]}'],
)  # fmt: skip
def test_a_wrong_file_is_an_error_and_no_empty_list(text: str, tmp_path: Path) -> None:
    """A damaged file never means "no keys" or "every key"."""
    path = tmp_path / "keys.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"keys\.json"):
        keys_of_file(path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of keys with Alice's."""
    path = tmp_path / "keys.json"
    write(path, alice=LONG)
    return path


def write(path: Path, **users: str) -> None:
    """Replace a file of keys, as editors do."""
    rows: list[dict[str, Any]] = [{"key": key, "user_id": user, "permissions": None} for user, key in users.items()]
    half_made = path.with_suffix(".new")
    half_made.write_text(json.dumps({"api_keys": rows}))
    half_made.replace(path)


@pytest_twisted.ensureDeferred
async def test_a_changed_file_counts_without_a_restart(file: Path) -> None:
    """A new key opens and a removed one does not; while the file is damaged the keys from before count."""
    lost: list[int] = []
    static = StaticKeys(lambda: keys_of_file(file), changed=lambda: lost.append(1), now=lambda: NOW)
    watch = watch_files([file], static.read, static.use, "The keys", Clock())
    await watch.start()
    try:
        lost.clear()
        await watch.check()
        assert (isinstance(static.look(shown(LONG)), Principal), lost) == (True, [])
        file.write_text("damaged")
        await watch.check()
        assert isinstance(static.look(shown(LONG)), Principal)
        write(file, bob="another-key-of-more-than-twenty-characters")
        await watch.check()
        assert static.look(shown(LONG)) is None
        assert isinstance(static.look(shown("another-key-of-more-than-twenty-characters")), Principal)
        assert lost == [1]
    finally:
        watch.stop()


@pytest_twisted.ensureDeferred
async def test_a_server_does_not_start_with_wrong_keys(file: Path) -> None:
    """At the start there is nothing from before: the fault is told."""
    file.write_text("damaged")
    static = StaticKeys(lambda: keys_of_file(file))
    clock = Clock()
    watch = watch_files([file], static.read, static.use, "The keys", clock)
    with pytest.raises(ValueError, match=r"keys\.json"):
        await watch.start()
    assert clock.getDelayedCalls() == []
