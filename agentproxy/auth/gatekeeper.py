"""Who asks, decided from memory for the web's routes and the gateway alike.

The order: the ``Host`` must be ours; each credential is shown to each authenticator in the configured order and the first principal
counts; a cookie that changes something needs a matching ``Origin``, and so does a page while everybody is let in. Whoever fails is
told nothing but 401, and 429 when an address or a secret fails often; a right key always opens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from twisted.internet.defer import Deferred

from agentproxy.auth.authenticator import Authenticator, Later
from agentproxy.auth.hosts import Hosts
from agentproxy.auth.showing import Asking, Credential, Reader, forwarded
from agentproxy.errors import FOREIGN_ORIGIN, TOO_MANY_REQUESTS, UNAUTHENTICATED, WRONG_HOST, Refusal
from agentproxy.model.cors import CorsRules
from agentproxy.model.principal import LOCAL, Principal
from agentproxy.model.rate import Rates

_ONLY_OURS = "without a key, things are changed only from a page of an allowed origin"
_SAFE = frozenset({b"GET", b"HEAD", b"OPTIONS"})


@dataclass(frozen=True, slots=True)
class DoorRules:
    """What is read of a request, and whom it may come from.

    :param enabled: off, everybody is the local principal.
    :param key_header: the key header's name in lower case.
    :param other_headers: further headers that carry a secret, in lower case.
    :param trusted: networks whose ``X-Forwarded-For`` is believed.
    """

    enabled: bool
    hosts: Hosts
    cors: CorsRules
    key_header: bytes = b"x-api-key"
    other_headers: frozenset[bytes] = frozenset()
    trusted: tuple[IPv4Network | IPv6Network, ...] = ()


def neighbourhood(address: str) -> str:
    """Return what counts as one place: an IPv4 address, or the 64 bits of an IPv6 network, which one customer has whole."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, IPv4Address):
        return address
    return str(parsed.ipv4_mapped or IPv6Address(int(parsed) >> 64 << 64))


class Gatekeeper:
    """See the module.

    :param authenticators: in the order in which they are asked.
    :param failures: how often an address or a secret may fail.
    :param refused: told of an attempt that failed: address and why.
    """

    def __init__(
        self,
        rules: DoorRules,
        authenticators: Sequence[Authenticator],
        failures: Rates,
        refused: Callable[[str, str], None] = lambda _address, _why: None,
    ) -> None:
        self.rules = rules
        self.authenticators = tuple(authenticators)
        self._failures = failures
        self._reader = Reader(rules.key_header, rules.other_headers)
        self._refused = refused

    def identify(self, asking: Asking, quiet: bool = False) -> Principal | Refusal | Later:
        """Return who asks, why nobody does, or what to wait for; never waits itself.

        :param quiet: a failure is neither counted nor told: nobody tries to come in, somebody inside is looked at again.
        """
        rules = self.rules
        host = asking.get(b"host") or b""
        if not rules.hosts.takes(host):
            return Refusal(WRONG_HOST, host.decode("latin-1")[:200])
        if not rules.enabled:
            foreign = asking.method not in _SAFE and asking.get(b"origin") is not None and not self.same_origin(asking)
            return Refusal(FOREIGN_ORIGIN, _ONLY_OURS) if foreign else LOCAL
        shown = self._reader.credentials(asking)
        later: list[tuple[Credential, Later]] = []
        fallback: Refusal | None = None
        for credential in shown:
            for one in self.authenticators:
                answer = one.look(credential)
                if isinstance(answer, Principal):
                    return self._checked(answer, credential, asking)
                if isinstance(answer, Later):
                    later.append((credential, answer))
                elif answer is not None and answer.kind is not UNAUTHENTICATED:
                    fallback = answer
        if later:
            return Later(lambda: Deferred.fromCoroutine(self._ask(later, shown, asking, fallback)))
        return Refusal(UNAUTHENTICATED) if quiet else self._nobody(shown, asking, fallback)

    async def _ask(
        self,
        later: list[tuple[Credential, Later]],
        shown: Sequence[Credential],
        asking: Asking,
        fallback: Refusal | None,
    ) -> Principal | Refusal:
        for credential, one in later:
            answer = await one.decided()
            if isinstance(answer, Principal):
                return self._checked(answer, credential, asking)
            if answer is not None and answer.kind is not UNAUTHENTICATED:
                fallback = fallback or answer
        return self._nobody(shown, asking, fallback)

    def _checked(self, principal: Principal, credential: Credential, asking: Asking) -> Principal | Refusal:
        if credential.place != "cookie" or asking.method in _SAFE or self.same_origin(asking):
            return principal
        return Refusal(FOREIGN_ORIGIN, _ONLY_OURS)

    def same_origin(self, asking: Asking) -> bool:
        """Return whether a request says that it comes from a page that may use our cookie."""
        sent = asking.get(b"origin")
        if sent is None:
            return False
        origin, host = sent.decode("latin-1"), (asking.get(b"host") or b"").decode("latin-1").lower()
        own = (
            {f"https://{host}"} if self.is_secure(asking) else {f"http://{host}", f"https://{host}"}
        )  # TLS may end before us
        return origin.lower() in own or self.rules.cors.allows(origin)

    def _nobody(self, shown: Sequence[Credential], asking: Asking, fallback: Refusal | None) -> Refusal:
        if not shown:
            return Refusal(UNAUTHENTICATED)
        if fallback is not None:
            return fallback
        address = self.address_of(asking)
        names = (f"address {neighbourhood(address)}", *(f"secret {one.digest[:16]}" for one in shown))
        wait = max(self._failures.take(name) for name in names)
        self._refused(address, "an unknown, expired or revoked credential")
        if wait:
            return Refusal(TOO_MANY_REQUESTS, "too many failed log-ins", retry_after=wait)
        return Refusal(UNAUTHENTICATED)

    def address_of(self, asking: Asking) -> str:
        """Return where a request comes from: the peer, or what trusted proxies say of it."""
        address = asking.peer
        if self.rules.trusted:
            hops = forwarded(asking)
            while hops and self._trusts(address):
                address = hops.pop()
        return address

    def is_secure(self, asking: Asking) -> bool:
        """Return whether the client spoke TLS, to us or to a trusted proxy before us."""
        return asking.secure or (self._trusts(asking.peer) and asking.get(b"x-forwarded-proto") == b"https")

    def _trusts(self, address: str) -> bool:
        try:
            parsed = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        return any(parsed in network for network in self.rules.trusted)

    def from_address(self, principal: Principal, asking: Asking) -> Principal:
        """Return the principal with the address that it asks from, for the audit."""
        return replace(principal, address=self.address_of(asking))
