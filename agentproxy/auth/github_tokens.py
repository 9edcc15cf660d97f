"""GitHub tokens as credentials: who they stand for is asked once and remembered for a short time.

Only what has the form of a GitHub token is ever sent to GitHub; a mistyped key of ours is not. While GitHub is down, whom it
knew before goes on for a grace time, and others get 503, never 401: nobody is told that a good token is bad. While it is slow,
whom it knew before waits two seconds at most. Once it was seen to be down it is left alone for a few seconds, and nobody waits.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from agentproxy.auth.authenticator import Answer, Later
from agentproxy.auth.github import GitHub, GitHubUnavailable, GitHubUser, TokenUnknown
from agentproxy.auth.github_roles import principal_of
from agentproxy.auth.showing import Credential
from agentproxy.config.auth_options import GitHubOptions
from agentproxy.errors import LOGIN_UNAVAILABLE, TOO_MANY_REQUESTS, UNAUTHENTICATED, Refusal
from agentproxy.model.permission import ROLES
from agentproxy.model.principal import Principal
from agentproxy.model.rate import Rate, Rates

T = TypeVar("T")
FORM = re.compile(r"gh[opusr]_[A-Za-z0-9]{16,255}|github_pat_[A-Za-z0-9_]{16,255}|[0-9a-f]{40}")
PLACES = frozenset({"bearer", "token", "raw", "other"})
MOST_KNOWN = 10_000
MOST_ASKED = 20
PATIENCE = 2.0
"""Seconds that somebody who was known before waits for a slow GitHub."""
LEFT_ALONE = 5.0
"""Seconds for which a GitHub that is down is not asked again; it may ask for more, up to :data:`LEFT_ALONE_MOST`."""
LEFT_ALONE_MOST = 60.0
UNKNOWN_FOR = 30.0
"""Seconds for which a token that GitHub does not know is not asked about again."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What was said of a token, and when by the clock."""

    principal: Principal | None
    at: float
    user: GitHubUser | None = None


class GitHubTokens:
    """The authenticator of GitHub tokens.

    :param changed: told when somebody may have lost something.
    :ivar with_login: whether there is a log-in in a browser too.
    :ivar known_here: returns whom a user of GitHub is here, None for nobody.
    """

    _log = Logger()

    def __init__(
        self,
        options: GitHubOptions,
        github: GitHub,
        clock: IReactorTime,
        roles: Mapping[str, frozenset[str]] = ROLES,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.with_login = False
        self.known_here: Callable[[Principal], Principal | None] = lambda user: user
        self._options = options
        self._github = github
        self._clock = clock
        self._roles = roles
        self._changed = changed
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._asking: dict[str, list[Deferred[Principal | Refusal | None]]] = {}
        self._rates = Rates(Rate.per_minute(30), clock.seconds)
        self._left_alone: dict[str, float] = {}
        """Until when GitHub is not asked, by the digest of a token; by the empty text for all."""

    def types(self) -> Sequence[tuple[str, str]]:
        """See :class:`Authenticator`; one entry, as agentapi-proxy has it."""
        return (("github_oauth", "GitHub OAuth"),) if self.with_login else (("github", "GitHub"),)

    def user_behind(self, principal: Principal) -> GitHubUser | None:
        """Return what GitHub said of somebody who came with a token."""
        return next((one.user for one in self._known.values() if one.principal == principal), None)

    def principals(self) -> Sequence[Principal]:
        """Return whom the remembered tokens stand for."""
        return [one.principal for one in self._known.values() if one.principal is not None]

    def look(self, credential: Credential) -> Answer:
        """See :class:`Authenticator`."""
        if not self._is_ours(credential):
            return None
        known = self._known.get(credential.digest)
        if known is not None:
            age = self._clock.seconds() - known.at
            if known.principal is None and age < UNKNOWN_FOR:
                return Refusal(UNAUTHENTICATED)
            if known.principal is not None and age < self._options.cache_seconds:
                return known.principal
        if (wait := self._wait(credential.digest)) > 0:
            return self._from_before(credential.digest, Refusal(LOGIN_UNAVAILABLE, retry_after=wait))
        if len(self._asking) >= MOST_ASKED and credential.digest not in self._asking:
            return self._from_before(credential.digest, Refusal(TOO_MANY_REQUESTS, retry_after=1.0))
        return Later(lambda: self._ask(credential))

    def _is_ours(self, credential: Credential) -> bool:
        if FORM.fullmatch(credential.value) is None:
            return False
        wanted = self._options.token_header.lower().encode("latin-1")
        return credential.place in PLACES and credential.header == wanted

    def _wait(self, digest: str) -> float:
        """Return the seconds for which GitHub is left alone; 0 when it may be asked."""
        now = self._clock.seconds()
        return max(self._left_alone.get("", now), self._left_alone.get(digest, now)) - now

    def _leave_alone(self, digest: str, error: GitHubUnavailable) -> float:
        """Remember that GitHub is down, or has enough of one token, and return for how many seconds."""
        seconds = min(error.retry_after or LEFT_ALONE, LEFT_ALONE_MOST)
        now = self._clock.seconds()
        self._left_alone = {name: until for name, until in self._left_alone.items() if until > now}
        self._left_alone[digest if error.limited else ""] = now + seconds
        return seconds

    def _ask(self, credential: Credential) -> Deferred[Principal | Refusal | None]:
        """Ask GitHub once for all that wait for the same token."""
        waiting: Deferred[Principal | Refusal | None] = Deferred()
        first = credential.digest not in self._asking
        self._asking.setdefault(credential.digest, []).append(waiting)
        self._be_patient(waiting, credential.digest)
        if first:
            asked = Deferred.fromCoroutine(self._decide(credential))
            asked.addErrback(self._broken)
            asked.addCallback(self._tell, credential.digest)
        return waiting

    def _be_patient(self, waiting: Deferred[Principal | Refusal | None], digest: str) -> None:
        """Answer with what was known before when GitHub takes long; what it says comes later all the same."""
        before = self._from_before(digest, Refusal(UNAUTHENTICATED))
        if isinstance(before, Refusal):
            return
        late = self._clock.callLater(PATIENCE, lambda: None if waiting.called else waiting.callback(before))

        def in_time(answer: T) -> T:
            if late.active():
                late.cancel()
            return answer

        waiting.addBoth(in_time)

    def _tell(self, answer: Principal | Refusal | None, digest: str) -> None:
        for one in self._asking.pop(digest, []):
            if not one.called:
                one.callback(answer)

    def _broken(self, failure: Failure) -> Refusal:
        self._log.failure("A GitHub token could not be looked up", failure)
        return Refusal(LOGIN_UNAVAILABLE, "GitHub could not be asked")

    async def _decide(self, credential: Credential) -> Principal | Refusal | None:
        wait = self._rates.take(credential.digest)
        if wait:
            return self._from_before(credential.digest, Refusal(TOO_MANY_REQUESTS, retry_after=wait))
        try:
            user = await self.user_of(credential.value)
        except TokenUnknown:
            self._remember(credential.digest, None)
            return Refusal(UNAUTHENTICATED)
        except GitHubUnavailable as error:
            self._log.warn("GitHub cannot be asked about a token: {error}", error=str(error))
            wait = self._leave_alone(credential.digest, error)
            refusal = Refusal(
                LOGIN_UNAVAILABLE, "GitHub does not answer", retry_after=max(wait, error.retry_after or 0)
            )
            return self._from_before(credential.digest, refusal)
        principal = self.known_here(self.principal(user, f"github:{credential.digest[:12]}"))
        self._remember(credential.digest, principal, user)
        return principal or Refusal(UNAUTHENTICATED)

    async def user_of(self, token: str) -> GitHubUser:
        """Return the owner of a token, with what the mapping asks about.

        :raises TokenUnknown, GitHubUnavailable: as the names say.
        """
        return await self._github.user(token, self._options.user_mapping.team_role_mapping)

    def principal(self, user: GitHubUser, credential: str) -> Principal:
        """Return who a GitHub user is here."""
        options = self._options
        return principal_of(user, options.user_mapping, credential, self._roles, options.user_prefix)

    def _from_before(self, digest: str, otherwise: Refusal) -> Principal | Refusal:
        """Return whom the token stood for, while the grace time lasts."""
        known = self._known.get(digest)
        if known is None or known.principal is None:
            return otherwise
        age = self._clock.seconds() - known.at
        return known.principal if age < self._options.grace_seconds else otherwise

    def _remember(self, digest: str, principal: Principal | None, user: GitHubUser | None = None) -> None:
        before = self._known.pop(digest, None)
        self._known[digest] = _Known(principal, self._clock.seconds(), user)
        while len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        if before is not None and before.principal is not None and before.principal != principal:
            self._changed()
