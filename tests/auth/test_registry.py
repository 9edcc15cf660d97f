"""Accounts, tokens and log-ins: shown once, hashed at rest, in force at once, gone at once, there after a restart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from agentproxy.auth.registry import LONGEST_LOGIN, Registry
from agentproxy.auth.showing import Credential
from agentproxy.errors import (
    ACCOUNT_EXISTS,
    ACCOUNT_NOT_FOUND,
    FORBIDDEN,
    INVALID_REQUEST,
    TOKEN_NOT_FOUND,
    Refusal,
    RefusalKind,
)
from agentproxy.model.credentials import digest
from agentproxy.model.permission import may
from agentproxy.model.principal import Principal
from agentproxy.store import Store
from agentproxy.store.identity import IdentityStore
from tests.store.making import a_store

ADMIN = Principal("root", "admin", frozenset({"*"}))
ANN = Principal("ann", "user", frozenset({"session.read:own"}), frozenset({"o/t"}))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An open store."""
    opened = a_store(tmp_path)
    pytest_twisted.blockon(Deferred.fromCoroutine(opened.open()))
    yield opened
    pytest_twisted.blockon(Deferred.fromCoroutine(opened.close()))


@pytest.fixture
def registry(store: Store) -> Registry:
    """The registry of the store, loaded."""
    made = Registry(IdentityStore(store))
    pytest_twisted.blockon(Deferred.fromCoroutine(made.load()))
    return made


def shown(secret: str, place: str = "bearer") -> Credential:
    """Return a secret as a request shows it."""
    return Credential(place, b"authorization", secret, digest(secret))


def who(registry: Registry, secret: str) -> Principal | None:
    """Return whom a secret stands for."""
    for ring in (registry.tokens, registry.logins):
        found = ring.look(shown(secret))
        if isinstance(found, Principal):
            return found
    return None


async def refused(work: object) -> RefusalKind:
    """Return the kind of refusal that *work* ends with."""
    with pytest.raises(Refusal) as caught:
        await work  # type: ignore[misc]
    return caught.value.kind


@pytest_twisted.ensureDeferred
async def test_a_token_works_at_once_and_is_kept_as_its_hash(registry: Registry, store: Store, tmp_path: Path) -> None:
    """The next request is let in, so is one after a restart, and the secret is nowhere in the database."""
    secret, token = await registry.add_token(ANN, "laptop")
    assert secret.startswith("ap_")
    found = who(registry, secret)
    assert found is not None
    assert (found.user_id, found.permissions, found.teams, found.credential) == (
        "ann",
        ANN.permissions,
        ANN.teams,
        token.id,
    )
    after = Registry(IdentityStore(store))
    await after.load()
    assert who(after, secret) == found
    await store.close()
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and secret[3:].encode() in path.read_bytes()]
    await store.open()


@pytest_twisted.ensureDeferred
async def test_a_revoked_token_fails_in_the_next_request(registry: Registry) -> None:
    """Its owner or an administrator takes it back; for anybody else it is not there."""
    secret, token = await registry.add_token(ANN, "")
    assert await refused(registry.revoke_token(Principal("bob"), token.id)) is TOKEN_NOT_FOUND
    assert who(registry, secret) is not None
    await registry.revoke_token(ANN, token.id)
    assert who(registry, secret) is None
    assert registry.list_tokens("ann") == []
    await registry.load()
    assert who(registry, secret) is None


@pytest_twisted.ensureDeferred
async def test_a_token_is_never_more_than_its_maker(registry: Registry) -> None:
    """Scopes that the maker lacks give nothing; a limited token makes no tokens; others' need the permission."""
    secret, _token = await registry.add_token(ANN, "", scopes=["*", "session.read:all"])
    limited = who(registry, secret)
    assert limited is not None
    assert (may(limited, "session.read"), may(limited, "session.stop"), may(limited, "admin.tokens")) == (
        True,
        False,
        False,
    )
    assert await refused(registry.add_token(limited, "")) is FORBIDDEN
    nothing, _token = await registry.add_token(ANN, "", scopes=[])
    empty = who(registry, nothing)
    assert empty is not None
    assert not may(empty, "session.read")
    assert await refused(registry.add_token(ANN, "", owner="root")) is FORBIDDEN
    assert await refused(registry.add_token(ADMIN, "", owner="nobody")) is ACCOUNT_NOT_FOUND
    assert await refused(registry.add_token(ANN, "", scopes=["session.fly"])) is INVALID_REQUEST


@pytest_twisted.ensureDeferred
async def test_an_account_decides_what_its_tokens_may(registry: Registry) -> None:
    """A service account's role counts in the next request, and a disabled one's tokens open nothing until it is enabled."""
    await registry.add_account("ci", "service", "viewer", by=ADMIN)
    secret, _token = await registry.add_token(ADMIN, "", owner="ci")
    before = who(registry, secret)
    assert before is not None
    assert (before.role, may(before, "session.message")) == ("viewer", False)
    await registry.change_account("ci", role="user")
    after = who(registry, secret)
    assert after is not None
    assert may(after, "session.message")
    account = registry.account("ci")
    assert account is not None
    await registry.change_account("ci", disabled_at=account.created_at)
    assert who(registry, secret) is None
    await registry.change_account("ci", disabled_at=None)
    assert who(registry, secret) == after


@pytest_twisted.ensureDeferred
async def test_a_wrong_account_is_refused(registry: Registry) -> None:
    """Two of a name, a name that is none, a role or permission that does not exist."""
    await registry.add_account("ci")
    assert await refused(registry.add_account("ci")) is ACCOUNT_EXISTS
    assert await refused(registry.add_account("a b")) is INVALID_REQUEST
    assert await refused(registry.add_account("x", role="king")) is INVALID_REQUEST
    assert await refused(registry.add_account("x", permissions=["session.fly"])) is INVALID_REQUEST
    assert await refused(registry.change_account("nobody", role="user")) is ACCOUNT_NOT_FOUND


@pytest_twisted.ensureDeferred
async def test_a_log_in_lasts_over_a_restart_until_it_is_ended(registry: Registry, store: Store) -> None:
    """Its secret opens as session header, cookie and Bearer, not as a key; the provider's token stays sealed."""
    secret, login = await registry.log_in(ANN, "github", 60.0, upstream="gho_upstream", facts={"login": "ann"})
    found = who(registry, secret)
    assert found is not None
    assert (found.user_id, found.source) == ("ann", "session")
    assert registry.logins.look(shown(secret, "key")) is None
    after = Registry(IdentityStore(store))
    await after.load()
    assert who(after, secret) == found
    again = after.login_of(secret)
    assert again is not None
    assert (again.upstream, again.facts) == ("gho_upstream", {"login": "ann"})
    longer = await registry.extend(login, 3600.0)
    assert longer.expires_at > login.expires_at
    await registry.log_out(login)
    assert who(registry, secret) is None
    await after.load()
    assert who(after, secret) is None


@pytest_twisted.ensureDeferred
async def test_another_process_sees_a_change(registry: Registry, store: Store) -> None:
    """The command line and other replicas work on the same tables: their changes move the version."""
    identity = IdentityStore(store)
    before = await identity.version()
    secret, _token = await Registry(identity).add_token(ANN, "")
    assert await identity.version() > before
    assert who(registry, secret) is None
    await registry.load()
    assert who(registry, secret) is not None


GITHUB_ANN = Principal("ann", "user", frozenset({"session.read:own"}), frozenset({"o/t"}), "github")


@pytest_twisted.ensureDeferred
async def test_the_name_of_an_account_is_not_for_whoever_has_it_elsewhere(registry: Registry) -> None:
    """A log-in with a provider is nobody when an account has its name, unless the account is for that provider."""
    await registry.add_account("ann", role="admin")
    assert registry.known(GITHUB_ANN, "github") is None
    secret, _login = await registry.log_in(GITHUB_ANN, "github", 3600)
    assert who(registry, secret) is None
    await registry.change_account("ann", login="github")
    user = registry.known(GITHUB_ANN, "github")
    assert user is not None
    assert (user.role, user.permissions, user.teams) == ("admin", {"*"}, {"o/t"})
    found = who(registry, secret)
    assert found is not None
    assert found.role == "admin"
    assert registry.known(GITHUB_ANN, "oidc") is None
    await registry.change_account("ann", disabled_at=_login.created_at)
    assert registry.known(GITHUB_ANN, "github") is None
    assert who(registry, secret) is None


@pytest_twisted.ensureDeferred
async def test_nobody_gives_more_than_they_have(registry: Registry) -> None:
    """Who makes accounts makes no administrators, changes none, and gets no token of one; what they have they give."""
    await registry.add_account("root", role="admin")
    clerk = Principal("clerk", "clerk", frozenset({"admin.accounts", "admin.tokens", "session.read:all"}))
    await registry.add_account("reader", permissions=["session.read:team", "session.read"], by=clerk)
    assert await refused(registry.add_account("x", role="admin", by=clerk)) is FORBIDDEN
    assert await refused(registry.add_account("x", permissions=["session.stop:own"], by=clerk)) is FORBIDDEN
    assert await refused(registry.change_account("reader", clerk, role="admin", permissions=())) is FORBIDDEN
    assert await refused(registry.change_account("root", clerk, role="guest")) is FORBIDDEN
    assert await refused(registry.add_token(clerk, "mine now", "root")) is FORBIDDEN
    await registry.add_token(clerk, "for the reader", "reader")
    await registry.change_account("reader", ADMIN, role="admin")


@pytest_twisted.ensureDeferred
async def test_a_log_in_is_not_made_longer_for_ever(registry: Registry) -> None:
    """After a month somebody has to log in again."""
    secret, login = await registry.log_in(GITHUB_ANN, "github", 3600)
    longer = await registry.extend(login, 10 * 366 * 86400.0)
    assert longer.expires_at == login.created_at + LONGEST_LOGIN
    assert who(registry, secret) is not None
    assert [one.id for one in registry.list_logins("ann")] == [login.id]
    await registry.log_out(longer)
    assert list(registry.list_logins()) == []


@pytest_twisted.ensureDeferred
async def test_a_lesser_key_makes_no_more_of_itself(registry: Registry) -> None:
    """A static key that may only list, of a user who has an account that may everything, makes no token of the account."""
    await registry.add_account("ann", role="admin")
    assert await refused(registry.add_token(ANN, "more than I have")) is FORBIDDEN
    whole = Principal("ann", "admin", frozenset({"*"}))
    secret, _token = await registry.add_token(whole, "as much as I have")
    found = who(registry, secret)
    assert found is not None
    assert found.permissions == {"*"}


@pytest_twisted.ensureDeferred
async def test_what_is_made_while_everything_is_read_again_is_not_lost(
    registry: Registry, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token that is made, and one that is revoked, while an older state is on its way from the store: what is newer counts."""
    old, kept = await registry.add_token(ANN, "old")
    reading = IdentityStore(store)
    held: list[Deferred[None]] = []
    has_read: Deferred[None] = Deferred()

    async def tokens() -> object:
        found = await reading.tokens()
        if not held:
            held.append(Deferred())
            has_read.callback(None)
            await held[0]
        return found

    monkeypatch.setattr(registry._store, "tokens", tokens)
    loading = Deferred.fromCoroutine(registry.load())
    await has_read
    new, _token = await registry.add_token(ANN, "new")
    await registry.revoke_token(ANN, kept.id)
    held[0].callback(None)
    await loading
    assert (who(registry, new) is not None, who(registry, old)) == (True, None)
