"""Asking providers again about the log-ins that are open: who has left a team loses its role, who was locked out is logged out.

Only providers whose token was kept can be asked (GitHub). One that does not answer changes nothing; a log-in ends by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from agentproxy.auth.providers import LoggedIn, Provider
from agentproxy.auth.registry import Registry
from agentproxy.errors import Refusal
from agentproxy.model.credentials import Login

KEPT = timedelta(days=1)
"""How long what is left of an expired log-in is kept."""


class Rechecking:
    """Goes through the log-ins every so often.

    :param providers: by name.
    :param every: seconds.
    :param ended: told of a log-in that was ended here.
    """

    log = Logger()

    def __init__(
        self,
        registry: Registry,
        providers: Mapping[str, Provider],
        clock: IReactorTime,
        every: float,
        ended: Callable[[Login], None] = lambda _login: None,
    ) -> None:
        self._registry = registry
        self._providers = providers
        self._every = every
        self._ended = ended
        self._loop = LoopingCall(self._round)
        self._loop.clock = clock

    def start(self) -> None:
        """Begin, first in *every* seconds."""
        self._loop.start(self._every, now=False).addErrback(
            lambda failure: self.log.failure("Log-ins are not checked again", failure)
        )

    def stop(self) -> None:
        """End; twice without harm."""
        if self._loop.running:
            self._loop.stop()

    def _round(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.check_all()).addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        self.log.failure("Log-ins could not be checked again", failure)

    async def check_all(self) -> None:
        """Ask about each log-in, one after the other, and forget old ones; a provider that is down is asked once."""
        await self._registry.forget_logins(datetime.now(UTC) - KEPT)
        down: set[str] = set()
        for login in self._registry.list_logins():
            if login.upstream is None or login.provider not in self._providers or login.provider in down:
                continue
            try:
                await self.check(login)
            except Refusal as refusal:
                down.add(login.provider)
                self.log.warn(
                    "{provider} cannot be asked about log-ins: {why}", provider=login.provider, why=str(refusal)
                )

    async def check(self, login: Login) -> Login | None:
        """Return a log-in as it is after its provider was asked, None when it is over.

        :raises Refusal: LOGIN_UNAVAILABLE.
        """
        provider = self._providers.get(login.provider)
        if login.upstream is None or provider is None:
            return login
        found: LoggedIn | None = await provider.again(login.upstream)
        if found is None or found.principal.user_id != login.owner:
            self.log.info(
                "{provider} does not know the log-in of {user} any more", provider=login.provider, user=login.owner
            )
            await self._registry.log_out(login)
            self._ended(login)
            return None
        return await self._registry.learn(login, found.principal, found.facts)
