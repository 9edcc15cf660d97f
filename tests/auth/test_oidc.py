"""Log-in with an OpenID Connect provider: who comes back, and every id token that must not let anybody in."""

from __future__ import annotations

import time
from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey
from treq.testing import StubTreq
from twisted.internet.defer import Deferred, inlineCallbacks

from agentproxy.auth.flows import Flows, is_local_path
from agentproxy.auth.oidc import Oidc
from agentproxy.auth.providers import LoggedIn
from agentproxy.config.auth_options import OidcOptions, TeamRole, UserMapping
from agentproxy.errors import Refusal
from tests.auth.fake_oidc import ISSUER, FakeOidc

OPTIONS = OidcOptions(
    issuer=ISSUER,
    client_id="agentproxy",
    client_secret="secret",
    user_mapping=UserMapping(default_role="viewer", team_role_mapping={"dev*": TeamRole(role="developer")}),
)


class Setting:
    """A provider and we, who send people there."""

    def __init__(self) -> None:
        self.provider = FakeOidc()
        self.oidc = Oidc(OPTIONS, treq=StubTreq(self.provider.resource()))
        self.flows = Flows(lambda: 0.0)

    async def log_in(self) -> LoggedIn:
        """Go through one log-in."""
        state, flow = self.flows.begin("oidc", "https://proxy.example.org/oauth/callback")
        code, returned = self.provider.log_in(await self.oidc.address(flow, state))
        assert returned == state
        taken = self.flows.take(returned)
        assert taken is not None
        return await self.oidc.finish(taken, code)

    def run(self) -> Deferred[LoggedIn]:
        """Go through one log-in."""
        return Deferred.fromCoroutine(self.log_in())


@inlineCallbacks
def test_who_comes_back_has_name_groups_and_role() -> Any:
    """The name is the configured claim, groups are teams, the role follows the mapping."""
    found = yield Setting().run()
    bob = found.principal
    assert (bob.user_id, bob.role, bob.teams, bob.source) == ("bob", "developer", {"devs"}, "oidc")


@inlineCallbacks
def test_without_the_name_it_is_the_subject() -> Any:
    """A provider that tells no name still tells one thing that never changes."""
    setting = Setting()
    setting.provider.claims = {"preferred_username": None, "groups": "devs"}
    found = yield setting.run()
    assert (found.principal.user_id, found.principal.role) == ("u-1", "viewer")


@inlineCallbacks
def test_a_new_key_of_the_provider_is_fetched() -> Any:
    """Keys are rotated without anybody restarting us; without a rotation they are read once."""
    setting = Setting()
    yield setting.run()
    yield setting.run()
    assert setting.provider.asked.count("/realm/keys") == 1
    setting.provider.rotate()
    found = yield setting.run()
    assert found.principal.user_id == "bob"


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "another"},
        {"aud": ["agentproxy", "another"]},
        {"aud": ["agentproxy", "another"], "azp": "another"},
        {"aud": None},
        {"iss": "https://evil.example"},
        {"exp": int(time.time()) - 3600},
        {"exp": None},
        {"iat": int(time.time()) + 3600},
        {"nonce": "of another log-in"},
        {"nonce": None},
        {"sub": None},
    ],
    ids=lambda claims: next(iter(claims)),
)
@inlineCallbacks
def test_an_id_token_that_is_not_for_this_log_in_lets_nobody_in(claims: dict[str, Any]) -> Any:
    """401 without the reason, for each claim that is wrong or missing."""
    setting = Setting()
    setting.provider.claims = claims
    with pytest.raises(Refusal) as caught:
        yield setting.run()
    assert caught.value.kind.status == 401
    assert caught.value.details == "the id token is not good"


@pytest.mark.parametrize("kind", ["another key", "a shared secret"])
@inlineCallbacks
def test_an_id_token_that_somebody_else_signed_lets_nobody_in(kind: str) -> Any:
    """Another key with the same id, and a shared secret, are refused."""
    setting = Setting()
    other = ECKey.generate_key("P-256", {"kid": "one"}) if kind == "another key" else OctKey.generate_key(256)
    setting.provider.sign_with = other
    with pytest.raises(Refusal) as caught:
        yield setting.run()
    assert caught.value.kind.status == 401


@inlineCallbacks
def test_a_provider_that_is_down_is_503() -> Any:
    """Nobody is told that a log-in is bad when nobody could look."""
    setting = Setting()
    setting.provider.down = True
    with pytest.raises(Refusal) as caught:
        yield setting.run()
    assert caught.value.kind.status == 503


@inlineCallbacks
def test_a_document_of_another_issuer_is_not_believed() -> Any:
    """Discovery must name the issuer that was configured."""
    setting = Setting()
    setting.provider.document = {"issuer": "https://evil.example"}
    with pytest.raises(Refusal) as caught:
        yield setting.run()
    assert caught.value.kind.status == 503


def test_a_state_counts_once_and_for_a_while() -> None:
    """A second use, a made up one and an old one are nothing."""
    now = [0.0]
    flows = Flows(lambda: now[0])
    state, flow = flows.begin("github", "http://localhost/cb")
    assert flows.take(state) == flow
    assert flows.take(state) is None
    assert flows.take("made up") is None
    old, _flow = flows.begin("github", "http://localhost/cb")
    now[0] = 901
    assert flows.take(old) is None


def test_a_state_of_a_browser_is_of_that_browser() -> None:
    """A link with somebody's state logs nobody in elsewhere."""
    _state, flow = Flows(lambda: 0.0).begin("github", "http://localhost/cb", cookie="of this browser")
    assert flow.is_of("of this browser")
    assert not flow.is_of("of another")
    assert not flow.is_of(None)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/docs?x=1", True),
        ("/", True),
        ("//evil.example", False),
        ("/\\evil.example", False),
        ("https://evil.example", False),
        ("docs", False),
        ("", False),
        ("/a\r\nset-cookie: x", False),
        ("/\t/evil.example", False),
    ],
)
def test_where_a_browser_may_be_sent_afterwards(path: str, expected: bool) -> None:
    """Only paths of this server."""
    assert is_local_path(path) is expected
