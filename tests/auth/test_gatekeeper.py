"""Who is let in: where a key may stand, in which order, what a cookie may not do, and what guessing costs."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed

from agentproxy.auth.authenticator import Answer, Later
from agentproxy.auth.gatekeeper import DoorRules, Gatekeeper, neighbourhood
from agentproxy.auth.hosts import Hosts
from agentproxy.auth.ring import Key, Ring
from agentproxy.auth.showing import Credential
from agentproxy.errors import (
    FOREIGN_ORIGIN,
    LOGIN_UNAVAILABLE,
    TOO_MANY_REQUESTS,
    UNAUTHENTICATED,
    WRONG_HOST,
    Refusal,
    RefusalKind,
)
from agentproxy.model.cors import CorsRules
from agentproxy.model.credentials import digest
from agentproxy.model.principal import LOCAL, Principal
from agentproxy.model.rate import Rate, Rates
from tests.auth.asking import asked

ANN, BOB = Principal("ann"), Principal("bob")
PLACES = frozenset({"key", "bearer", "raw", "token", "session", "cookie"})


def a_ring(places: frozenset[str] = PLACES, **keys: Principal) -> Ring:
    """Return a ring of keys: secret to principal."""
    ring = Ring((("api_key", "API Key"),), places, now=lambda: 1000.0)
    ring.replace({digest(secret): Key(who) for secret, who in keys.items()})
    return ring


def keeper(*authenticators: Any, enabled: bool = True, rate: Rate | None = None, **rules: Any) -> Gatekeeper:
    """Return a gatekeeper, on a clock that stands still."""
    wanted = {"hosts": Hosts((), False), "cors": CorsRules(frozenset({"https://ui.example.org"})), **rules}
    return Gatekeeper(DoorRules(enabled, **wanted), authenticators, Rates(rate, lambda: 0.0))


def kind_of(answer: object) -> RefusalKind:
    """Return the kind of a refusal."""
    assert isinstance(answer, Refusal)
    return answer.kind


@pytest.mark.parametrize(
    "headers",
    [
        {"X_API_Key": "s3cret"},
        {"x_api_key": " s3cret "},
        {"Authorization": "Bearer s3cret"},
        {"Authorization": "bearer  s3cret"},
        {"Authorization": "token s3cret"},
        {"Authorization": "s3cret"},
        {"X_Session_ID": "s3cret"},
        {"Cookie": "a=b; agentproxy_session=s3cret; c=d"},
        {"X_API_Key": "wrong", "Authorization": "Bearer s3cret"},
    ],
)
def test_a_key_is_found_where_it_may_stand(headers: dict[str, str]) -> None:
    """Key header, Bearer, token, raw, session header and cookie; a wrong one before does not hide it."""
    assert keeper(a_ring(s3cret=ANN)).identify(asked(**headers)) == ANN


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X_API_Key": ""},
        {"X_API_Key": "s3cre"},
        {"X_API_Key": "s3cret2"},
        {"X_API_Key": "S3CRET"},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic s3cret"},
        {"Authorization": "Bearer user_ann"},
        {"X_User": "ann"},
        {"Cookie": "other=s3cret; xagentproxy_session=s3cret"},
        {"X_API_Key": "s" * 100_000},
    ],
)
def test_everything_else_is_the_same_401(headers: dict[str, str]) -> None:
    """Nothing, wrong, short, long, another scheme, a claimed name: one answer that says nothing more."""
    answer = keeper(a_ring(frozenset({"key", "bearer", "raw", "cookie"}), s3cret=ANN)).identify(asked(**headers))
    assert isinstance(answer, Refusal)
    assert answer.body() == Refusal(UNAUTHENTICATED).body()
    assert (answer.kind.status, answer.retry_after) == (401, None)


def test_the_key_header_has_the_configured_name() -> None:
    """With another header name the usual one opens nothing; Authorization still does."""
    gate = keeper(a_ring(s3cret=ANN), key_header=b"x-my-key")
    assert gate.identify(asked(X_My_Key="s3cret")) == ANN
    assert kind_of(gate.identify(asked(X_API_Key="s3cret"))) is UNAUTHENTICATED
    assert gate.identify(asked(Authorization="s3cret")) == ANN


def test_the_first_authenticator_that_knows_it_counts() -> None:
    """The same secret known twice is whom the order says."""
    first, second = a_ring(s3cret=ANN), a_ring(s3cret=BOB)
    assert keeper(first, second).identify(asked(X_API_Key="s3cret")) == ANN
    assert keeper(second, first).identify(asked(X_API_Key="s3cret")) == BOB


def test_an_expired_key_opens_nothing() -> None:
    """From its time on a key is like an unknown one."""
    ring = Ring(now=lambda: 1000.0)
    ring.replace({digest("old"): Key(ANN, 1000.0), digest("new"): Key(ANN, 1000.1)})
    assert kind_of(keeper(ring).identify(asked(X_API_Key="old"))) is UNAUTHENTICATED
    assert keeper(ring).identify(asked(X_API_Key="new")) == ANN


class Asking:
    """An authenticator that has to ask."""

    def __init__(self, outcome: Principal | Refusal | None) -> None:
        self.outcome = outcome
        self.asked = 0

    def look(self, credential: Credential) -> Answer:
        return Later(self._decide)

    def _decide(self) -> Deferred[Principal | Refusal | None]:
        self.asked += 1
        return succeed(self.outcome)

    def types(self) -> list[tuple[str, str]]:
        return []


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [(ANN, ANN), (None, UNAUTHENTICATED), (Refusal(LOGIN_UNAVAILABLE, retry_after=5), LOGIN_UNAVAILABLE)],
)
def test_somebody_is_asked_only_when_memory_knows_nothing(outcome: Any, expected: object) -> None:
    """A known key never waits for another authenticator; one that is down says so, never 401."""
    slow = Asking(outcome)
    gate = keeper(slow, a_ring(s3cret=BOB))
    assert gate.identify(asked(X_API_Key="s3cret")) == BOB
    assert slow.asked == 0
    later = gate.identify(asked(X_API_Key="other"))
    assert isinstance(later, Later)
    found: list[object] = []
    later.decided().addCallback(found.append)
    assert [one.kind if isinstance(one, Refusal) else one for one in found] == [expected]


@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT", "PATCH"])
@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (None, False),
        ("http://proxy.example.org", True),
        ("https://ui.example.org", True),
        ("https://ui.example.org.evil.example", False),
        ("null", False),
        ("http://proxy.example.org:81", False),
    ],
)
def test_a_cookie_changes_things_only_from_an_allowed_page(method: str, origin: str | None, allowed: bool) -> None:
    """Cross-site requests that ride on a cookie are refused; the same with a key pass."""
    gate = keeper(a_ring(s3cret=ANN))
    headers = {} if origin is None else {"Origin": origin}
    answer = gate.identify(asked(method, Cookie="agentproxy_session=s3cret", **headers))
    assert (answer == ANN) == allowed
    if not allowed:
        assert kind_of(answer) is FOREIGN_ORIGIN
    assert gate.identify(asked(method, X_API_Key="s3cret", **headers)) == ANN
    assert gate.identify(asked("GET", Cookie="agentproxy_session=s3cret", **headers)) == ANN


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (None, True),
        ("http://localhost:3000", True),
        ("http://proxy:8080", True),
        ("https://evil.example", False),
        ("http://localhost.evil.example", False),
        ("null", False),
    ],
)
def test_without_authentication_a_foreign_page_changes_nothing(origin: str | None, allowed: bool) -> None:
    """A web page that somebody visits can send a form to this machine: it starts no agent here. Programs send no origin."""
    gate = keeper(enabled=False, cors=CorsRules())
    headers = {} if origin is None else {"Origin": origin}
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        answer = gate.identify(asked(method, host="proxy:8080", **headers))
        assert answer == LOCAL if allowed else kind_of(answer) is FOREIGN_ORIGIN
    assert gate.identify(asked("GET", host="proxy:8080", **headers)) == LOCAL


def test_over_tls_a_page_without_tls_is_another_origin() -> None:
    """A page that somebody on the network can change may not use the cookie of the page behind TLS."""
    gate = keeper(a_ring(s3cret=ANN))
    cookie = {"Cookie": "agentproxy_session=s3cret", "Origin": "http://proxy.example.org"}
    assert kind_of(gate.identify(asked("POST", secure=True, **cookie))) is FOREIGN_ORIGIN


def test_guessing_is_slowed_down_and_never_locks_out_the_right_key() -> None:
    """An address that fails often gets 429 with Retry-After; the right key opens from there all the same."""
    gate = keeper(a_ring(s3cret=ANN), rate=Rate.per_minute(10))
    kinds = [kind_of(gate.identify(asked(X_API_Key=f"guess{number}"))) for number in range(12)]
    assert kinds == [UNAUTHENTICATED] * 10 + [TOO_MANY_REQUESTS] * 2
    assert gate.identify(asked(X_API_Key="s3cret")) == ANN
    assert kind_of(gate.identify(asked(X_API_Key="guess", peer="192.0.2.2"))) is UNAUTHENTICATED
    assert kind_of(gate.identify(asked())) is UNAUTHENTICATED


def test_one_wrong_key_from_many_addresses_is_slowed_down_too() -> None:
    """A secret that fails from everywhere is counted by itself."""
    gate = keeper(a_ring(s3cret=ANN), rate=Rate.per_minute(2))
    kinds = [kind_of(gate.identify(asked(X_API_Key="leaked", peer=f"192.0.2.{n}"))) for n in range(3)]
    assert kinds == [UNAUTHENTICATED, UNAUTHENTICATED, TOO_MANY_REQUESTS]


def test_the_address_is_the_clients_only_behind_trusted_proxies() -> None:
    """Who is not trusted cannot claim another address; behind a chain of trusted ones the first untrusted hop counts."""
    plain, behind = keeper(), keeper(trusted=(ip_network("10.0.0.0/8"),))
    claims = {"X_Forwarded_For": "203.0.113.9, 198.51.100.7, 10.0.0.2"}
    assert plain.address_of(asked(peer="10.0.0.1", **claims)) == "10.0.0.1"
    assert behind.address_of(asked(peer="10.0.0.1", **claims)) == "198.51.100.7"
    assert behind.address_of(asked(peer="198.51.100.8", **claims)) == "198.51.100.8"


LOCAL_NAMES = [
    "localhost",
    "localhost:8080",
    "127.0.0.1:8080",
    "[::1]:8080",
    "192.0.2.7",
    "agentproxy:8080",
    "a.localhost",
    "",
]


@pytest.mark.parametrize("host", [*LOCAL_NAMES, "evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80"])
def test_without_authentication_a_page_cannot_point_its_name_at_us(host: str) -> None:
    """DNS rebinding: only addresses and names that nobody can register are answered."""
    answer = keeper(enabled=False, hosts=Hosts((), strict=True)).identify(asked(host=host))
    assert answer == LOCAL if host in LOCAL_NAMES else kind_of(answer) is WRONG_HOST


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("a.example.org", True),
        ("A.Example.org:443", True),
        ("x.b.example", True),
        ("b.example", False),
        ("c.example", False),
    ],
)
def test_a_list_of_hosts_is_kept(host: str, allowed: bool) -> None:
    """With ``allowed_hosts`` other names are refused, with authentication too."""
    gate = keeper(a_ring(s3cret=ANN), hosts=Hosts(("a.example.org", "*.b.example"), strict=False))
    answer = gate.identify(asked(host=host, X_API_Key="s3cret"))
    assert answer == ANN if allowed else kind_of(answer) is WRONG_HOST


def test_no_secret_is_shown() -> None:
    """A credential that lands in a traceback or a log says where it stood, not what it is."""
    assert "s3cret" not in repr(Credential("key", b"x-api-key", "s3cret", digest("s3cret")))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::1", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("", ""),
    ],
)
def test_one_place_is_one_place(address: str, expected: str) -> None:
    """Whoever has a whole IPv6 network does not guess from each of its addresses anew."""
    assert neighbourhood(address) == expected
