"""Accounts, tokens, log-ins, grants, links and the audit on each kind of database."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, gatherResults

from agentproxy.errors import ACCOUNT_EXISTS, TOKEN_NOT_FOUND, Refusal
from agentproxy.model.audit import Attempt
from agentproxy.model.credentials import Account, Login, Share, Token, digest
from agentproxy.model.permission import Grant, eyes
from agentproxy.model.principal import Principal
from agentproxy.model.search import SessionQuery
from agentproxy.store import Store
from agentproxy.store.audit import AuditStore
from agentproxy.store.identity import IdentityStore
from agentproxy.store.sharing import SharingStore
from tests.store.making import NOW, a_session


@pytest_twisted.ensureDeferred
async def test_what_is_known_of_people_reads_back(store: Store) -> None:
    """Accounts, tokens and log-ins come back as they were; what is revoked, expired or forgotten does not."""
    identity = IdentityStore(store)
    account = Account("ci", NOW, "service", "viewer", ("session.read:all",), ("o/t",), "root")
    token = Token("t1", "ci", "näme", digest("s"), NOW, "viewer", (), ("o/t",), ("session.read:own",), "root", NOW)
    login = Login("l1", "ann", digest("l"), "github", NOW, NOW + timedelta(hours=1), upstream="gho", facts={"a": [1]})
    await identity.add_account(account)
    await identity.add_token(token)
    await identity.add_login(login)
    await identity.add_login(replace(login, id="l2", hash=digest("old"), expires_at=NOW))
    assert await identity.accounts() == [account]
    assert await identity.tokens("ci") == [token]
    assert await identity.tokens("ann") == []
    assert await identity.logins(NOW) == [login]
    with pytest.raises(Refusal) as caught:
        await identity.add_account(account)
    assert caught.value.kind is ACCOUNT_EXISTS
    with pytest.raises(Refusal) as caught:
        await identity.revoke_token("t1", NOW, owner="ann")
    assert caught.value.kind is TOKEN_NOT_FOUND
    assert (await identity.revoke_token("t1", NOW)).revoked_at == NOW
    assert await identity.tokens() == []
    assert await identity.change_login("l1", revoked_at=NOW) == replace(login, revoked_at=NOW)
    assert await identity.logins(NOW) == []
    await identity.forget_logins(NOW + timedelta(days=1))
    assert await identity.change_login("l1", revoked_at=NOW) is None


@pytest_twisted.ensureDeferred
async def test_a_list_shows_what_was_shared(store: Store) -> None:
    """Own, team, shared with oneself or one's team; a grant that is taken back takes the session out of the list."""
    sharing = SharingStore(store)
    for name, fields in {
        "own": {"owner": "ann"},
        "team": {"owner": "bob", "scope": "team", "team_id": "o/t"},
        "mine": {"owner": "bob"},
        "ours": {"owner": "bob"},
        "hidden": {"owner": "bob"},
    }.items():
        await store.add_session(a_session(name, **fields), [])
    await sharing.put_grant(Grant("mine", "user:ann", "read"), "bob", NOW)
    await sharing.put_grant(Grant("ours", "team:o/t", "read"), "bob", NOW)
    await sharing.put_grant(Grant("hidden", "user:annie", "write"), "bob", NOW)
    ann = Principal("ann", permissions=frozenset({"session.list:own", "session.list:team"}), teams=frozenset({"o/t"}))

    async def seen(who: Principal) -> set[str]:
        return {one.id for one in (await store.search(SessionQuery(visible_to=eyes(who)))).sessions}

    assert await seen(ann) == {"own", "team", "mine", "ours"}
    assert await seen(replace(ann, teams=frozenset())) == {"own", "mine"}
    assert await seen(replace(ann, permissions=frozenset())) == set()
    assert await seen(replace(ann, scopes=frozenset({"session.list:team"}))) == {"team", "mine", "ours"}
    await sharing.put_grant(Grant("mine", "user:ann", "write"), "bob", NOW)
    assert Grant("mine", "user:ann", "write") in await sharing.grants()
    assert await sharing.remove_grant("mine", "user:ann")
    assert not await sharing.remove_grant("mine", "user:ann")
    assert await seen(ann) == {"own", "team", "ours"}


@pytest_twisted.ensureDeferred
async def test_a_session_has_one_link(store: Store) -> None:
    """A second one is the first one; it reads back with its token, and goes with its session."""
    sharing = SharingStore(store)
    share = Share("one", "0" * 32, "read", NOW, "ann", NOW)
    assert await sharing.add_share(share) == share
    assert await sharing.add_share(replace(share, token="1" * 32)) == share
    assert await sharing.shares() == [share]
    await sharing.forget("one")
    assert await sharing.shares() == []
    assert not await sharing.remove_share("one")


@pytest_twisted.ensureDeferred
async def test_entries_of_many_writers_are_one_chain(store: Store) -> None:
    """Whatever is written at the same time has one order, one chain, and is found by session and actor."""
    audit = AuditStore(store)
    attempts = [
        Attempt(datetime.now(UTC), f"user{n % 3}", "session.stop", n % 2 == 0, "läßt", f"s{n % 5}", facts={"n": n})
        for n in range(30)
    ]
    await gatherResults([Deferred.fromCoroutine(audit.append(attempts[n : n + 3])) for n in range(0, 30, 3)])
    number, last, broken = await audit.verify()
    assert (number, len(last), broken) == (30, 64, None)
    entries = await audit.entries(limit=100)
    assert sorted(one.attempt.facts["n"] for one in entries) == list(range(30))
    assert {one.attempt.actor for one in await audit.entries(session_id="s1", actor="user1")} == {"user1"}
    assert [one.number for one in await audit.entries(after=28)] == [29, 30]
